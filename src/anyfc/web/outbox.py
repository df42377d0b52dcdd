"""Outbox: what is written once all that has arrived has been looked at.

Whoever is written to wakes up. A write right after each request wakes a server as often as there
are requests; when they are written in a row, the first one wakes it, and it stays awake for others.
"""

import asyncio
from typing import Protocol


class Sender(Protocol):
    """A connection that has something to be sent."""

    def flush(self) -> None:
        """Send it; nothing, if it has been sent or is of no use any more."""


class Outbox:
    """Whose turn it is to send, once the loop has handed over what there was to read."""

    def __init__(self) -> None:
        self._senders: list[Sender] = []

    def add(self, sender: Sender) -> None:
        """Have something flushed, soon."""
        if not self._senders:
            asyncio.get_running_loop().call_soon(self._flush)
        self._senders.append(sender)

    def _flush(self) -> None:
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.flush()
