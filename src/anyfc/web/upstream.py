"""Pooled HTTP connections to servers behind us: the control API, and functions' own servers."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from anyfc.web.exchange import Exchange, Hints, NoAnswer, UpstreamFailed
from anyfc.web.message import Header, Source
from anyfc.web.outbox import Outbox
from anyfc.web.transport import factory

__all__ = [
    "CONTROL", "FUNCTION", "HOP_BY_HOP", "Exchange", "Hints", "NoAnswer", "Rules", "Upstream",
    "UpstreamFailed", "over_socket", "over_unix_socket",
]  # fmt: skip

# They belong to one connection (RFC 9110, 7.6.1), or are what we answer ourselves (Expect) or write
# anew (the framing).
HOP_BY_HOP: Final = frozenset(
    (
        b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-authenticate",
        b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
        b"upgrade",
    )
)  # fmt: skip

# Done twice they do no more than done once (RFC 9110, 9.2.2).
IDEMPOTENT: Final = frozenset((b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PUT"))
# They say how long a body is even if there is none (RFC 9110, 8.6).
WITH_A_BODY: Final = frozenset((b"PATCH", b"POST", b"PUT"))
# As many requests as an instance may serve at the same time.
IDLE_CONNECTIONS: Final = 200

# Connects an exchange to the server.
Connect = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a kind of server is talked to.

    A connection that was used before may end in the moment it is used again. A request whose method
    is in `retried`, and whose whole body is still here, is then sent once more on a new connection.
    Others fail, or take new connections only: `reuse_always`.
    """

    retried: frozenset[bytes]
    reuse_always: bool


CONTROL: Final = Rules(retried=IDEMPOTENT, reuse_always=False)

# Source: runtime.md 4.1.
FUNCTION: Final = Rules(
    retried=frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE")), reuse_always=True
)


class Upstream:
    """A server behind us, and the idle connections to it."""

    def __init__(self, connect: Connect, rules: Rules = FUNCTION) -> None:
        self.rules = rules
        self._connect = connect
        self._idle: list[Exchange] = []
        self._outbox = Outbox()

    def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: Source,
        *,
        head: bytes = b"",
        upgrade: bytes | None = None,
    ) -> "Asking":
        """Send a request and yield the connection once the head of the response is there.

        Framing headers are the connection's business: leave them out. `head` are header lines that
        are ready to be sent. With `upgrade`, a protocol in lower case, the server may answer 101:
        see `Exchange.tunnel`. Entering raises UpstreamFailed, and what the sender of `body` did.
        """
        whole = body.read_nowait()
        lines = [method, b" ", target, b" HTTP/1.1\r\n", head]
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
        if upgrade is not None:
            lines.append(b"connection: Upgrade\r\nupgrade: %b\r\n" % upgrade)
        length_bytes = body.declared_bytes if whole is None else len(whole)
        if length_bytes is None:
            lines.append(b"transfer-encoding: chunked\r\n\r\n")
        elif length_bytes or method in WITH_A_BODY:
            lines.append(b"content-length: %d\r\n\r\n" % length_bytes)
        else:
            lines.append(b"\r\n")
        if whole is None:
            return Asking(self, method, b"".join(lines), body, upgrade)
        lines.append(whole)
        return Asking(self, method, b"".join(lines), None, upgrade)

    def take_idle(self) -> Exchange | None:
        while self._idle:
            exchange = self._idle.pop()
            if not exchange.lost:
                return exchange
        return None

    async def open(self) -> Exchange:
        exchange = Exchange(self._outbox)
        try:
            await self._connect(exchange)
        except OSError as error:
            raise UpstreamFailed(str(error)) from error
        return exchange

    def give_back(self, exchange: Exchange) -> None:
        if exchange.reusable and len(self._idle) < IDLE_CONNECTIONS:
            exchange.reused = True
            self._idle.append(exchange)
        else:
            exchange.close()

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class Asking:
    """One request, from its sending to the end of its response: `async with upstream.ask(…)`.

    Who does not want to wait lets it `begin`, and then either calls `end`, or enters and leaves it
    like all others. `hints`, if they are set before, are told what comes before the response.
    """

    __slots__ = (
        "_body", "_message", "_method", "_retried", "_upgrade", "_upstream", "exchange", "hints",
    )  # fmt: skip

    def __init__(
        self,
        upstream: Upstream,
        method: bytes,
        message: bytes,
        body: Source | None,
        upgrade: bytes | None,
    ) -> None:
        self._upstream = upstream
        self._method = method
        self._message = message
        self._body = body  # what follows the message
        self._upgrade = upgrade
        self._retried = body is None and method in upstream.rules.retried
        self.exchange: Exchange | None = None
        self.hints: Hints | None = None

    def begin(self, listener: Callable[[], None] | None = None) -> bool:
        """Send the request if a connection is idle that it may use; see `Exchange.send`."""
        upstream = self._upstream
        if not self._retried and not upstream.rules.reuse_always:
            return False
        exchange = upstream.take_idle()
        if exchange is None:
            return False
        self._send(exchange, listener)
        return True

    def end(self) -> None:
        """The response has been read: its connection may serve another request."""
        assert self.exchange is not None
        self._upstream.give_back(self.exchange)

    def break_off(self) -> None:
        """Nobody wants the response."""
        if self.exchange is not None:
            self.exchange.ignore()
            self.exchange.close()

    async def __aenter__(self) -> Exchange:
        if self.exchange is not None or self.begin():
            try:
                return await self._wait()
            except NoAnswer:
                assert self.exchange is not None
                if not self._retried or self.exchange.heard:
                    raise
        self._send(await self._upstream.open(), None)
        return await self._wait()

    def _send(self, exchange: Exchange, listener: Callable[[], None] | None) -> None:
        self.exchange = exchange
        exchange.send(
            self._method,
            self._message,
            self._body,
            upgrade=self._upgrade,
            listener=listener,
            hints=self.hints,
        )

    async def _wait(self) -> Exchange:
        exchange = self.exchange
        assert exchange is not None
        try:
            await exchange.wait()
        except BaseException:
            exchange.close()
            raise
        return exchange

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


def over_socket(connect_socket: Callable[[], Awaitable[socket.socket]]) -> Connect:
    """Return how to connect where somebody else opens the sockets: connected, non-blocking ones."""

    async def connect(exchange: Exchange) -> None:
        opened = await connect_socket()
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(factory(lambda: exchange), sock=opened)
        except BaseException:
            opened.close()
            raise

    return connect


def over_unix_socket(path: str) -> Upstream:
    """Return the control API that listens on a UNIX socket."""

    async def connect(exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(factory(lambda: exchange), path)

    return Upstream(connect, CONTROL)
