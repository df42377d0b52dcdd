"""Request, Response, and bodies that arrive in pieces with back-pressure."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Sequence
from typing import Any, Final, Protocol

from anyfc.errors import EntityTooLarge, FunctionComputeError, RequestTimeout
from anyfc.web.tunnel import End

KIB: Final = 1024
HIGH_WATER_BYTES: Final = 256 * KIB
QUESTION_MARK: Final = 0x3F

Header = tuple[bytes, bytes]


class PeerLost(Exception):
    """The other side went away in the middle of a message."""


class ReaderStalled(RequestTimeout):
    """The client does not read its answer, and has been cut off."""

    def __init__(self, within_s: float) -> None:
        FunctionComputeError.__init__(
            self, f"The client read nothing of its answer for {within_s:g} seconds"
        )


class Valve(Protocol):
    """The part of a transport that stops and starts the flow towards us."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Sink(Protocol):
    """Whom a body is poured into. It may `hold` the body at any time, and let it `flow` again."""

    def take(self, piece: bytes) -> None: ...
    def take_end(self) -> None: ...
    def take_failure(self, failure: Exception) -> None: ...


class Source:
    """What a request to a server behind us has as its body."""

    __slots__ = ("declared_bytes",)

    def __init__(self, declared_bytes: int | None) -> None:
        self.declared_bytes = declared_bytes

    def read_nowait(self) -> bytes | None:
        """Return the whole body if it is here and was not read yet, else None."""
        raise NotImplementedError

    def pour(self, sink: Sink) -> None:
        """Hand the body to `sink`, what is here and then what comes, unless it is on hold."""
        raise NotImplementedError

    def hold(self) -> None:
        """Let what comes wait until it may `flow`."""
        raise NotImplementedError

    def flow(self) -> None:
        """Go on pouring. Sink may hold or discard the body while it takes a piece."""
        raise NotImplementedError

    def discard(self) -> None:
        """Nobody wants the rest."""
        raise NotImplementedError


