"""Bytes both ways between two connections that have stopped speaking HTTP: WebSocket and others.

Callbacks alone carry them: a tunnel has no task of its own beyond the one that waits for its end,
and an idle one costs little more than its two sockets.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from anyfc.web.transport import Transport, taken_bytes

# One side has said all it had to say; the other may be silent for so long before that is the end.
# A client that is gone looks the same as one that only listens.
HALF_OPEN_S: Final = 30.0


class End:
    """One connection of a tunnel. Nothing is read from it before it is joined to another."""

    __slots__ = (
        "_arrived_bytes", "_early", "_on_lost", "_other", "_over", "_reading", "_said_all",
        "_transport", "_watch",
    )  # fmt: skip

    def __init__(self, transport: Transport, early: bytes, on_lost: Callable[[], None]) -> None:
        """Take over a connection whose reading is paused; `early` was read from it already."""
        self._transport = transport
        self._early = early
        self._on_lost = on_lost
        self._other: End | None = None
        self._over: asyncio.Future[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._reading = False
        self._said_all = False
        self._arrived_bytes = 0
        transport.set_protocol(self)

    # --- the socket ---

    def data_received(self, data: bytes) -> None:
        if self._other is not None and not self._other._transport.is_closing():
            self._arrived_bytes += len(data)
            self._other._transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other._hold()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other._flow()

    def eof_received(self) -> bool:
        other = self._other
        self._said_all = True
        if not self._transport.can_write_eof() or other is None:
            return False  # TLS has no half of an end: the connection is lost next
        if other._said_all or not other._transport.can_write_eof():
            self._finish()
        elif not other._transport.is_closing():
            other._transport.write_eof()
            self._await_progress(self._progress())
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()
        self._finish()

    # --- the tunnel ---

    def link(self, other: "End", over: asyncio.Future[None]) -> None:
        self._other = other
        self._over = over
        if self._transport.is_closing():
            self._finish()

    def start(self) -> None:
        """Read; what was read before comes first."""
        self._flow()
        if self._early and self._other is not None:
            self._other._transport.write(self._early)
            self._early = b""

    def close(self) -> None:
        """End the connection, once what is on its way has been sent; it may not take for ever."""
        self._other = None
        if self._watch is not None:
            self._watch.cancel()
        if self._transport.get_write_buffer_size() and not self._transport.is_closing():
            loop = asyncio.get_running_loop()
            loop.call_later(HALF_OPEN_S, self._transport.abort)
        self._transport.close()

    def _finish(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _hold(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _flow(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    # This side has said all it had to say, and only hears.

    def _progress(self) -> tuple[int, int, int]:
        assert self._other is not None
        transport = self._transport
        unsent_bytes = transport.get_write_buffer_size()
        return self._other._arrived_bytes, unsent_bytes, taken_bytes(transport)

    def _await_progress(self, last: tuple[int, int, int]) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(HALF_OPEN_S, self._check_progress, last)

    def _check_progress(self, last: tuple[int, int, int]) -> None:
        now = self._progress()
        if now == last:
            self._finish()
        else:
            self._await_progress(now)


async def join(a: End, b: End) -> None:
    """Carry bytes both ways until one side is gone, or both have said all they had to say.

    Both connections are closed then, also when this is cancelled: whoever limits the time of a
    tunnel cancels it.
    """
    over = asyncio.get_running_loop().create_future()
    try:
        a.link(b, over)
        b.link(a, over)
        a.start()
        b.start()
        await over
    finally:
        a.close()
        b.close()
