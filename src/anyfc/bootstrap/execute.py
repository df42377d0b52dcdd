"""Becomes another program: the start command of a custom runtime, in the box that was entered.

Standard library only, for every CPython from 3.6 on.
"""

import os
import signal

# What Python ignores for itself, and a program would inherit.
IGNORED = ("SIGPIPE", "SIGXFSZ")


def execute(argv, environment, code):
    """Replace the calling process by `argv`; does not return.

    At a level without walls the code is at `code` and not at /code, and words that begin with
    /code/ are read accordingly. A command that cannot be started ends the process with the number
    of the error as its exit code, which is what FC shows.
    """
    if code != "/code":
        argv = [code + word[5:] if (word + "/").startswith("/code/") else word for word in argv]
    for name in IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.closerange(3, 1024)
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(2, ("%s: %s\n" % (argv[0], os.strerror(error.errno))).encode())
        os._exit(error.errno)
