"""What a person at a terminal sees while something takes its time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyfc.cli.terminal import is_terminal

if TYPE_CHECKING:
    from anyfc.client import Progress


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something is going on."""
    if not is_terminal(sys.stderr):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def uploading(text: str) -> Iterator["Progress | None"]:
    """Show on a terminal how much of an upload is done; yields the function to tell it to."""
    if not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda sent, total: bar.update(task, completed=sent, total=total)
