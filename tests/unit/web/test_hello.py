"""The first message of TLS: which host it asks for; and what becomes of connections before it."""

import asyncio
import logging
import ssl
from typing import Any

import pytest
from clock import run_on_clock
from hypothesis import given
from hypothesis import strategies as st

from anyfc.web.hello import (
    FULL_PAUSE_S,
    RECORD_HEAD_BYTES,
    Greeter,
    read_server_name,
    record_bytes,
)
from anyfc.web.tls import Certificates


def hello(name: str | None) -> bytes:
    """What Python's client says first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("name", ["a.test", "www.example.com", "a" * 60 + ".test"])
def test_the_host_is_read(name):
    assert read_server_name(hello(name)) == name


def test_a_client_may_ask_for_none():
    assert read_server_name(hello(None)) is None
    assert read_server_name(hello("192.0.2.1")) is None


def test_the_length_of_a_record_is_known_from_its_head():
    whole = hello("a.test")
    assert record_bytes(whole) == record_bytes(whole[:RECORD_HEAD_BYTES]) == len(whole)
    assert record_bytes(b"") == record_bytes(whole[:4]) == RECORD_HEAD_BYTES


@pytest.mark.parametrize(
    "wire", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\xff\xff", b"\x17\x03\x03\0\1"]
)
def test_what_is_no_tls_is_not_waited_for(wire):
    assert record_bytes(wire) == len(wire)


@given(st.binary(max_size=100) | st.builds(lambda cut: hello("a.test")[:cut], st.integers(0, 500)))
def test_what_is_no_hello_asks_for_no_host(wire):
    assert read_server_name(wire) in (None, "a.test")


@given(st.integers(0, 300), st.binary(min_size=1, max_size=4))
def test_a_hello_that_is_broken_does_no_harm(at, put_in):
    whole = hello("a.test")
    read_server_name(whole[:at] + put_in + whole[at + len(put_in) :])


class Accepted:
    """A connection that has been taken, and is in nobody's way."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Accepting:
    """What takes connections: gives or raises what it is told, and then waits for ever."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)

    async def sock_accept(self, listener: Any) -> tuple[Any, Any]:
        if not self.outcomes:
            await asyncio.Event().wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome, None


def test_connections_that_cannot_be_taken_are_said_once_until_one_can(caplog):
    full = OSError(24, "Too many open files")
    taken = [Accepted(), Accepted()]
    loop: Any = Accepting(full, full, full, taken[0], full, full, taken[1])

    async def main() -> None:
        greeter = Greeter(Certificates(), asyncio.Protocol, within_s=1, at_once=0)
        greeter._loop = loop
        listener: Any = Accepted()
        async with greeter.listen([listener]):
            await asyncio.sleep(10 * FULL_PAUSE_S)
        assert listener.closed

    with caplog.at_level(logging.ERROR):
        run_on_clock(main())
    assert all(one.closed for one in taken)
    assert loop.outcomes == []
    said = [(record.message, record.why) for record in caplog.records]
    assert said == [("https takes no more connections", str(full))] * 2
