"""HTTP with real sockets: a server, what is behind it, and clients that nobody here wrote."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from anyfc.errors import FunctionComputeError
from anyfc.web.connection import Patience
from anyfc.web.message import HIGH_WATER_BYTES, Reply, Request, Response, Rest
from anyfc.web.server import open_server
from anyfc.web.tls import Certificates, make_self_signed
from anyfc.web.tunnel import join
from anyfc.web.upstream import HOP_BY_HOP, Upstream, over_socket

PATIENCE = Patience(header_s=1, body_stall_s=5, keep_alive_s=5, drain_s=0.5)
MIB = 1024 * 1024
WITHIN_S = 20.0


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await main

    uvloop.run(bounded())


class Proxy:
    """Passes everything on to a server behind it, as the gateway does; tunnels within a time."""

    def __init__(self, port: int) -> None:
        self.timeout_s = WITHIN_S
        self.connections = 0
        self._port = port
        self._upstream = Upstream(over_socket(self._connect))

    async def _connect(self) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self._port))
        self.connections += 1
        return made

    def handle(self, request: Request, reply: Reply) -> Rest:
        return self._pass_on(request, reply)

    async def _pass_on(self, request: Request, reply: Reply) -> None:
        headers = [header for header in request.headers if header[0] not in HOP_BY_HOP]
        asking = self._upstream.ask(
            request.method, request.target, headers, request.body, upgrade=request.upgrade
        )
        async with asking as exchange:
            headers = [
                (name, value)
                for name, value in exchange.headers
                if name.lower() not in HOP_BY_HOP and name.lower() != b"date"
            ]
            response = Response(status=exchange.status, headers=headers)
            if exchange.status == 101:
                assert request.upgrade is not None
                client = await reply.upgrade(request.upgrade, response)
                try:
                    async with asyncio.timeout(self.timeout_s):
                        await join(client, exchange.tunnel())
                except TimeoutError:
                    pass
            else:
                response.body = exchange.body
                response.length_bytes = exchange.body.declared_bytes
                await reply.send(response)

    def refuse(self, problem: FunctionComputeError) -> Response:
        return Response(status=problem.status, body=problem.message.encode())

    def close(self) -> None:
        self._upstream.close()


@asynccontextmanager
async def open_proxy(
    behind: int, certificates: Certificates | None = None
) -> AsyncIterator[tuple[Proxy, int]]:
    proxy = Proxy(behind)
    try:
        async with open_server(
            proxy, host="127.0.0.1", port=0, patience=PATIENCE, max_connections=500,
            certificates=certificates,
        ) as port:  # fmt: skip
            yield proxy, port
    finally:
        proxy.close()


# --- WebSocket ----------------------------------------------------------------------------------


async def echo(client: ServerConnection) -> None:
    async for message in client:
        if message == "bye":
            await client.close(4000, "as you wish")
            return
        await client.send(message)


@asynccontextmanager
async def open_websockets(
    handler: Callable[[ServerConnection], Awaitable[None]] = echo, **settings: Any
) -> AsyncIterator[tuple[Proxy, int]]:
    async with (
        serve(handler, "127.0.0.1", 0, max_size=None, **settings) as server,
        open_proxy(server.sockets[0].getsockname()[1]) as opened,
    ):
        yield opened


def test_a_websocket_is_carried_both_ways_and_its_closing_too():
    async def main() -> None:
        async with (
            open_websockets() as (_, port),
            connect(f"ws://127.0.0.1:{port}/chat", max_size=None) as client,
        ):
            for message in ("hello", b"\0\1", "x" * 3 * MIB):
                await client.send(message)
                assert await client.recv() == message
            await (await client.ping())
            await client.send("bye")
            with pytest.raises(ConnectionClosedError) as closed:
                await client.recv()
            assert closed.value.rcvd.code == 4000

    run(main())


def test_who_closes_is_heard_on_the_other_side():
    async def main() -> None:
        ended: asyncio.Queue[int] = asyncio.Queue()

        async def handler(client: ServerConnection) -> None:
            try:
                await client.recv()
            except (ConnectionClosedOK, ConnectionClosedError) as closed:
                await ended.put(closed.rcvd.code if closed.rcvd else 1006)

        async with open_websockets(handler) as (_, port):
            async with connect(f"ws://127.0.0.1:{port}"):
                pass
            assert await ended.get() == 1000
            client = await connect(f"ws://127.0.0.1:{port}")
            client.transport.abort()
            assert await ended.get() == 1006

    run(main())


def test_a_tunnel_that_is_cancelled_ends_with_1006():
    async def main() -> None:
        async with open_websockets() as (proxy, port):
            proxy.timeout_s = 0.2
            async with connect(f"ws://127.0.0.1:{port}") as client:
                await client.send("hello")
                assert await client.recv() == "hello"
                with pytest.raises(ConnectionClosedError) as closed:
                    await client.recv()
                assert closed.value.rcvd is None

    run(main())


def test_a_server_that_does_not_take_up_an_upgrade_answers_it():
    async def main() -> None:
        def refuse(connection: ServerConnection, request: Any) -> Any:
            return connection.respond(403, "not you")

        async with open_websockets(process_request=refuse) as (_, port):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{port}")
            assert refused.value.response.status_code == 403
            assert refused.value.response.body == b"not you"

    run(main())


def test_many_websockets_are_open_at_once_and_all_end_with_the_server():
    async def main() -> None:
        async with open_websockets() as (proxy, port):
            clients = [await connect(f"ws://127.0.0.1:{port}") for _ in range(100)]
            for number, client in enumerate(clients):
                await client.send(str(number))
            assert [await client.recv() for client in clients] == [str(n) for n in range(100)]
            assert proxy.connections == 100
        for client in clients:
            await client.wait_closed()

    run(main())


# --- other protocols, and bodies ----------------------------------------------------------------


@asynccontextmanager
async def open_raw(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[Proxy, int]]:
    """A server that is whatever the test says, behind a proxy."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    async with server, open_proxy(server.sockets[0].getsockname()[1]) as opened:
        yield opened


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
ASK_RAW = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


