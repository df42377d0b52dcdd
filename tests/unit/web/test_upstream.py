"""The client side: requests to a server behind us, and its answers."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from clock import run_on_clock, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from transport import FakeTransport

from anyfc.errors import EntityTooLarge, RequestTimeout
from anyfc.web.exchange import RAW_BYTES
from anyfc.web.message import HIGH_WATER_BYTES, Body, PeerLost
from anyfc.web.outgoing import Outgoing
from anyfc.web.tunnel import End, join
from anyfc.web.upstream import (
    CONTROL,
    FUNCTION,
    IDLE_CONNECTIONS,
    Asking,
    Exchange,
    NoAnswer,
    Rules,
    Upstream,
    UpstreamFailed,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Backend:
    """Where an Upstream connects to; keeps the other end of each connection."""

    def __init__(self, rules: Rules = FUNCTION) -> None:
        self.made: list[FakeTransport] = []
        self.refuses = False
        self.upstream = Upstream(self.connect, rules)

    async def connect(self, exchange: Exchange) -> None:
        if self.refuses:
            raise ConnectionRefusedError("nobody listens")
        self.made.append(FakeTransport(exchange))


class Valve:
    paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


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
            headers = [(b"host", b"h"), (b"x-a", b"1"), (b"x-a", b"2")]

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


def fails_with(failure: type[Exception], *pieces: bytes, method: bytes = b"POST") -> None:
    """Answer a request with bytes and the end; the call must fail, and the connection go."""

    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend))
            await settle()
            for piece in pieces:
                backend.made[0].deliver(piece)
                await settle(2)
            backend.made[0].deliver_eof()
        assert backend.made[0].closing
        assert len(backend.made) == 1

    async def fails(backend: Backend) -> None:
        with pytest.raises(UpstreamFailed) as raised:
            await call(backend, method)
        assert type(raised.value) is failure

    run_on_clock(main())


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 C\r\n\r\n"])
def test_a_connection_that_ends_before_the_head_of_an_answer_is_no_answer(wire):
    fails_with(NoAnswer, wire)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"garbage\r\n\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\n\r\n"],
        [OK.replace(b"2\r", b"two\r")],
        [OK.replace(b"2\r", b"-2\r")],
        [OK.replace(b"2\r", b"2, 2\r")],
        [OK.replace(b"2\r", b"99999999999999999999\r")],
        [OK.replace(b"2\r", b"2\r\nContent-Length: 3\r")],
        [OK.replace(b"2\r", b"2\r\nTransfer-Encoding: chunked\r")],
        [OK.replace(b"Content-Length: 2", b"Transfer-Encoding: gzip, chunked")],
        [OK.replace(b"Content-Length: 2", b"Transfer-Encoding: gzip")],
        [OK.replace(b"200", b"099")],
        [b"HTTP/1.1 200 OK\r\nX: " + b"a" * RAW_BYTES, b"a"],
        [b"HTTP/1.1 200 OK\r\n"] + [b"X: a\r\n"] * (RAW_BYTES // 6),
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 100] * (RAW_BYTES // 2400),
    ],
)
def test_what_is_no_http_is_a_failure(pieces):
    fails_with(UpstreamFailed, *pieces)


def test_framing_without_end_is_a_failure_for_who_reads_the_answer():
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend))
            await settle()
            made = backend.made[0]
            made.deliver(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            made.deliver(b"0\r\nX: ")
            for _ in range(RAW_BYTES // 1024):
                made.deliver(b"a" * 1024)
        assert made.aborted

    async def fails(backend: Backend) -> None:
        with pytest.raises(UpstreamFailed, match="say too little"):
            await call(backend)

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


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"GET"])
def test_functions_servers_get_all_requests_on_connections_that_were_used_before(method):
    async def main() -> None:
        backend = Backend()
        body = body_of(b"\r\n\r\n", declared_bytes=4)
        assert [await served(backend), await served(backend, method, body)] == [0, 0]

    run_on_clock(main())


@pytest.mark.parametrize(("method", "number"), [(b"POST", 1), (b"PATCH", 1), (b"PUT", 0)])
def test_the_control_api_gets_no_request_twice_that_must_not_be(method, number):
    async def main() -> None:
        backend = Backend(CONTROL)
        assert [await served(backend), await served(backend, method)] == [0, number]

    run_on_clock(main())


@pytest.mark.parametrize(
    ("rules", "method", "retried"),
    [
        (FUNCTION, b"GET", True),
        (FUNCTION, b"HEAD", True),
        (FUNCTION, b"OPTIONS", True),
        (FUNCTION, b"TRACE", True),
        (FUNCTION, b"POST", False),
        (FUNCTION, b"PUT", False),
        (FUNCTION, b"DELETE", False),
        (CONTROL, b"PUT", True),
        (CONTROL, b"DELETE", True),
    ],
)
def test_what_meets_a_connection_that_ends_is_sent_again_if_it_may_be(rules, method, retried):
    async def main() -> None:
        backend = Backend(rules)
        await served(backend)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(no_answer_in(backend, method))
            await settle()
            backend.made[0].lose(ConnectionResetError())
            await settle()
            if retried:
                assert backend.made[1].written.startswith(method + b" /a HTTP/1.1\r\n")
                backend.made[1].deliver(OK[: len(OK) - 2 * (method == b"HEAD")])
        assert calling.result() is not retried

    run_on_clock(main())


async def no_answer_in(backend: Backend, method: bytes = b"GET", body: Body | None = None) -> bool:
    try:
        await call(backend, method, body)
    except NoAnswer:
        return True
    return False


def test_a_request_is_not_sent_again_when_something_was_answered_or_its_body_is_gone():
    async def main() -> None:
        for body, wire in ((None, b"HTTP/1.1 200 OK\r\n"), (body_of(b"a", complete=False), b"")):
            backend = Backend()
            await served(backend)
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(no_answer_in(backend, b"GET", body))
                await settle()
                backend.made[0].deliver(wire)
                backend.made[0].lose()
            assert calling.result()
            assert len(backend.made) == 1

    run_on_clock(main())


def test_a_body_that_is_sent_again_is_sent_whole():
    async def main() -> None:
        backend = Backend()
        await served(backend)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend, b"GET", body_of(b"abc", declared_bytes=3)))
            await settle()
            backend.made[0].lose()
            await settle()
            assert backend.made[1].written.endswith(b"content-length: 3\r\n\r\nabc")
            backend.made[1].deliver(OK)
        assert calling.result() == (200, b"ok")

    run_on_clock(main())


def test_headers_that_are_ready_come_first_and_a_length_only_where_there_may_be_a_body():
    async def main() -> None:
        backend = Backend()
        for method, end in ((b"GET", b""), (b"DELETE", b""), (b"POST", b"content-length: 0\r\n")):
            async with asyncio.TaskGroup() as group:
                group.create_task(ask(backend, method))
                await settle()
                made = backend.made[0]
                sent = b" / HTTP/1.1\r\nx-a: 1\r\nte: trailers\r\n" + end + b"\r\n"
                assert made.written == method + sent
                made.written.clear()
                made.deliver(OK)

    async def ask(backend: Backend, method: bytes) -> None:
        headers = [(b"te", b"trailers")]
        async with backend.upstream.ask(method, b"/", headers, body_of(), head=b"x-a: 1\r\n") as e:
            await e.body.read()

    run_on_clock(main())


@pytest.mark.parametrize("how", [FakeTransport.lose, FakeTransport.deliver_eof])
def test_a_connection_that_ended_while_it_was_idle_is_not_used(how):
    async def main() -> None:
        backend = Backend()
        await served(backend)
        how(backend.made[0])
        assert await served(backend, b"POST") == 1

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


BODILESS = [
    (b"HEAD", OK[:-2]),
    (b"HEAD", OK[:-2].replace(b": 2", b": 0")),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
    (b"HEAD", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"),
    (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
]


@pytest.mark.parametrize(("method", "wire"), BODILESS)
def test_an_answer_without_a_body_ends_with_its_head_and_the_connection_is_used_again(method, wire):
    async def main() -> None:
        backend = Backend()
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(call(backend, method))
                await settle()
                backend.made[0].deliver(wire)
            assert calling.result() == (int(wire[9:12]), b"")
        assert await served(backend) == 0

    run_on_clock(main())


@pytest.mark.parametrize(
    "wire",
    [
        OK,
        OK[:-2] + OK,
        OK[:-2].replace(b": 2", b": 2\r\nConnection: close"),
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_a_connection_is_not_used_again_when_head_was_answered_with_more_than_a_head(wire):
    async def main() -> None:
        backend = Backend()
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend, b"HEAD"))
            await settle()
            backend.made[0].deliver(wire)
        assert calling.result() == (200, b"")
        assert await served(backend) == 1

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
def test_an_answer_that_ends_before_the_body_is_sent_ends_the_sending(stuck_in):
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
        body.feed(b"more")
        assert b"more" not in backend.made[0].written

    run_on_clock(main())


def test_a_server_may_answer_while_the_body_is_still_being_sent():
    async def main() -> None:
        backend = Backend()
        body = body_of(b"abc", complete=False)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend, b"POST", body))
            await settle()
            made = backend.made[0]
            made.deliver(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await settle()
            made.written.clear()
            body.feed(b"def")
            body.end()
            assert made.written == b"3\r\ndef\r\n0\r\n\r\n"
            made.deliver(b"3\r\ndef\r\n0\r\nX-Trailer: a\r\n\r\n")
        assert calling.result() == (200, b"abcdef")
        assert not made.closing

    run_on_clock(main())


def test_a_server_that_reads_slowly_makes_the_sender_wait():
    async def main() -> None:
        backend = Backend()
        valve = Valve()
        body = Body(valve, None)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(backend, b"POST", body))
            await settle()
            made = backend.made[0]
            made.full = True
            for piece in (b"now", b"later", bytes(HIGH_WATER_BYTES)):
                body.feed(piece)
            assert made.written.endswith(b"3\r\nnow\r\n")
            assert valve.paused
            made.drain()
            assert b"5\r\nlater\r\n" in made.written
            assert not valve.paused
            body.end()
            assert made.written.endswith(b"0\r\n\r\n")
            made.deliver(OK)
        assert calling.result() == (200, b"ok")

    run_on_clock(main())


class File:
    """A payload in pieces; counts those that were taken."""

    def __init__(self, *pieces: bytes) -> None:
        self.size_bytes = sum(map(len, pieces))
        self.taken = 0
        self._pieces = pieces

    def pieces(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


def test_a_payload_in_a_file_is_read_as_fast_as_the_server_reads_it():
    async def main() -> None:
        backend = Backend()
        await served(backend)
        file = File(b"abc", b"def", b"ghi")
        async with asyncio.TaskGroup() as group:
            made = backend.made[0]
            made.full = True
            asking = group.create_task(ask(backend, Outgoing(file)))
            await settle()
            assert file.taken == 0
            made.drain()
            assert file.taken == 3
            assert made.written.endswith(b"content-length: 9\r\n\r\nabcdefghi")
            made.deliver(OK)
        assert asking.result() == b"ok"

    async def ask(backend: Backend, body: Outgoing) -> bytes:
        async with backend.upstream.ask(b"POST", b"/invoke", (), body) as exchange:
            return await exchange.body.read()

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


def test_a_body_that_grows_too_large_ends_the_call():
    async def main() -> None:
        backend = Backend()
        body = body_of(b"abc", complete=False)
        body.set_limit(5)
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend, body))
            await settle()
            body.feed(b"def")
        assert backend.made[0].aborted

    async def fails(backend: Backend, body: Body) -> None:
        with pytest.raises(EntityTooLarge):
            await call(backend, b"POST", body)

    run_on_clock(main())


def test_a_client_that_stops_sending_breaks_off_an_answer_that_has_begun():
    async def main() -> None:
        backend = Backend()
        body = body_of(b"abc", complete=False)
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(backend, body))
            await settle()
            backend.made[0].deliver(b"HTTP/1.1 200 OK\r\n\r\nabc")
            await settle()
            body.fail(RequestTimeout())
        assert backend.made[0].aborted

    async def fails(backend: Backend, body: Body) -> None:
        with pytest.raises(RequestTimeout):
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


# --- asking without waiting ---------------------------------------------------------------------


def get(backend: Backend, method: bytes = b"GET") -> Asking:
    return backend.upstream.ask(method, b"/a", (), body_of())


def test_an_answer_that_nobody_waits_for_is_heard_and_its_connection_is_used_again():
    async def main() -> None:
        backend = Backend()
        await served(backend)
        made = backend.made[0]
        for number in range(1, 4):
            heard: list[int] = []
            made.written.clear()
            asking = get(backend)
            assert asking.begin(partial(heard.append, number))
            await settle(1)
            assert made.written == b"GET /a HTTP/1.1\r\n\r\n"
            assert asking.exchange is not None
            made.deliver(OK)
            assert heard == [number]
            assert asking.exchange.body.read_nowait() == b"ok"
            asking.end()
        assert await served(backend) == 0

    run_on_clock(main())


@pytest.mark.parametrize(
    ("rules", "method", "idle"),
    [(FUNCTION, b"GET", 0), (FUNCTION, b"POST", 0), (CONTROL, b"POST", 1)],
)
def test_without_an_idle_connection_that_it_may_use_a_request_is_not_begun_but_may_be_waited_for(
    rules, method, idle
):
    async def main() -> None:
        backend = Backend(rules)
        for _ in range(idle):
            await served(backend)
        asking = get(backend, method)
        assert not asking.begin(pytest.fail)
        assert asking.exchange is None
        asking.break_off()
        assert len(backend.made) == idle
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(asking))
            await settle()
            assert len(backend.made) == idle + 1
            backend.made[-1].deliver(OK)
        assert reading.result() == (200, b"ok")

    run_on_clock(main())


async def read(asking: Asking) -> tuple[int, bytes]:
    async with asking as exchange:
        return exchange.status, b"".join([piece async for piece in exchange.body])


@pytest.mark.parametrize("cut_at", [0, 10, len(OK) - 1, len(OK)])
def test_an_answer_to_what_has_begun_may_be_waited_for_at_any_time(cut_at):
    async def main() -> None:
        backend = Backend()
        await served(backend)
        asking = get(backend, b"POST")
        heard: list[int] = []
        assert asking.begin(lambda: heard.append(1))
        await settle(1)
        made = backend.made[0]
        if cut_at:
            made.deliver(OK[:cut_at])
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(asking))
            await settle()
            if cut_at < len(OK):
                made.deliver(OK[cut_at:])
        assert reading.result() == (200, b"ok")
        assert heard == [1]
        assert made.written.count(b"POST") == 1
        assert await served(backend) == 0

    run_on_clock(main())


@pytest.mark.parametrize(
    ("method", "wire", "again"),
    [(b"GET", b"", True), (b"POST", b"", False), (b"GET", b"HTT", False)],
)
def test_what_has_begun_on_a_connection_that_ends_is_sent_again_by_who_waits_if_it_may_be(
    method, wire, again
):
    async def main() -> None:
        backend = Backend()
        await served(backend)
        asking = get(backend, method)
        heard: list[int] = []
        assert asking.begin(lambda: heard.append(1))
        await settle(1)
        if wire:
            backend.made[0].deliver(wire)
        backend.made[0].lose()
        assert heard == [1]
        if not again:
            with pytest.raises(NoAnswer):
                await read(asking)
            assert len(backend.made) == 1
            return
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(asking))
            await settle()
            assert backend.made[1].written == b"GET /a HTTP/1.1\r\n\r\n"
            backend.made[1].deliver(OK)
        assert reading.result() == (200, b"ok")
        assert heard == [1]

    run_on_clock(main())


def test_what_is_broken_off_is_heard_no_more_and_its_connection_goes():
    async def main() -> None:
        backend = Backend()
        await served(backend)
        asking = get(backend)
        assert asking.begin(pytest.fail)
        asking.break_off()
        assert backend.made[0].aborted
        await settle()
        assert await served(backend) == 1

    run_on_clock(main())


# --- upgrades -----------------------------------------------------------------------------------


SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nA: b\r\n\r\n"
)


class Client:
    """The client's end of a tunnel."""

    def __init__(self) -> None:
        self.wire = FakeTransport(asyncio.Protocol())
        self.wire.pause_reading()
        self.end = End(self.wire, b"", lambda: None)


