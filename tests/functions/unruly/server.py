"""A server whose processes behave badly, each time in another way; which one, the environment says.

Every request is answered with the number of processes that the instance has.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLEEP = [sys.executable, "-c", "import time; time.sleep(3600)"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = str(count_processes()).encode()
        if BEHAVIOUR == "prints":
            print_much()
        if self.path == "/end":
            os._exit(0)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


def count_processes():
    return sum(name.isdigit() for name in os.listdir("/proc"))


def sleep_detached():
    """As daemons do: the second of two forks, with a session of its own, deaf to signals."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        ignore_signals()
        time.sleep(3600)
    os.wait()


def ignore_signals():
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except OSError:  # the threading library's own
            continue


def fork_all_over():
    """A fork bomb that stops at 64 processes."""
    for _ in range(6):
        os.fork()
    if os.getpid() != FIRST:
        time.sleep(3600)
    while count_processes() < 64:
        time.sleep(0.01)


def leave_children():
    for _ in range(5):
        subprocess.Popen(SLEEP, start_new_session=True, stdout=subprocess.DEVNULL)
    subprocess.Popen(["sleep", "0"])  # nobody waits for it


def print_much():
    os.write(1, b"x" * (4 << 20) + b"\n" + b"line\n" * 100_000)


def print_for_ever():
    while True:
        os.write(2, b"line\n" * 1000)


def serve_as_a_daemon():
    """The process that was started ends; one that nobody knows listens."""
    if os.fork():
        time.sleep(0.2)
        os._exit(0)
    time.sleep(0.4)


def serve_in_a_child():
    """The parent has nothing to do but to wait for a change, and does not mind the child's end."""
    if os.fork():
        os.wait()
        time.sleep(3600)


FIRST = os.getpid()
BEHAVIOUR = os.environ["BEHAVIOUR"]
AT_START = {
    "children": leave_children,
    "daemon": serve_as_a_daemon,
    "deaf": ignore_signals,
    "detached": sleep_detached,
    "forks": fork_all_over,
    "prints for ever": lambda: threading.Thread(target=print_for_ever, daemon=True).start(),
    "reloader": serve_in_a_child,
}


AT_START.get(BEHAVIOUR, lambda: None)()
ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