def test_bytes_sent_with_the_heads_arrive_and_one_side_may_end_before_the_other():
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(SWITCH + b"first")
            writer.write(b"<%b>" % await reader.read())

        async with open_raw(answer) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ASK_RAW + b"early")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write_eof()
            assert await reader.read() == b"first<early>"
            writer.close()

    run(main())


def test_a_tunnel_whose_client_does_not_read_makes_the_server_wait():
    async def main() -> None:
        sent_bytes = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent_bytes
            await reader.readuntil(b"\r\n\r\n")
            writer.write(SWITCH)
            for _ in range(64):
                writer.write(bytes(MIB))
                await writer.drain()
                sent_bytes += MIB

        async with open_raw(answer) as (_, port):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, limit=HIGH_WATER_BYTES
            )
            writer.write(ASK_RAW)
            await reader.readuntil(b"\r\n\r\n")
            before = -1
            while before != sent_bytes:
                before = sent_bytes
                await asyncio.sleep(0.2)
            assert sent_bytes < 40 * MIB
            assert len(await reader.read(-1)) == 64 * MIB
            writer.close()

    run(main())


def test_events_pass_as_they_come():
    async def main() -> None:
        go_on = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            await go_on.wait()
            writer.write(b"data: 2\n\n")

        async with open_raw(answer) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await reader.readuntil(b"9\r\ndata: 1\n\n\r\n")
            go_on.set()
            assert await reader.readuntil(b"0\r\n\r\n") == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
            writer.close()

    run(main())


def test_large_bodies_pass_both_ways_over_one_connection():
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                content = await reader.readexactly(32 * MIB)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
                writer.write(content)
                await writer.drain()

        async with open_raw(answer) as (proxy, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in (b"a", b"b"):
                content = byte * 32 * MIB
                writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % 2**25)
                writer.write(content)
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(content)) == content
            assert proxy.connections == 1
            writer.close()

    run(main())


