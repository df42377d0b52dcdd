"""The client side: requests to a server behind us, and its answers."""

import asyncio
from collections.abc import Callable

import pytest
from clock import run_on_clock, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from transport import FakeTransport

from anyfc.errors import RequestTimeout
from anyfc.web.message import HIGH_WATER_BYTES, Body, PeerLost
from anyfc.web.upstream import IDLE_CONNECTIONS, Exchange, NoAnswer, Upstream, UpstreamFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Backend:
    """Where an Upstream connects to; keeps the other end of each connection."""

    def __init__(self) -> None:
        self.made: list[FakeTransport] = []
        self.refuses = False
        self.upstream = Upstream(self.connect)

    async def connect(self, factory: Callable[[], Exchange]) -> Exchange:
        if self.refuses:
            raise ConnectionRefusedError("nobody listens")
        exchange = factory()
        self.made.append(FakeTransport(exchange))
        return exchange


class Valve:
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def body_of(*pieces: bytes, complete: bool = True, declared_bytes: int | None = None) -> Body:
    body = Body(Valve(), declared_bytes)
    for piece in pieces:
        body.feed(piece)
    if complete:
        body.end()
    return body


async def call(
    backend: Backend, method: bytes = b"GET", body: Body | None = None
) -> tuple[int, bytes]:
    async with backend.upstream.ask(method, b"/a", [(b"x", b"y")], body or body_of()) as exchange:
        return exchange.status, b"".join([piece async for piece in exchange.body])


def test_a_request_is_written_anew_and_its_answer_is_read():
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            headers = [(b"host", b"h"), (b"connection", b"close"), (b"expect", b"100-continue")]
            headers += [(b"transfer-encoding", b"chunked"), (b"x-a", b"1"), (b"x-a", b"2")]

            async def ask() -> list[tuple[bytes, bytes]]:
                body = body_of(b"abc")
                async with backend.upstream.ask(b"POST", b"/a?b", headers, body) as exchange:
                    assert await exchange.body.read() == b"ok"
                    return exchange.headers

            asking = group.create_task(ask())
            await settle()
            (wire,) = [bytes(transport.written) for transport in backend.made]
            assert wire == (
                b"POST /a?b HTTP/1.1\r\nhost: h\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 3\r\n\r\nabc"
            )
            backend.made[0].deliver(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        assert asking.result() == [(b"Content-Length", b"2")]

    run_on_clock(main())


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["length", "chunked", "close"]), st.binary(max_size=50), st.data())
def test_an_answer_that_is_cut_anywhere_is_the_same(framing, content, data):
    head = b"HTTP/1.1 201 Created\r\nX-A: b\r\n"
    if framing == "length":
        wire = head + b"Content-Length: %d\r\n\r\n" % len(content) + content
    elif framing == "chunked":
        wire = head + b"Transfer-Encoding: chunked\r\n\r\n"
        wire += b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
    else:
        wire = head + b"\r\n" + content
    points = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))

    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend))
            await settle()
            for a, b in zip([0, *points], [*points, len(wire)], strict=True):
                if a < b:
                    backend.made[0].deliver(wire[a:b])
                    await settle(2)
            if framing == "close":
                backend.made[0].lose()
        assert calling.result() == (201, content)

    run_on_clock(main())


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ],
)
def test_an_answer_that_is_none_is_a_failure(wire):
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend))
            await settle()
            backend.made[0].deliver(wire)
            backend.made[0].deliver_eof()
        assert backend.made[0].closing

    async def fails(backend: Backend) -> None:
        with pytest.raises(NoAnswer):
            await call(backend, b"POST")

    run_on_clock(main())


def test_an_answer_that_breaks_off_is_noticed_by_who_reads_it():
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend))
            await settle()
            backend.made[0].deliver(OK[:-1])
            await settle()
            backend.made[0].lose()

    async def fails(backend: Backend) -> None:
        with pytest.raises(PeerLost):
            await call(backend)

    run_on_clock(main())


def test_a_server_that_cannot_be_reached_is_a_failure():
    async def main() -> None:
        backend = Backend()
        backend.refuses = True
        with pytest.raises(UpstreamFailed, match="nobody listens"):
            await call(backend)

    run_on_clock(main())


async def served(backend: Backend, method: bytes = b"GET", body: Body | None = None) -> int:
    """Make one call that is answered; return the number of the connection that it took."""
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(call(backend, method, body))
        await settle()
        waiting = [made for made in backend.made if made.written.endswith(b"\r\n\r\n")]
        number = backend.made.index(waiting[-1])
        backend.made[number].deliver(OK)
    assert calling.result() == (200, b"ok")
    backend.made[number].written += b"answered"
    return number


def test_a_connection_is_used_again():
    async def main() -> None:
        backend = Backend()
        assert [await served(backend) for _ in range(3)] == [0, 0, 0]
        backend.upstream.close()
        assert backend.made[0].closing

    run_on_clock(main())


def test_a_request_that_must_not_be_sent_twice_gets_a_new_connection():
    async def main() -> None:
        backend = Backend()
        assert [await served(backend, b"POST") for _ in range(2)] == [0, 1]

    run_on_clock(main())


def test_a_connection_that_ended_while_it_was_idle_is_not_used():
    async def main() -> None:
        backend = Backend()
        await served(backend)
        backend.made[0].lose()
        assert await served(backend) == 1

    run_on_clock(main())


