"""Ports with real sockets: one that is somebody else's, and what is served all the same."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import uvloop
from routed import make_domain

from anyfc.errors import FunctionComputeError
from anyfc.model.domain import Certificate
from anyfc.web.connection import Patience
from anyfc.web.https import Https
from anyfc.web.message import Reply, Request, Response, Rest
from anyfc.web.server import open_server
from anyfc.web.tls import Certificates, make_self_signed

PATIENCE = Patience(header_s=1, body_stall_s=5, keep_alive_s=5, drain_s=0.5)
PAIR = make_self_signed("a.test")
DOMAIN = make_domain(
    "a.test", certificate=Certificate(name="c", certificate=PAIR[0], private_key=PAIR[1])
)
WITHIN_S = 20.0
RETRY_S = 0.05


class Hello:
    def handle(self, request: Request, reply: Reply) -> Rest:
        return reply.send(Response(status=200, body=b"secure" if request.secure else b"plain"))

    def refuse(self, problem: FunctionComputeError) -> Response:
        return Response(status=problem.status, body=problem.message.encode())


def open_port(
    port: int, certificates: Certificates | None = None, host: str = "127.0.0.1"
) -> AbstractAsyncContextManager[int]:
    return open_server(
        Hello(),
        host=host,
        port=port,
        patience=PATIENCE,
        max_connections=10,
        certificates=certificates,
    )


async def ask(port: int, host: str = "127.0.0.1", **tls: Any) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, **tls)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def ask_https(port: int) -> bytes:
    context = ssl.create_default_context(cadata=PAIR[0])
    return await ask(port, ssl=context, server_hostname="a.test")


async def wait_until(condition: Callable[[], Any]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(RETRY_S)


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await main

    uvloop.run(bounded())


@pytest.mark.parametrize("certificates", [None, Certificates()], ids=["http", "https"])
def test_a_port_that_is_taken_is_an_error_of_the_system_and_names_it(certificates):
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match=f"127.0.0.1:{port}: address already in use"):
                async with open_port(port, certificates):
                    raise AssertionError("it is taken")

    run(main())


def test_http_is_served_while_the_port_for_https_is_taken_and_https_when_it_is_free(caplog):
    async def main() -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        https = Https(taken.getsockname()[1], retry_s=RETRY_S)
        async with (
            open_port(0) as port,
            https.served(lambda certificates: open_port(https.port, certificates)),
        ):
            https.follow(None, DOMAIN)
            await wait_until(lambda: https.problem)
            await asyncio.sleep(3 * RETRY_S)
            assert await ask(port) == b"plain"
            taken.close()
            await wait_until(lambda: not https.problem)
            assert await ask_https(https.port) == b"secure"
            assert await ask(port) == b"plain"

    run(main())
    said = [record.message for record in caplog.records]
    assert said == ["https is not served; trying again", "https ready"]


@pytest.mark.parametrize("certificates", [None, Certificates()], ids=["http", "https"])
def test_a_port_is_free_again_when_its_server_has_ended(certificates):
    async def main() -> None:
        async with open_port(0, certificates) as port:
            pass
        async with open_port(port, certificates) as again:
            assert again == port

    run(main())


def test_all_addresses_of_a_host_are_served_at_one_port():
    async def main() -> None:
        found = await asyncio.get_running_loop().getaddrinfo("localhost", 0)
        async with open_port(0, host="localhost") as port:
            for address in {entry[4][0] for entry in found}:
                assert await ask(port, str(address)) == b"plain"

    run(main())
