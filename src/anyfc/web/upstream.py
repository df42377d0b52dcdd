"""Pooled HTTP connections to servers behind us: the control API, and functions' own servers."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from anyfc.web.exchange import Exchange, NoAnswer, UpstreamFailed
from anyfc.web.message import Header, Source

__all__ = [
    "CONTROL", "FUNCTION", "HOP_BY_HOP", "Exchange", "NoAnswer", "Rules", "Upstream",
    "UpstreamFailed", "over_socket", "over_unix_socket",
]  # fmt: skip

# What we answer ourselves (Expect), write anew (the framing), or what is about one connection.
FRAMING = frozenset(
    (
        b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-connection",
        b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
# They belong to one connection and are not passed on (RFC 9110, 7.6.1).
HOP_BY_HOP = FRAMING | {b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer"}

# Done twice they do no more than done once (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset((b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PUT"))
# They say how long a body is even if there is none (RFC 9110, 8.6).
WITH_A_BODY = frozenset((b"PATCH", b"POST", b"PUT"))
# As many requests as an instance may serve at the same time.
IDLE_CONNECTIONS = 200

Connect = Callable[[Callable[[], Exchange]], Awaitable[Exchange]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a kind of server is talked to.

    A connection that was used before may end in the moment it is used again. A request whose method
    is in `retried`, and whose whole body is still here, is then sent once more on a new connection.
    Others fail, or take new connections only: `reuse_always`.
    """

    retried: frozenset[bytes]
    reuse_always: bool
    withheld: frozenset[bytes]  # headers of requests, in lower case, that are not passed on


CONTROL = Rules(retried=IDEMPOTENT, reuse_always=False, withheld=HOP_BY_HOP)

# Source: runtime.md 4.1 (what is retried) and 4.2 (what is passed on).
FUNCTION = Rules(
    retried=frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE")),
    reuse_always=True,
    withheld=FRAMING,
)


class Upstream:
    """A server behind us, and the idle connections to it."""

    def __init__(self, connect: Connect, rules: Rules = FUNCTION) -> None:
        self.rules = rules
        self._connect = connect
        self._idle: list[Exchange] = []

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

        `head` are header lines that are ready to be sent. With `upgrade` the server may answer 101:
        see `Exchange.tunnel`. Entering raises UpstreamFailed, and what the sender of `body` did.
        """
        whole = body.read_nowait()
        lines = [method, b" ", target, b" HTTP/1.1\r\n", head]
        withheld = self.rules.withheld
        for name, value in headers:
            if name not in withheld:
                lines += (name, b": ", value, b"\r\n")
        if upgrade is not None:
            lines += (b"connection: Upgrade\r\nupgrade: ", upgrade, b"\r\n")
        length_bytes = body.declared_bytes if whole is None else len(whole)
        if length_bytes is None:
            lines.append(b"transfer-encoding: chunked\r\n\r\n")
        elif length_bytes or method in WITH_A_BODY:
            lines.append(b"content-length: %d\r\n\r\n" % length_bytes)
        else:
            lines.append(b"\r\n")
        if whole is None:
            return Asking(self, method, b"".join(lines), body, upgrade is not None)
        lines.append(whole)
        return Asking(self, method, b"".join(lines), None, upgrade is not None)

    def take_idle(self) -> Exchange | None:
        while self._idle:
            exchange = self._idle.pop()
            if not exchange.lost:
                return exchange
        return None

    async def open(self) -> Exchange:
        try:
            return await self._connect(Exchange)
        except OSError as error:
            raise UpstreamFailed(str(error)) from error

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
    """One request, from its sending to the end of its response: `async with upstream.ask(…)`."""

    __slots__ = ("_body", "_exchange", "_message", "_method", "_upgrade", "_upstream")

    def __init__(
        self,
        upstream: Upstream,
        method: bytes,
        message: bytes,
        body: Source | None,
        upgrade: bool,
    ) -> None:
        self._upstream = upstream
        self._method = method
        self._message = message
        self._body = body  # what follows the message
        self._upgrade = upgrade
        self._exchange: Exchange | None = None

    async def __aenter__(self) -> Exchange:
        upstream = self._upstream
        retried = self._body is None and self._method in upstream.rules.retried
        exchange = upstream.take_idle() if retried or upstream.rules.reuse_always else None
        if exchange is not None:
            try:
                return await self._send(exchange)
            except NoAnswer:
                if not retried or exchange.heard:
                    raise
        return await self._send(await upstream.open())

    async def _send(self, exchange: Exchange) -> Exchange:
        try:
            await exchange.ask(self._method, self._message, self._body, upgrade=self._upgrade)
        except BaseException:
            exchange.close()
            raise
        self._exchange = exchange
        return exchange

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._exchange is not None
        self._upstream.give_back(self._exchange)


def over_socket(connect_socket: Callable[[], Awaitable[socket.socket]]) -> Connect:
    """Return how to connect where somebody else opens the sockets: connected, non-blocking ones."""

    async def connect(factory: Callable[[], Exchange]) -> Exchange:
        opened = await connect_socket()
        try:
            _, exchange = await asyncio.get_running_loop().create_connection(factory, sock=opened)
        except BaseException:
            opened.close()
            raise
        return exchange

    return connect


def over_unix_socket(path: str) -> Upstream:
    """Return the control API that listens on a UNIX socket."""

    async def connect(factory: Callable[[], Exchange]) -> Exchange:
        _, exchange = await asyncio.get_running_loop().create_unix_connection(factory, path)
        return exchange

    return Upstream(connect, CONTROL)