def test_a_connection_that_ends_in_the_moment_it_is_used_is_replaced_once():
    async def main() -> None:
        backend = Backend()
        await served(backend)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend))
            await settle()
            backend.made[0].lose()
            await settle()
            backend.made[1].deliver(OK)
        assert calling.result() == (200, b"ok")
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend))
            await settle()
            backend.made[1].lose()
            await settle()
            backend.made[2].lose()
        assert len(backend.made) == 3

    async def fails(backend: Backend) -> None:
        with pytest.raises(NoAnswer):
            await call(backend)

    run_on_clock(main())


@pytest.mark.parametrize("how", ["later", "at once"])
def test_an_answer_that_nobody_asked_for_reaches_nobody(how):
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend))
            await settle()
            evil = OK.replace(b"200", b"403")
            backend.made[0].deliver(OK + evil if how == "at once" else OK)
            await settle()
            backend.made[0].deliver(evil)
            await settle()
        assert calling.result() == (200, b"ok")
        assert backend.made[0].aborted
        assert await served(backend) == 1

    run_on_clock(main())


@pytest.mark.parametrize(
    "wire",
    [
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        OK.replace(b"1.1", b"1.0"),
    ],
)
def test_a_connection_that_its_server_will_close_is_not_kept(wire):
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            group.create_task(call(backend))
            await settle()
            backend.made[0].deliver(wire)
        assert backend.made[0].closing

    run_on_clock(main())


def test_head_has_an_answer_without_a_body():
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend, b"HEAD"))
            await settle()
            backend.made[0].deliver(OK[:-2])
        assert calling.result() == (200, b"")

    run_on_clock(main())


def test_only_so_many_idle_connections_are_kept():
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            for _ in range(IDLE_CONNECTIONS + 5):
                group.create_task(call(backend))
            await settle()
            for transport in backend.made:
                transport.deliver(OK)
        assert sum(transport.closing for transport in backend.made) == 5

    run_on_clock(main())


@pytest.mark.parametrize("declared_bytes", [None, 6])
def test_a_body_that_arrives_in_pieces_is_passed_on_in_pieces(declared_bytes):
    async def main() -> None:
        backend = Backend()
        body = body_of(b"abc", complete=False, declared_bytes=declared_bytes)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend, b"POST", body))
            await settle()
            assert b"abc" in backend.made[0].written
            body.feed(b"def")
            body.end()
            await settle()
            _, _, sent = bytes(backend.made[0].written).partition(b"\r\n\r\n")
            framed = b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
            assert sent == (framed if declared_bytes is None else b"abcdef")
            backend.made[0].deliver(OK)
        assert calling.result() == (200, b"ok")
        assert not backend.made[0].closing

    run_on_clock(main())


@pytest.mark.parametrize("stuck_in", ["reading", "writing"])
def test_an_answer_that_comes_early_ends_the_sending(stuck_in):
    async def main() -> None:
        backend = Backend()
        body = body_of(b"abc", complete=False)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend, b"POST", body))
            await settle()
            if stuck_in == "writing":
                backend.made[0].full = True
                body.feed(b"def")
                await settle()
            backend.made[0].deliver(OK)
        assert calling.result() == (200, b"ok")
        assert backend.made[0].closing

    run_on_clock(main())


@pytest.mark.parametrize("stuck_in", ["reading", "writing"])
def test_a_server_that_goes_away_while_it_is_sent_to_is_a_failure(stuck_in):
    async def main() -> None:
        backend = Backend()
        body = body_of(b"abc", complete=False)
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend, body))
            await settle()
            if stuck_in == "writing":
                backend.made[0].full = True
                body.feed(b"def")
                await settle()
            backend.made[0].lose(ConnectionResetError())

    async def fails(backend: Backend, body: Body) -> None:
        with pytest.raises(NoAnswer):
            await call(backend, b"POST", body)

    run_on_clock(main())


def test_a_client_that_stops_sending_ends_the_call():
    async def main() -> None:
        backend = Backend()
        body = body_of(b"abc", complete=False)
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend, body))
            await settle()
            body.fail(RequestTimeout())
        assert backend.made[0].aborted

    async def fails(backend: Backend, body: Body) -> None:
        with pytest.raises(RequestTimeout):
            await call(backend, b"POST", body)

    run_on_clock(main())


def test_a_caller_who_hangs_up_ends_the_call():
    async def main() -> None:
        backend = Backend()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await call(backend)
        assert backend.made[0].aborted

    run_on_clock(main())


def test_a_large_answer_that_is_not_read_makes_its_server_wait():
    async def main() -> None:
        backend = Backend()
        size = 3 * HIGH_WATER_BYTES
        async with asyncio.TaskGroup() as group:
            gate = asyncio.Event()

            async def ask() -> int:
                async with backend.upstream.ask(b"GET", b"/", [], body_of()) as exchange:
                    await gate.wait()
                    return sum([len(piece) async for piece in exchange.body])

            asking = group.create_task(ask())
            await settle()
            transport = backend.made[0]
            transport.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(3):
                transport.deliver(bytes(HIGH_WATER_BYTES))
            assert not transport.reading
            gate.set()
        assert asking.result() == size
        assert transport.reading

    run_on_clock(main())
