"""SandboxFailed: what the machine does not let happen."""

from collections.abc import Iterator
from contextlib import contextmanager


class SandboxFailed(Exception):
    """No process could be made, and it is not the function's fault; the message says why."""


@contextmanager
def translated() -> Iterator[None]:
    """What the machine refuses is our failure, not the function's."""
    try:
        yield
    except OSError as error:
        raise SandboxFailed(str(error)) from error