# --- HTTPS --------------------------------------------------------------------------------------


class Hello:
    def handle(self, request: Request, reply: Reply) -> Rest:
        return reply.send(Response(status=200, body=b"secure" if request.secure else b"plain"))

    def refuse(self, problem: FunctionComputeError) -> Response:
        return Response(status=problem.status, body=problem.message.encode())


@asynccontextmanager
async def open_https(certificates: Certificates) -> AsyncIterator[int]:
    async with open_server(
        Hello(), host="127.0.0.1", port=0, patience=PATIENCE, max_connections=10,
        certificates=certificates,
    ) as port:  # fmt: skip
        yield port


async def ask_https(
    port: int, name: str | None, *, trusted: str = "", version: ssl.TLSVersion | None = None
) -> tuple[str, bytes]:
    """Ask as a client that trusts one certificate, or any; return the version and the answer."""
    context = ssl.create_default_context(cadata=trusted or None)
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name or ""
    )
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        return writer.get_extra_info("ssl_object").version(), answer.partition(b"\r\n\r\n")[2]
    finally:
        writer.close()


def test_each_host_shows_its_own_certificate_and_they_come_and_go():
    async def main() -> None:
        certificates = Certificates()
        of = {name: make_self_signed(name) for name in ("a.test", "b.test")}
        async with open_https(certificates) as port:
            for name, pair in of.items():
                certificates.put(name, *pair)
                certificates.put(f"*.{name}", *pair)
                for host in (name, f"www.{name}", f"WWW.{name}."[:-1]):
                    assert (await ask_https(port, host, trusted=pair[0]))[1] == b"secure"
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask_https(port, "a.test", trusted=of["b.test"][0])
            certificates.remove("a.test")
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask_https(port, "a.test", trusted=of["a.test"][0])
            assert (await ask_https(port, "a.test"))[1] == b"secure"
            assert (await ask_https(port, None))[1] == b"secure"

    run(main())


@pytest.mark.parametrize(
    ("lowest", "highest", "version", "agreed"),
    [
        ("TLSv1.2", "", None, "TLSv1.3"),
        ("TLSv1.2", "TLSv1.2", None, "TLSv1.2"),
        ("TLSv1.3", "", None, "TLSv1.3"),
        ("TLSv1.3", "", ssl.TLSVersion.TLSv1_2, None),
    ],
)
def test_each_host_has_its_own_versions(lowest, highest, version, agreed):
    async def main() -> None:
        certificates = Certificates()
        certificates.put("a.test", *make_self_signed("a.test"), lowest, highest)
        async with open_https(certificates) as port:
            if agreed:
                assert (await ask_https(port, "a.test", version=version))[0] == agreed
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await ask_https(port, "a.test", version=version)

    run(main())


def test_a_client_that_says_hello_slowly_is_served():
    async def main() -> None:
        pair = make_self_signed("a.test")
        certificates = Certificates()
        certificates.put("a.test", *pair)
        async with open_https(certificates) as port:
            loop = asyncio.get_running_loop()
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                context = ssl.create_default_context(cadata=pair[0])
                tls = context.wrap_bio(incoming, outgoing, server_hostname="a.test")
                with pytest.raises(ssl.SSLWantReadError):
                    tls.do_handshake()
                hello = outgoing.read()
                for piece in (hello[:1], hello[1:5], hello[5:80], hello[80:]):
                    await loop.sock_sendall(client, piece)
                    await asyncio.sleep(0.02)
                while True:
                    incoming.write(await loop.sock_recv(client, 65536))
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        continue

    run(main())


@pytest.mark.parametrize(
    "wire", [b"", b"\x16\x03", b"\x16\x03\x01\x10\x00\x01", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_who_does_not_begin_tls_is_left(wire):
    async def main() -> None:
        async with open_https(Certificates()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wire)
            with suppress(ConnectionError):
                assert b"HTTP" not in await reader.read()
            writer.close()
            assert (await ask_https(port, "a.test"))[1] == b"secure"

    run(main())
