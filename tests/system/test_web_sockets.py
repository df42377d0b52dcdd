"""WebSocket: connections to a function's own server that go on both ways.

Source: runtime.md 4.4.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from support import ServerProcess, wait_until
from web_functions import Web, deploying, need_networks, read_folder, read_packages
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def create(start_server: Callable[..., ServerProcess]) -> Iterator[Callable[..., Web]]:
    """Deploy the server, with settings."""
    files = read_folder("web_socket") | read_packages("websockets")
    with deploying(start_server()) as deploy:
        yield partial(deploy, files, "python3", "server.py")


@pytest.fixture(scope="module")
def web(create: Callable[..., Web]) -> Web:
    return create()


@contextmanager
def connected(web: Web, path: str = "/", **settings: Any) -> Iterator[ClientConnection]:
    raw = socket.create_connection(("127.0.0.1", web.server.port))
    with connect(f"ws://{web.host}{path}", sock=raw, max_size=4 * MIB, **settings) as client:
        yield client


def say(client: ClientConnection, message: str | bytes) -> str | bytes:
    client.send(message)
    return client.recv(timeout=10)


def test_texts_and_bytes_go_both_ways(web: Web) -> None:
    with connected(web, "/a/b?c=d") as client:
        assert say(client, "path") == "/a/b?c=d"
        for message in ("你好", "", b"\x00\xff", b"", os.urandom(MIB), "x" * MIB):
            assert say(client, message) == message
        for n in range(100):
            client.send(f"message {n}")
        assert [client.recv(timeout=10) for n in range(100)] == [f"message {n}" for n in range(100)]


def test_what_is_agreed_on_in_the_beginning_is_the_servers_affair(web: Web) -> None:
    with connected(web, subprotocols=["chat", "other"]) as client:
        assert client.subprotocol == "chat"
        assert client.response is not None
        assert client.response.headers["X-Fc-Request-Id"]
        assert say(client, "hello") == "hello"


def test_a_ping_is_answered_by_the_server(web: Web) -> None:
    with connected(web) as client:
        assert client.ping(b"are you there").wait(10)


def test_a_client_that_leaves_says_so_to_the_server(web: Web) -> None:
    with connected(web) as client:
        say(client, "hello")
        client.close(4001, "enough")
    web.wait_line("closed 4001 enough")


def test_a_server_that_leaves_says_so_to_the_client(web: Web) -> None:
    with connected(web) as client:
        with pytest.raises(ConnectionClosedError) as closed:
            say(client, "leave")
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4002, "as you wish")


def test_the_server_notices_when_its_client_is_gone(create: Callable[..., Web]) -> None:
    web = create()
    with connected(web) as client:
        instance = say(client, "who")
        client.socket.shutdown(socket.SHUT_RDWR)
    web.wait_line("closed 1006")
    wait_until(lambda: [line for line in web.log() if line.startswith("FC Invoke End")])
    with connected(web) as client:
        assert say(client, "who") == instance


def test_a_refusal_is_an_answer_like_others(web: Web) -> None:
    with pytest.raises(InvalidStatus) as refused, connected(web, "/refused"):
        pass
    response = refused.value.response
    assert (response.status_code, response.body) == (403, b"not you\n")
    assert response.headers["X-Fc-Request-Id"]


def test_the_time_limit_of_the_function_ends_the_connection(create: Callable[..., Web]) -> None:
    web = create(timeout=1)
    with connected(web) as client:
        began = time.monotonic()
        instance = say(client, "who")
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv(timeout=10)
        assert 0.5 < time.monotonic() - began < 3
        assert closed.value.rcvd is None  # which is what 1006 stands for
        assert client.protocol.close_code == 1006
    assert "Error: Function timed out after 1 seconds" in web.wait_line("Error")
    with connected(web) as client:
        assert say(client, "who") != instance


def test_a_crash_ends_the_connection(create: Callable[..., Web]) -> None:
    web = create()
    with connected(web) as client:
        instance = say(client, "who")
        with pytest.raises(ConnectionClosedError) as closed:
            say(client, "crash")
        assert closed.value.rcvd is None
    assert wait_until(lambda: who_is_there(web)) != instance


def who_is_there(web: Web) -> str | bytes | None:
    """Ask; None in the moment in which a process that is ending still takes connections."""
    try:
        with connected(web) as client:
            return say(client, "who")
    except InvalidStatus as refusal:
        if refusal.response.status_code != 502:
            raise
        return None


def test_a_connection_is_one_request_for_as_long_as_it_is_open(create: Callable[..., Web]) -> None:
    web = create(instanceConcurrency=2)
    need_networks(web.server)
    with connected(web) as one, connected(web) as other, connected(web) as third:
        assert say(one, "who") == say(other, "who")
        assert say(third, "who") != say(one, "who")
        assert say(one, "still") == "still"
        assert say(other, "awake") == "awake"