class Body(Source):
    """The body of one message, fed by a parser, and read by or poured into who handles the message.

    What is not read is kept up to a high-water mark; then the sender is made to wait.
    """

    __slots__ = (
        "_discarded", "_failure", "_first", "_held", "_held_bytes", "_limit_bytes", "_more",
        "_on_first_read", "_paused", "_sink", "_valve", "_waiter", "complete", "received_bytes",
    )  # fmt: skip

    def __init__(
        self,
        valve: Valve,
        declared_bytes: int | None,
        on_first_read: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(declared_bytes)
        self._valve = valve
        self._first = b""  # the piece that is next; most bodies have one or none
        self._more: deque[bytes] | None = None  # those behind it
        self._held_bytes = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._on_first_read = on_first_read
        self._limit_bytes: int | None = None
        self._discarded = False
        self._sink: Sink | None = None
        self._held = False
        self.received_bytes = 0
        self.complete = False

    # The parser's side

    def feed(self, piece: bytes) -> None:
        self.received_bytes += len(piece)
        self._on_first_read = None  # a sender that does not wait needs no word
        if self._discarded:
            return
        if self._sink is not None and not self._held:
            self._pass_on(piece, self._sink)
            return
        if not self._held_bytes:
            self._first = piece
        elif self._more is None:
            self._more = deque((piece,))
        else:
            self._more.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._valve.pause_reading()
        if self._waiter is not None:
            self._wake()

    def end(self) -> None:
        self.complete = True
        if self._waiter is not None:
            self._wake()
        elif self._sink is not None and not self._held_bytes:
            self._sink.take_end()

    def fail(self, failure: Exception) -> None:
        """Make the reader, now or later, raise `failure`."""
        if not self.complete and self._failure is None:
            self._failure = failure
            self._wake()
            if self._sink is not None:
                self._sink.take_failure(failure)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pass_on(self, piece: bytes, sink: Sink) -> None:
        if self._limit_bytes is not None and self.received_bytes > self._limit_bytes:
            failure = EntityTooLarge(self._limit_bytes)
            self.discard()
            sink.take_failure(failure)
        else:
            sink.take(piece)

    # The reader's side

    def set_limit(self, limit_bytes: int) -> None:
        """Refuse the body if it is, or becomes, larger. Raises EntityTooLarge."""
        self._limit_bytes = limit_bytes
        if max(self.declared_bytes or 0, self.received_bytes) > limit_bytes:
            raise EntityTooLarge(limit_bytes)

    async def read(self) -> bytes:
        """Return the next piece, empty at the end. Raises EntityTooLarge, PeerLost."""
        while not self._held_bytes:
            if self.complete or self._discarded:
                return b""
            if self._failure is not None:
                raise self._failure
            self._say_go_on()
            self._open()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._limit_bytes is not None and self.received_bytes > self._limit_bytes:
            raise EntityTooLarge(self._limit_bytes)
        piece = self._take_first()
        if not self._held_bytes:
            self._open()
        return piece

    def _take_first(self) -> bytes:
        piece = self._first
        self._first = self._more.popleft() if self._more else b""
        self._held_bytes -= len(piece)
        return piece

    def read_nowait(self) -> bytes | None:
        if not self.complete or (
            self._limit_bytes is not None and self.received_bytes > self._limit_bytes
        ):
            return None
        whole = self._first
        if self._more:
            whole += b"".join(self._more)
        self._clear()
        self._open()
        return whole

    def _clear(self) -> None:
        self._first = b""
        self._more = None
        self._held_bytes = 0

    def pour(self, sink: Sink) -> None:
        self._sink = sink
        self._say_go_on()
        if not self._held:
            self.flow()
        if self._failure is not None:
            sink.take_failure(self._failure)

    def hold(self) -> None:
        self._held = True

    def flow(self) -> None:
        self._held = False
        sink = self._sink
        assert sink is not None
        while self._held_bytes and not self._held:
            self._pass_on(self._take_first(), sink)
        if not self._held_bytes:
            self._open()
            if self.complete and not self._discarded:
                sink.take_end()

    @property
    def held_back(self) -> bool:
        """The sender waits for a word before it sends (`Expect: 100-continue`)."""
        return self._on_first_read is not None

    @property
    def spent(self) -> bool:
        """All of it has arrived and been read."""
        return self.complete and not self._held_bytes

    def discard(self) -> None:
        """Let the rest flow into nothing; for a reader too the body ends here."""
        self._discarded = True
        self._sink = None
        self._clear()
        self._open()
        self._wake()

    def _say_go_on(self) -> None:
        if self._on_first_read is not None:
            say, self._on_first_read = self._on_first_read, None
            say()

    def _open(self) -> None:
        if self._paused:
            self._paused = False
            self._valve.resume_reading()

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece


class Request:
    """The head of a request as it arrived, names of headers in lower case, and its body.

    `fields` are the headers by name; of a repeated one the last. `upgrade` is the protocol that
    the client would rather speak on this connection, in lower case: see `Reply.upgrade`.
    """

    __slots__ = (
        "body", "fields", "headers", "keep_alive", "method", "old", "path", "peer", "problem",
        "query", "secure", "target", "upgrade",
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
        secure: bool = False,
        upgrade: bytes | None = None,
        problem: FunctionComputeError | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.path, self.query = target, b""
        if QUESTION_MARK in target:
            self.path, _, self.query = target.partition(b"?")
        self.headers = headers
        self.fields = fields
        self.body = body
        self.keep_alive = keep_alive
        self.peer = peer
        self.old = old  # HTTP/1.0, which knows no chunks
        self.secure = secure  # it came over TLS
        self.upgrade = upgrade
        self.problem = problem


class Response:
    """Status, headers and body. Framing headers are the server's business: leave them out.

    A body in pieces whose `length_bytes` is None is sent in chunks. None is sent to HEAD, which is
    told `length_bytes`, or with a status that has none. `head` are header lines that are ready to
    be sent: what answers thousands of times a second writes them in one go. A line break inside one
    of the `headers` is sent as a space (RFC 9110, 5.5).
    """

    __slots__ = ("body", "head", "headers", "length_bytes", "status")

    def __init__(
        self,
        *,
        status: int,
        head: bytes = b"",
        headers: Sequence[Header] = (),
        body: bytes | AsyncIterable[bytes] = b"",
        length_bytes: int | None = None,
    ) -> None:
        self.status = status
        self.head = head
        self.headers = headers
        self.body = body
        self.length_bytes = length_bytes


class Rest(Protocol):
    """What is left to be waited for. Who does not wait for it closes it, as a coroutine."""

    def __await__(self) -> Generator[Any, Any, None]: ...
    def close(self) -> None: ...


class Underway:
    """A request that is being answered by callbacks, without a task."""

    __slots__ = ()

    def abandon(self) -> None:
        """Give up: the caller is gone. The reply takes nothing any more."""
        raise NotImplementedError


class Reply:
    """Takes the one response to a request; `started` says that it is too late for another one."""

    __slots__ = ("started",)

    def __init__(self) -> None:
        self.started = False

    def send(self, response: Response) -> Coroutine[Any, Any, None]:
        """Send it all, waiting while the client is slow."""
        raise NotImplementedError

    def entrust(self, call: Underway) -> None:
        """Leave the answer to `call`: to its `send_now`, or to the `resume` that it asks for."""
        raise NotImplementedError

    def send_now(self, response: Response) -> None:
        """Send a response whose body is bytes, to a request that was entrusted and is whole.

        Not from inside of `Application.handle`.
        """
        raise NotImplementedError

    def resume(self, rest: Rest) -> None:
        """Go on waiting: `rest` becomes the business of a task, and `abandon` that of its end."""
        raise NotImplementedError

    def inform(self, response: Response) -> None:
        """Send an interim response (1xx): a status and headers, to clients that know them.

        Not when the response has begun.
        """
        raise NotImplementedError

    def upgrade(self, protocol: bytes, response: Response) -> Coroutine[Any, Any, End]:
        """Send a 101 instead, and return the client's end of what follows; see `web.tunnel.join`.

        Only for a request with an `upgrade`. Status and body of `response` do not count.
        """
        raise NotImplementedError
