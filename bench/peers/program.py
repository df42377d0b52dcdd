"""Starts a web function's own server with nobody in front of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import Request, Subject
from bench.process import free_port, listens, open_process, wait_ready


@contextmanager
def open_program(program: Path) -> Iterator[Subject]:
    port = free_port()
    with open_process([sys.executable, program, "127.0.0.1", str(port)]) as process:
        wait_ready(process, lambda: listens(port))
        yield Subject(lambda: Request(method="GET", port=port, path="/"), process.pid)
