"""Pooled HTTP connections to servers behind us: the control API, and functions' own servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import httptools

from anyfc.web.message import Body, Header, PeerLost

# They belong to one connection and are not passed on (RFC 9110, 7.6.1), nor is what we answer
# ourselves (Expect) or write anew (the framing).
HOP_BY_HOP = frozenset(
    (
        b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-authenticate",
        b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
        b"upgrade",
    )
)  # fmt: skip

# Done twice they do no more than done once (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset((b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PUT"))
IDLE_CONNECTIONS = 32

Connect = Callable[[Callable[[], "Exchange"]], Awaitable["Exchange"]]


class UpstreamFailed(Exception):
    """The server behind us cannot be reached, or does not speak HTTP."""


class NoAnswer(UpstreamFailed):
    """The connection ended before a response began."""

    def __init__(self) -> None:
        super().__init__("no response")


class Exchange(asyncio.Protocol):
    """One connection: sends requests and reads their responses, one at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until it is made
        self._drained: asyncio.Future[None] | None = None
        self._head: asyncio.Future[None] | None = None
        self._sending: Body | None = None
        self._lost = False
        self.reused = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[Header] = []
        self.body = Body(self, None)
        self._framed = False
        self._keep_alive = False
        self._without_body = False

    @property
    def reusable(self) -> bool:
        return not self._lost and self.body.complete and self._keep_alive

    @property
    def lost(self) -> bool:
        return self._lost

    # --- the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.body.complete:
            self.close()  # whoever asks next must not be answered with this
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if self.status and not self._framed and error is None:
            self.body.end()  # such a body ends with the connection
        else:
            self.body.fail(PeerLost())
        self._wake()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None:
            if not self._drained.done():  # cancelled with the task that waits for it
                self._drained.set_result(None)
            self._drained = None

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._lost:
            self._transport.resume_reading()

    def close(self) -> None:
        self._transport.abort()

    def _wake(self) -> None:
        """There is an answer, or there will be none: whoever sends or waits may stop."""
        if self._head is not None and not self._head.done():
            self._head.set_result(None)
        if self._sending is not None:
            self._keep_alive = False
            self._sending.discard()
            self.resume_writing()

    # --- the parser ---

    def on_message_begin(self) -> None:
        if self.body.complete:
            raise UpstreamFailed("a response that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._framed = True
            if lower == b"content-length":
                self.body.declared_bytes = int(value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self._keep_alive = self._parser.should_keep_alive()
        if self._without_body:
            self._keep_alive = False  # the parser waits for a body that does not come
            self.body.end()
        self._wake()

    def on_body(self, piece: bytes) -> None:
        if not self.body.complete:
            self.body.feed(piece)

    def on_message_complete(self) -> None:
        if self.status:
            self.body.end()
        else:  # an interim response
            self.headers = []
            self._framed = False

    # --- one request ---

    async def ask(
        self, method: bytes, target: bytes, headers: Sequence[Header], body: Body
    ) -> None:
        """Send a request and wait for the head of its response: `status`, `headers`, `body`.

        A response that comes before the body is sent ends the sending. Raises NoAnswer, and what
        reading `body` raises.
        """
        if self._lost:
            raise NoAnswer
        self._reset()
        self._without_body = method == b"HEAD"
        self._head = self._loop.create_future()
        whole = body.read_nowait()
        head = _format_head(method, target, headers, body, whole)
        if whole is not None:
            self._transport.write(head + whole)
        else:
            self._transport.write(head)
            self._sending = body
            try:
                await self._send(body)
            finally:
                self._sending = None
        await self._head
        if not self.status:
            raise NoAnswer

    async def _send(self, body: Body) -> None:
        chunked = body.declared_bytes is None
        head = self._head
        assert head is not None
        while piece := await body.read():
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if self._drained is not None:
                await self._drained
        if chunked and not head.done():
            self._transport.write(b"0\r\n\r\n")


def _format_head(
    method: bytes, target: bytes, headers: Sequence[Header], body: Body, whole: bytes | None
) -> bytes:
    lines = [method, b" ", target, b" HTTP/1.1\r\n"]
    for name, value in headers:
        if name not in HOP_BY_HOP:
            lines += (name, b": ", value, b"\r\n")
    if whole is None and body.declared_bytes is None:
        lines.append(b"transfer-encoding: chunked\r\n\r\n")
    else:
        length = body.declared_bytes if whole is None else len(whole)
        lines.append(b"content-length: %d\r\n\r\n" % (length or 0))
    return b"".join(lines)


class Upstream:
    """A server behind us, and the idle connections to it."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._idle: list[Exchange] = []

    @asynccontextmanager
    async def ask(
        self, method: bytes, target: bytes, headers: Sequence[Header], body: Body
    ) -> AsyncIterator[Exchange]:
        """Send a request and yield the connection once the head of the response is there.

        Raises UpstreamFailed, and what reading `body` raises.
        """
        # An idle connection may end in the moment it is used. Where a second try could do harm, or
        # the body cannot be sent again, a connection is made instead.
        repeatable = method in IDEMPOTENT and body.complete and not body.received_bytes
        exchange = (self._take_idle() if repeatable else None) or await self._open()
        try:
            try:
                await exchange.ask(method, target, headers, body)
            except NoAnswer:
                if not exchange.reused:
                    raise
                exchange = await self._open()
                await exchange.ask(method, target, headers, body)
            yield exchange
        finally:
            if exchange.reusable and len(self._idle) < IDLE_CONNECTIONS:
                exchange.reused = True
                self._idle.append(exchange)
            else:
                exchange.close()

    def _take_idle(self) -> Exchange | None:
        while self._idle:
            exchange = self._idle.pop()
            if not exchange.lost:
                return exchange
        return None

    async def _open(self) -> Exchange:
        try:
            return await self._connect(Exchange)
        except OSError as error:
            raise UpstreamFailed(str(error)) from error

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()


def over_unix_socket(path: str) -> Upstream:
    """Return the server that listens on a UNIX socket."""

    async def connect(factory: Callable[[], Exchange]) -> Exchange:
        _, exchange = await asyncio.get_running_loop().create_unix_connection(factory, path)
        return exchange

    return Upstream(connect)
