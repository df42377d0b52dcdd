"""Starts the bare pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import EVENT, Request, Subject
from bench.process import free_port, listens, open_process, wait_ready

GATEWAY = Path(__file__).with_name("gateway.py")


@contextmanager
def open_floor() -> Iterator[Subject]:
    port = free_port()
    with open_process([sys.executable, GATEWAY, str(port)]) as process:
        wait_ready(process, lambda: listens(port))
        yield Subject(lambda: Request(port=port, path="/", body=EVENT), process.pid)
