"""What is written for a person to see: names and lines that may hold anything, and lost readers."""

import os
import re
import sys
from pathlib import Path
from typing import TextIO

import typer

# All but tab and line feed: they could move the cursor, hide text or answer for the keyboard.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads or writes there; a stream that was closed at the start is None."""
    return stream is not None and stream.isatty()


def tell(text: str) -> None:
    """Write a line on standard error, if somebody still reads it."""
    try:
        typer.echo(text, err=True)
    except OSError:
        abandon(sys.stderr)


def abandon(stream: TextIO | None) -> None:
    """Have what was written to a stream go nowhere when it cannot go where it should.

    Python tries again at its end, and then ends with an exit code of its own.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def readable(path: str | Path) -> str:
    """Return a path as text, with escapes for what is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def harmless(text: str) -> str:
    """Return text with escapes for the characters that control a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
