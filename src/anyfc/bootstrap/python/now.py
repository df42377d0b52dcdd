"""What a log line or a signal handler must know about this process at any moment."""

pid = 0  # of the process that answers; user code may fork others
code = "/code"  # where the code folder really is
request_id = ""
running = False