async def tunnel(backend: Backend, client: Client) -> int:
    headers = [(b"sec-websocket-key", b"k")]
    async with backend.upstream.ask(
        b"GET", b"/chat", headers, body_of(), upgrade=b"websocket"
    ) as exchange:
        if exchange.status == 101:
            await join(client.end, exchange.tunnel())
        else:
            assert await exchange.body.read() == b"ok"
        return exchange.status


@pytest.mark.parametrize("cut_at", [0, 10, len(SWITCH), len(SWITCH) + 2])
def test_after_a_101_all_bytes_are_carried(cut_at):
    async def main() -> None:
        backend, client = Backend(), Client()
        async with asyncio.TaskGroup() as group:
            tunnelling = group.create_task(tunnel(backend, client))
            await settle()
            made = backend.made[0]
            assert made.written == (
                b"GET /chat HTTP/1.1\r\nsec-websocket-key: k\r\n"
                b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"
            )
            made.written.clear()
            wire = SWITCH + b"early"
            for piece in (wire[:cut_at], wire[cut_at:]):
                if piece:
                    made.deliver(piece)
            await settle()
            client.wire.deliver(b"there")
            made.deliver(OK)
            assert made.written == b"there"
            assert client.wire.written == b"early" + OK
            client.wire.lose()
        assert tunnelling.result() == 101
        assert made.closing
        assert await served(backend) == 1

    run_on_clock(main())


