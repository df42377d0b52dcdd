"""Outbox: what is written once all that has arrived has been looked at.

Whoever is written to wakes up. A write right after each request wakes a server as often as there
are requests; when they are written in a row, the first one wakes it, and it stays awake for others.
"""

import asyncio


class Sender:
    """A connection that leaves what it has to send to an outbox."""

    def __init__(self, outbox: "Outbox") -> None:
        self._outbox = outbox
        self._pending = b""  # what is in it

    def send_soon(self, data: bytes) -> None:
        """Send with the next flush, which is soon."""
        if not self._pending:
            self._outbox.add(self)
        self._pending += data

    def flush(self) -> None:
        """Send what is pending, unless it is of no use any more."""
        raise NotImplementedError


class Outbox:
    """Whose turn it is to send, once the loop has handed over what there was to read."""

    def __init__(self) -> None:
        self._senders: list[Sender] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, sender: Sender) -> None:
        """Have something flushed, soon."""
        if not self._senders:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()  # a system call each time
            self._loop.call_soon(self._flush)
        self._senders.append(sender)

    def _flush(self) -> None:
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.flush()
