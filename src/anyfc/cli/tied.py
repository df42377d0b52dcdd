"""`python -m anyfc.cli.tied`: the command line, for a program that wants its command gone with it.

The command ends, as by SIGTERM, when its standard input does. Whoever holds the other end need not
do anything for that, and cannot forget it: being killed is enough.
"""

import os
import signal
import sys
import threading

from anyfc.cli.main import main

PIECE_BYTES = 4096


def tied(*words: str) -> list[str]:
    """Return the command line for a command; its standard input must be a pipe."""
    return [sys.executable, "-m", "anyfc.cli.tied", *words]


def _end_with_input() -> None:
    while os.read(0, PIECE_BYTES):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    main()
