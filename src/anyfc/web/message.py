"""Request, Response, and bodies that arrive in pieces with back-pressure."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from anyfc.errors import EntityTooLarge, FunctionComputeError

KIB = 1024
HIGH_WATER_BYTES = 256 * KIB

Header = tuple[bytes, bytes]


class PeerLost(Exception):
    """The other side went away in the middle of a message."""


class Valve(Protocol):
    """The part of a transport that stops and starts the flow towards us."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Body:
    """The body of one message, fed by a parser and read by whoever handles the message.

    What is not read is kept up to a high-water mark; then the sender is made to wait.
    """

    __slots__ = (
        "_discarded", "_failure", "_held_bytes", "_limit_bytes", "_on_first_read", "_paused",
        "_pieces", "_valve", "_waiter", "complete", "declared_bytes", "received_bytes",
    )  # fmt: skip

    def __init__(
        self,
        valve: Valve,
        declared_bytes: int | None,
        on_first_read: Callable[[], None] | None = None,
    ) -> None:
        self._valve = valve
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._on_first_read = on_first_read
        self._limit_bytes: int | None = None
        self._discarded = False
        self.declared_bytes = declared_bytes
        self.received_bytes = 0
        self.complete = False

    # The parser's side

    def feed(self, piece: bytes) -> None:
        self.received_bytes += len(piece)
        self._on_first_read = None  # a sender that does not wait needs no word
        if self._discarded:
            return
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._valve.pause_reading()
        self._wake()

    def end(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, failure: Exception) -> None:
        """Make the reader, now or later, raise `failure`."""
        if not self.complete and self._failure is None:
            self._failure = failure
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The reader's side

    def set_limit(self, limit_bytes: int) -> None:
        """Refuse the body if it is, or becomes, larger. Raises EntityTooLarge."""
        self._limit_bytes = limit_bytes
        if max(self.declared_bytes or 0, self.received_bytes) > limit_bytes:
            raise EntityTooLarge(limit_bytes)

    async def read(self) -> bytes:
        """Return the next piece, empty at the end. Raises EntityTooLarge, PeerLost."""
        while not self._pieces:
            if self.complete or self._discarded:
                return b""
            if self._failure is not None:
                raise self._failure
            if self._on_first_read is not None:
                say, self._on_first_read = self._on_first_read, None
                say()
            self._open()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._limit_bytes is not None and self.received_bytes > self._limit_bytes:
            raise EntityTooLarge(self._limit_bytes)
        piece = self._pieces.popleft()
        self._held_bytes -= len(piece)
        if not self._pieces:
            self._open()
        return piece

    def read_nowait(self) -> bytes | None:
        """Return the whole body if it is here and was not read yet, else None."""
        if not self.complete or (
            self._limit_bytes is not None and self.received_bytes > self._limit_bytes
        ):
            return None
        pieces = self._pieces
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._held_bytes = 0
        self._open()
        return whole

    @property
    def held_back(self) -> bool:
        """The sender waits for a word before it sends (`Expect: 100-continue`)."""
        return self._on_first_read is not None

    @property
    def spent(self) -> bool:
        """All of it has arrived and been read."""
        return self.complete and not self._pieces

    def discard(self) -> None:
        """Let the rest flow into nothing; for a reader the body ends here."""
        self._discarded = True
        self._pieces.clear()
        self._held_bytes = 0
        self._open()
        self._wake()

    def _open(self) -> None:
        if self._paused:
            self._paused = False
            self._valve.resume_reading()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece


class Request:
    """The head of a request as it arrived, names of headers in lower case, and its body.

    `fields` are the headers by name; of a repeated one the last.
    """

    __slots__ = (
        "body", "fields", "headers", "keep_alive", "method", "old", "path", "peer", "problem",
        "query", "target",
    )  # fmt: skip

    def __init__(
        self,
        *,
        method: bytes,
        target: bytes,
        headers: list[Header],
        fields: dict[bytes, bytes],
        body: Body,
        keep_alive: bool,
        peer: str,
        old: bool = False,
        problem: FunctionComputeError | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition(b"?")
        self.headers = headers
        self.fields = fields
        self.body = body
        self.keep_alive = keep_alive
        self.peer = peer
        self.old = old  # HTTP/1.0, which knows no chunks
        self.problem = problem


@dataclass(slots=True, kw_only=True)
class Response:
    """Status, headers and body. Framing headers are the server's business: leave them out.

    A body in pieces whose `length_bytes` is None is sent in chunks. `head` are header lines that
    are ready to be sent: what answers thousands of times a second writes them in one go. A line
    break inside one of the `headers` is sent as a space (RFC 9110, 5.5).
    """

    status: int
    head: bytes = b""
    headers: Sequence[Header] = ()
    body: bytes | AsyncIterable[bytes] = b""
    length_bytes: int | None = None


class Reply(Protocol):
    """Takes the one response to a request."""

    started: bool  # too late for another one

    async def send(self, response: Response) -> None:
        """Send it all, waiting while the client is slow."""