def test_a_server_that_says_much_behind_a_101_waits_for_the_tunnel():
    async def main() -> None:
        backend = Backend()
        asking = backend.upstream.ask(b"GET", b"/", (), body_of(), upgrade=b"websocket")
        async with asyncio.TaskGroup() as group:
            entering = group.create_task(asking.__aenter__())
            await settle()
            made = backend.made[0]
            made.deliver(SWITCH + bytes(HIGH_WATER_BYTES))
            made.deliver(bytes(HIGH_WATER_BYTES))
            assert not made.reading
            await settle()
            client = Client()
            joining = group.create_task(join(client.end, entering.result().tunnel()))
            await settle()
            assert made.reading
            assert len(client.wire.written) == 2 * HIGH_WATER_BYTES
            made.lose()
        assert joining.done()

    run_on_clock(main())


@pytest.mark.parametrize("status", [b"200", b"400", b"426"])
def test_an_upgrade_that_is_not_taken_up_has_an_answer_like_any(status):
    async def main() -> None:
        backend, client = Backend(), Client()
        async with asyncio.TaskGroup() as group:
            tunnelling = group.create_task(tunnel(backend, client))
            await settle()
            wire = OK.replace(b"200", status).replace(b"OK", b"OK\r\nUpgrade: websocket")
            backend.made[0].deliver(wire.replace(b"Upgrade", b"Connection: Upgrade\r\nUpgrade"))
        assert tunnelling.result() == int(status)
        assert await served(backend) == 0

    run_on_clock(main())


def test_a_server_that_is_gone_before_the_tunnel_begins_ends_it():
    async def main() -> None:
        backend, client = Backend(), Client()
        async with asyncio.TaskGroup() as group:
            tunnelling = group.create_task(tunnel(backend, client))
            await settle()
            backend.made[0].deliver(SWITCH)
            backend.made[0].lose()
        assert tunnelling.result() == 101
        assert client.wire.closing

    run_on_clock(main())
