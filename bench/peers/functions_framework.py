"""Starts Google's functions-framework as its users do in production: its command, its defaults.

That is gunicorn with one worker process of four threads for each core.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import EVENT, Request, Subject
from bench.package import HANDLER
from bench.process import Missing, free_port, listens, open_process, wait_ready


@contextmanager
def open_functions_framework() -> Iterator[Subject]:
    """Yield when the port accepts connections; its worker may still be starting then."""
    port = free_port()
    program = Path(sys.executable).with_name("functions-framework")
    if not program.exists():
        raise Missing("functions-framework is not installed")
    argv: list[str | Path] = [program, "--target=handler", f"--source={HANDLER}"]
    argv += ["--host=127.0.0.1", f"--port={port}"]
    with open_process(argv) as process:
        wait_ready(process, lambda: listens(port))
        yield Subject(lambda: Request(port=port, path="/", body=EVENT), process.pid)
