"""Clients that read slowly or nothing, or hang up while nothing is read from them; on sockets."""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from anyfc.errors import FunctionComputeError
from anyfc.web.connection import PIPELINE, Patience
from anyfc.web.message import HIGH_WATER_BYTES, ReaderStalled, Reply, Request, Response, Rest
from anyfc.web.server import open_server
from anyfc.web.tls import Certificates, make_self_signed
from anyfc.web.tunnel import join
from anyfc.web.upstream import Upstream, over_socket

PATIENCE = Patience(header_s=5, body_stall_s=1, keep_alive_s=5, drain_s=0.5)
KIB = 1024
WITHIN_S = 20.0
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
RESET = struct.pack("ii", 1, 0)

Answering = Callable[[Request, Reply], Awaitable[None]]


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await main

    uvloop.run(bounded())


class App:
    """Answers as the test says; knows how the answer ended."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self.begun = asyncio.Event()
        self.ended: asyncio.Future[BaseException | None] = asyncio.Future()

    def handle(self, request: Request, reply: Reply) -> Rest:
        return self._answer(request, reply)

    async def _answer(self, request: Request, reply: Reply) -> None:
        self.begun.set()
        try:
            await self._answering(request, reply)
        except BaseException as error:
            self.ended.set_result(error)
            raise
        self.ended.set_result(None)

    def refuse(self, problem: FunctionComputeError) -> Response:
        return Response(status=problem.status, body=problem.message.encode())


async def much(request: Request, reply: Reply) -> None:
    """An answer of 8 MiB, in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(128):
            yield bytes(64 * KIB)

    await reply.send(Response(status=200, body=pieces()))


async def never(request: Request, reply: Reply) -> None:
    await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def open_app(
    answering: Answering, certificates: Certificates | None = None
) -> AsyncIterator[tuple[App, int]]:
    app = App(answering)
    async with open_server(
        app, host="127.0.0.1", port=0, patience=PATIENCE, max_connections=10,
        certificates=certificates,
    ) as port:  # fmt: skip
        yield app, port


async def connect(port: int, receive_bytes: int = 0) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    return made


def read_slowly(port: int, secure: bool) -> socket.socket:
    """Ask, and read for some time only a little now and then."""
    client = socket.socket()
    client.settimeout(WITHIN_S)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
    client.connect(("127.0.0.1", port))
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = context.wrap_socket(client, server_hostname="a.test")
    client.sendall(GET)
    for _ in range(16):
        assert client.recv(4 * KIB)
        time.sleep(PATIENCE.body_stall_s / (8 if secure else 4))
    return client


@pytest.mark.parametrize("secure", [False, True])
def test_who_reads_slowly_is_not_cut_off_and_who_reads_nothing_is(secure: bool) -> None:
    async def main() -> None:
        certificates = Certificates() if secure else None
        if certificates is not None:
            certificates.put("a.test", *make_self_signed("a.test"))
        async with open_app(much, certificates) as (app, port):
            client = await asyncio.to_thread(read_slowly, port, secure)
            with client:
                assert not app.ended.done()
                assert isinstance(await app.ended, ReaderStalled)

    run(main())


def close(client: socket.socket) -> None:
    client.close()


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def end_half(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


UNREAD_BODY = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n" + bytes(
    HIGH_WATER_BYTES + 64 * KIB
)


@pytest.mark.parametrize("how", [close, reset, end_half])
@pytest.mark.parametrize("sent", [UNREAD_BODY, GET * (PIPELINE + 4)], ids=["body", "pipeline"])
def test_who_hangs_up_while_nothing_is_read_is_noticed(
    sent: bytes, how: Callable[[socket.socket], None]
) -> None:
    async def main() -> None:
        async with open_app(never) as (app, port):
            client = await connect(port)
            await asyncio.get_running_loop().sock_sendall(client, sent)
            await app.begun.wait()
            await asyncio.sleep(0.7)  # longer than it takes to look
            assert not app.ended.done()
            how(client)
            assert isinstance(await app.ended, asyncio.CancelledError)
            client.close()

    run(main())


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


class Deaf(asyncio.Protocol):
    """A server that takes up an upgrade, and reads nothing any more."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()
        self.transport.write(SWITCH)


def test_who_breaks_a_tunnel_whose_server_does_not_read_is_noticed() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deaf = Deaf()
        server = await loop.create_server(lambda: deaf, "127.0.0.1", 0)
        behind = server.sockets[0].getsockname()[1]
        upstream = Upstream(over_socket(lambda: connect(behind)))

        async def carry(request: Request, reply: Reply) -> None:
            asking = upstream.ask(b"GET", b"/", [], request.body, upgrade=request.upgrade)
            async with asking as exchange:
                end = await reply.upgrade(b"raw", Response(status=101))
                await join(end, exchange.tunnel())

        async with open_app(carry) as (app, port):
            client = await connect(port)
            ask = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: raw\r\n\r\n"
            await loop.sock_sendall(client, ask)
            assert (await loop.sock_recv(client, 64 * KIB)).startswith(SWITCH[:12])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_sendall(client, bytes(64 * 1024 * KIB)), 1)
            assert not app.ended.done()
            reset(client)
            assert await app.ended is None
        upstream.close()
        server.close()
        deaf.transport.abort()

    run(main())
