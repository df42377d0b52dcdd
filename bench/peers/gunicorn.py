"""Starts gunicorn with its default workers: like an instance, each serves one at a time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.client import Request, Subject
from bench.package import APP
from bench.process import free_port, listens, open_process, wait_ready


@contextmanager
def open_gunicorn(*, workers: int) -> Iterator[Subject]:
    """Yield when the port accepts connections; workers may still be starting then."""
    port = free_port()
    argv = [sys.executable, "-m", "gunicorn", "--worker-class=sync", f"--workers={workers}"]
    argv += [f"--bind=127.0.0.1:{port}", f"--chdir={APP.parent}", f"{APP.stem}:app"]
    with open_process(argv) as process:
        wait_ready(process, lambda: listens(port))
        yield Subject(lambda: Request(method="GET", port=port, path="/"), process.pid)
