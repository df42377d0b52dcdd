"""The HTTP class, driven by bytes: no socket, and a clock that the test owns."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httptools
import pytest
from clock import run_on_clock, settle
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transport import FakeTransport, Seen, read_responses

from anyfc.errors import FunctionComputeError
from anyfc.web.connection import (
    LINGER_S,
    PIPELINE,
    RAW_HEAD_BYTES,
    REFUSED_CONNECTIONS,
    Connection,
    Patience,
    Server,
)
from anyfc.web.head import HEADER_BYTES, TARGET_BYTES
from anyfc.web.message import (
    HIGH_WATER_BYTES,
    ReaderStalled,
    Reply,
    Request,
    Response,
    Rest,
)
from anyfc.web.tunnel import End, join

PATIENCE = Patience(header_s=10, body_stall_s=30, keep_alive_s=75, drain_s=20)
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: h\r\n"

Answering = Callable[[Request, Reply], Awaitable[None]]


async def echo(request: Request, reply: Reply) -> None:
    body = b"".join([piece async for piece in request.body])
    await reply.send(Response(status=200, body=body))


async def answer(request: Request, reply: Reply) -> None:
    await reply.send(Response(status=200, body=b"early"))


async def wait_for_ever(request: Request, reply: Reply) -> None:
    await asyncio.get_running_loop().create_future()


class App:
    """Keeps what it is asked, and answers as the test says; errors as the gateway does."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.requests: list[Request] = []
        self.cancelled = 0

    def handle(self, request: Request, reply: Reply) -> Rest:
        self.requests.append(request)
        return self._answer(request, reply)

    async def _answer(self, request: Request, reply: Reply) -> None:
        try:
            await self.answering(request, reply)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except FunctionComputeError as problem:
            await reply.send(self.refuse(problem))

    def refuse(self, problem: FunctionComputeError) -> Response:
        return Response(status=problem.status, body=problem.message.encode())


class Keeper:
    """Has been entrusted with an answer, and gives it when the test says so."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self.request = request
        self.reply = reply
        self.abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1

    def answer(self) -> None:
        """Answer at once with the target."""
        self.reply.send_now(Response(status=200, body=self.request.target))


class Entrusting(App):
    """Entrusts each answer to somebody, but for those to POST."""

    def __init__(self) -> None:
        super().__init__(echo)
        self.keepers: list[Keeper] = []

    def handle(self, request: Request, reply: Reply) -> Rest:
        if request.method == b"POST":
            return super().handle(request, reply)
        self.requests.append(request)
        self.keepers.append(Keeper(request, reply))
        reply.entrust(self.keepers[-1])
        return None


class World:
    """A server with an application of the test's, and one client."""

    def __init__(self, app: App, server: Server) -> None:
        self.app = app
        self.server = server
        self.client = self.connect()
        self.ended = False  # before the test did it

    def connect(self) -> FakeTransport:
        return FakeTransport(Connection(self.server))

    @property
    def seen(self) -> list[Seen]:
        return read_responses(self.client.written)

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.seen]


@asynccontextmanager
async def open_world(
    answering: Answering | App = echo, max_connections: int = 10
) -> AsyncIterator[World]:
    app = answering if isinstance(answering, App) else App(answering)
    async with asyncio.TaskGroup() as group:
        server = Server(app, PATIENCE, max_connections, group)
        sweeper = group.create_task(server.sweep())
        world = World(app, server)
        await settle()
        yield world
        world.ended = world.client.ended.is_set()
        for connection in list(server.connections):
            connection.abort()
        sweeper.cancel()


def talk(
    *pieces: bytes, answering: Answering = echo, turns: int = 30, wait_s: float = 0
) -> tuple[World, list[Seen]]:
    """Send pieces one after the other; return what the client has read."""

    async def main() -> tuple[World, list[Seen]]:
        async with open_world(answering) as world:
            for piece in pieces:
                world.client.deliver(piece)
                await settle(4)
            await settle(turns)
            await asyncio.sleep(wait_s)
            return world, world.seen

    return run_on_clock(main())


def refused(*pieces: bytes, answering: Answering = echo) -> Seen:
    """Send something that gets one error as an answer, and the end of the connection."""
    world, seen = talk(*pieces, answering=answering)
    assert len(seen) == 1
    assert seen[0].headers[b"connection"] == b"close"
    assert seen[0].complete
    assert world.ended
    return seen[0]


# --- any requests, cut anywhere -----------------------------------------------------------------


TOKENS = st.text("abcXYZ019-_", min_size=1, max_size=12).map(str.encode)
BODIES = st.binary(max_size=60) | st.sampled_from([b"\r\n\r\n", GET, b"0\r\n\r\n"])


@st.composite
def wires(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, bytes]:
    """A valid request: its bytes, and the method, target and body that must come of them."""
    method = draw(st.sampled_from([b"POST", b"PUT", b"GET", b"DELETE", b"PATCH"]))
    target = b"/" + draw(TOKENS) + draw(st.sampled_from([b"", b"?a=b&c", b"?"]))
    lines = [b"Host: " + draw(TOKENS)]
    values = st.sampled_from([b"", b" ", b" v", b"\tv "])
    lines += [
        b"X-%b:%b" % header for header in draw(st.lists(st.tuples(TOKENS, values), max_size=3))
    ]
    if draw(st.booleans()):
        lines.append(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA")
    body = draw(BODIES)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "none":
        body = sent = b""
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
        sent = body
    else:
        lines.append(b"Transfer-Encoding: " + draw(st.sampled_from([b"chunked", b"Chunked"])))
        sent = b"".join(chunks(draw, body))
        sent += draw(st.sampled_from([b"0\r\n\r\n", b"000;x=y\r\nX-T: 1\r\nHost: no\r\n\r\n"]))
    head = b"\r\n".join([method + b" " + target + b" HTTP/1.1", *draw(st.permutations(lines))])
    return head + b"\r\n\r\n" + sent, method, target, body


def chunks(draw: st.DrawFn, body: bytes) -> list[bytes]:
    made = []
    while body:
        size = draw(st.integers(1, len(body)))
        extension = draw(st.sampled_from([b"", b";a", b';a="b"']))
        made.append(b"%x%b\r\n%b\r\n" % (size, extension, body[:size]))
        body = body[size:]
    return made


def cut(wire: bytes, points: Sequence[int]) -> list[bytes]:
    ends = [*sorted({point % (len(wire) + 1) for point in points}), len(wire)]
    return [wire[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


@settings(max_examples=150, deadline=None)
@given(st.lists(wires(), min_size=1, max_size=25), st.lists(st.integers(0, 10_000), max_size=30))
def test_any_requests_cut_anywhere_arrive_as_they_were_sent(sent, points):
    wire = b"".join(request[0] for request in sent)
    world, seen = talk(*cut(wire, points), turns=200)
    arrived = [(r.method, r.target, s.body) for r, s in zip(world.app.requests, seen, strict=True)]
    assert arrived == [request[1:] for request in sent]
    assert all(s.status == 200 and b"connection" not in s.headers for s in seen)
    assert all(r.fields[b"host"] != b"no" for r in world.app.requests)
    assert world.client.reading
    assert not world.ended


@settings(max_examples=100, deadline=None)
@given(st.lists(wires(), min_size=1, max_size=3), st.integers(0, 10_000))
def test_a_request_that_is_cut_byte_by_byte_is_the_same(sent, point):
    wire = b"".join(request[0] for request in sent)
    world, seen = talk(*(wire[i : i + 1] for i in range(len(wire))))
    assert [(r.method, r.target) for r in world.app.requests] == [r[1:3] for r in sent]
    assert [s.body for s in seen] == [r[3] for r in sent]


# --- garbage ------------------------------------------------------------------------------------


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A valid request or two in which something has been changed, left out or put in."""
    wire = b"".join(request[0] for request in draw(st.lists(wires(), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(wire)))
        gone = draw(st.integers(0, 3))
        new = draw(st.binary(max_size=3) | st.sampled_from([b"\r", b"\n", b"\0", b":", b"9" * 30]))
        wire = wire[:at] + new + wire[at + gone :]
    return wire


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | broken(), st.lists(st.integers(0, 10_000), max_size=10))
@example(b"\r\n" * 40_000, [])
@example(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [])
@example(GET[:-4].replace(b"Host", b"Upgrade: h2c\r\nConnection: Upgrade\r\nHost") * 3000, [])
def test_whatever_is_sent_is_answered_at_most_once_with_an_error_and_the_connection_ends(
    wire, points
):
    async def main() -> None:
        async with open_world() as world:
            for piece in cut(wire, points):
                world.client.deliver(piece)
                await settle(3)
            await asyncio.sleep(10 * LINGER_S)
            assert world.client.lost
            assert not world.server.connections
            seen = world.seen
            errors = [s for s in seen if s.status != 200]
            assert all(400 <= s.status < 600 for s in errors)
            assert len(errors) <= 1
            assert not errors or errors[0] is seen[-1]
            assert all(s.complete for s in seen)

    run_on_clock(main())


SMUGGLED = {
    "two different Content-Lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "two equal Content-Lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "a list of Content-Lengths": b"Content-Length: 5, 5\r\n",
    "a signed Content-Length": b"Content-Length: +5\r\n",
    "an underscored Content-Length": b"Content-Length: 0_5\r\n",
    "an empty Content-Length": b"Content-Length:\r\n",
    "a Content-Length out of range": b"Content-Length: 18446744073709551616\r\n",
    "length, then encoding": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "encoding, then length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n",
    "chunked, and then something": b"Transfer-Encoding: chunked, identity\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked after another": b"Transfer-Encoding: gzip, chunked\r\n",
    "an empty encoding before it": b"Transfer-Encoding: ,chunked\r\n",
    "a vertical tab before it": b"Transfer-Encoding: \x0bchunked\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n",
    "a folded value": b"Transfer-Encoding:\r\n chunked\r\n",
    "a folded header": b"X-A: 1\r\n 2\r\n",
    "a bare line feed": b"X-A: 1\nTransfer-Encoding: chunked\r\n",
    "a bare carriage return": b"X-A: 1\rTransfer-Encoding: chunked\r\n",
    "a zero byte": b"X-A: 1\x002\r\n",
    "a header without a name": b": 1\r\n",
    "a header without a colon": b"X-A\r\n",
    "a second Host": b"Host: other\r\n",
    "an unknown expectation": b"Expect: 200-ok\r\n",
    "two expectations": b"Expect: 100-continue\r\nExpect: 100-continue\r\n",
    "two encodings": b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
}


@pytest.mark.parametrize("lines", SMUGGLED.values(), ids=SMUGGLED)
def test_a_request_that_others_may_read_differently_is_refused(lines):
    inner = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    world, seen = talk(POST + lines + b"\r\n" + inner)
    assert [s.status for s in seen] in ([400], [501])
    assert not [r for r in world.app.requests if r.target == b"/smuggled"]
    assert world.ended


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET / HTTP/0.9",
        b"GET / HTTP/2.0",
        b"GET / HTTP/1.2",
        b"get / HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET h/a HTTP/1.1",
        b"GET ftp://h/a HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"CONNECT h:1 HTTP/1.1",
    ],
)
def test_a_request_line_that_this_server_does_not_serve_is_refused(line):
    assert refused(line + b"\r\nHost: h\r\n\r\n").status == 400


def test_a_request_needs_a_host_unless_it_is_an_old_one():
    assert refused(b"GET / HTTP/1.1\r\n\r\n").status == 400
    assert talk(b"GET / HTTP/1.0\r\n\r\n")[1][0].status == 200


@pytest.mark.parametrize(
    "header",
    [b"", b"Connection: close", b"Connection: keep-alive", b"Proxy-Connection: keep-alive"],
)
def test_how_old_a_request_is_does_not_depend_on_what_becomes_of_its_connection(header):
    for version, old in ((b"1.0", True), (b"1.1", False)):
        world, _ = talk(b"GET / HTTP/%b\r\nHost: h\r\n%b\r\n\r\n" % (version, header or b"A: b"))
        assert [request.old for request in world.app.requests] == [old]


@pytest.mark.parametrize(
    ("target", "path"), [(b"http://h/a?b", b"/a?b"), (b"HTTP://h", b"/"), (b"https://h?b", b"/?b")]
)
def test_of_an_absolute_target_the_path_and_the_host_count(target, path):
    world, _ = talk(b"GET " + target + b" HTTP/1.1\r\nHost: other\r\n\r\n")
    (request,) = world.app.requests
    assert (request.target, request.fields[b"host"]) == (path, b"h")
    assert [value for name, value in request.headers if name == b"host"] == [b"h"]


@pytest.mark.parametrize("value", [b"v", b" v", b"\tv", b"v ", b"v\t", b"  v \t "])
def test_white_space_around_a_value_is_none_of_it(value):
    world, _ = talk(b"GET / HTTP/1.1\r\nHost:%b\r\nX-A: a  b \r\nX-B: \r\n\r\n" % value)
    (request,) = world.app.requests
    assert request.headers == [(b"host", b"v"), (b"x-a", b"a  b"), (b"x-b", b"")]
    assert request.fields == dict(request.headers)


@pytest.mark.parametrize(
    "host",
    [b"", b"h", b"h:80", b"h:", b"a.example.", b"a_b-c", b"[::1]:80", b"127.0.0.1", b"h%2Fi"],
)
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(host):
    wire = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host
    assert [s.status for s in talk(wire, wire)[1]] == [200, 200]


@pytest.mark.parametrize(
    "host",
    [
        b"u@h", b"u:p@h", b"a b", b"h:x", b"h:1:2", b"[bad", b"[::1", b"[::1]x", b"a]b",
        b"\xc3\xbc.test", b'"h"', b"h\\i", b"<h>",
    ],
)  # fmt: skip
def test_a_host_that_is_anything_else_is_refused(host):
    wire = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host
    assert refused(wire).status == 400
    assert refused(wire.replace(b"1.1", b"1.0")).status == 400
    assert refused(b"GET http://%b/ HTTP/1.1\r\nHost: h\r\n\r\n" % host).status == 400


@pytest.mark.parametrize("host", [b"a/b", b"h?a", b"http://h"])
def test_a_host_has_no_path(host):
    assert refused(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host).status == 400


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/2 is not supported; use HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nGET", b"HTTP/2 is not supported; use HTTP/1.1"),
        (b"GET /\xc3\xbc HTTP/1.1\r\nHost: h\r\n\r\n", b"percent-encode"),
        (b"GET /?\xc3\xbc HTTP/1.1\r\nHost: h\r\n\r\n", b"percent-encode"),
    ],
)
def test_who_sends_what_is_not_taken_is_told_what_would_be(wire, words):
    answer = refused(wire)
    assert answer.status == 400
    assert words in answer.body


def test_what_was_understood_before_the_garbage_is_answered_first():
    _, seen = talk(GET + GET + b"garbage\r\n\r\n")
    assert [s.status for s in seen] == [200, 200, 400]


def test_bad_chunks_are_answered_by_whoever_reads_the_body():
    for bad in (b"x\r\n", b"1\r\nab", b"1\na\r\n", b"-1\r\n", b"fffffffffffffffff\r\n"):
        wire = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
        assert refused(wire, bad).status == 400
        assert refused(wire + bad).status == 400


# --- limits -------------------------------------------------------------------------------------


def with_headers(total_bytes: int) -> bytes:
    """A request whose header names and values add up to a size."""
    left = total_bytes - len(b"Hosth") - len(b"X-A")
    return GET[:-2] + b"X-A: " + b"v" * left + b"\r\n\r\n"


def test_headers_may_be_8_kib_and_not_a_byte_more():
    assert talk(with_headers(HEADER_BYTES))[1][0].status == 200
    assert refused(with_headers(HEADER_BYTES + 1)).status == 400


def test_the_headers_of_a_request_behind_another_are_counted_too():
    def of(size: int) -> bytes:
        return GET[:-2] + b"X: %b\r\n\r\n" % (b"a" * (size - len(b"HosthX")))

    for first, second in ((of(HEADER_BYTES), of(HEADER_BYTES)), (GET, of(HEADER_BYTES))):
        wire = first + second
        for at in (0, len(first) + 7000):
            assert [s.status for s in talk(wire[:at], wire[at:])[1]] == [200, 200]
            wire = first + second.replace(b"aa", b"aaa", 1)
            assert [s.status for s in talk(wire[:at], wire[at:])[1]] == [200, 400]
            wire = first + second


def test_a_target_may_be_4_kib_and_not_a_byte_more():
    head = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n"
    assert talk(head % (b"x" * (TARGET_BYTES - 1)))[1][0].status == 200
    assert refused(head % (b"x" * TARGET_BYTES)).status == 400


def test_ten_thousand_tiny_headers_are_refused():
    assert refused(GET[:-2], *[b"a:b\r\n" * 100] * 100).status == 400


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nHost",
        b"GET / HTTP/1.1\r\nHost: ",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ",
    ],
)
def test_what_never_comes_to_a_point_is_refused_before_it_piles_up(start):
    pieces = [b"0" * 1000] * (RAW_HEAD_BYTES // 1000 + 1)
    assert refused(start, *pieces).status == 400


def test_chunks_that_are_mostly_framing_are_refused():
    chunk = b"1;" + b"x" * 200 + b"\r\na\r\n"
    flood = [chunk * 10] * (RAW_HEAD_BYTES // len(chunk))
    assert refused(POST + b"Transfer-Encoding: chunked\r\n\r\n", *flood).status == 400


def test_chunks_of_one_byte_are_taken():
    body = b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n"
    pieces = [body[i : i + 5000] for i in range(0, len(body), 5000)]
    _, seen = talk(POST + b"Transfer-Encoding: chunked\r\n\r\n", *pieces)
    assert seen[0].body == b"a" * 20_000


# --- keep-alive, pipelining, versions -----------------------------------------------------------


def test_requests_sent_at_once_are_answered_in_order_and_one_after_the_other():
    running = 0

    async def one_at_a_time(request: Request, reply: Reply) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(1)
        running -= 1
        await reply.send(Response(status=200, body=request.target))

    wire = b"".join(GET.replace(b"/a", b"/%d" % n) for n in range(50))
    world, seen = talk(wire, answering=one_at_a_time, wait_s=60)
    assert [s.body for s in seen] == [b"/%d" % n for n in range(50)]
    assert world.client.reading


def test_who_sends_too_many_requests_at_once_is_not_read_until_some_are_answered():
    async def main() -> None:
        gate = asyncio.Event()

        async def wait(request: Request, reply: Reply) -> None:
            await gate.wait()
            await answer(request, reply)

        async with open_world(wait) as world:
            world.client.deliver(GET * (PIPELINE + 2))
            await settle()
            assert not world.client.reading
            gate.set()
            await settle(100)
            assert world.client.reading
            assert len(world.seen) == PIPELINE + 2

    run_on_clock(main())


def test_after_connection_close_nothing_more_is_answered():
    world, seen = talk(GET[:-2] + b"Connection: close\r\n\r\n", GET)
    assert len(seen) == 1
    assert seen[0].headers[b"connection"] == b"close"
    assert world.ended


def test_an_old_client_is_told_that_the_connection_stays_if_it_asked_for_it():
    old = GET.replace(b"1.1", b"1.0")
    world, seen = talk(old[:-2] + b"Connection: keep-alive\r\n\r\n", old)
    assert [s.headers[b"connection"] for s in seen] == [b"keep-alive", b"close"]
    assert world.ended


async def stream(request: Request, reply: Reply) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"", b"two"):
            yield piece

    await reply.send(Response(status=200, body=pieces()))


def test_a_body_of_unknown_length_is_sent_in_chunks():
    _, seen = talk(GET, GET, answering=stream)
    assert [(s.headers[b"transfer-encoding"], s.body) for s in seen] == [
        (b"chunked", b"onetwo")
    ] * 2


def test_an_old_client_gets_a_body_of_unknown_length_without_chunks():
    wire = GET.replace(b"1.1", b"1.0")[:-2] + b"Connection: keep-alive\r\n\r\n"
    world, _ = talk(wire, answering=stream)
    assert world.client.written.endswith(b"Connection: close\r\n\r\nonetwo")
    assert b"chunked" not in world.client.written
    assert world.ended


@pytest.mark.parametrize("answering", [stream, answer])
def test_the_answer_to_head_has_no_body(answering):
    world, _ = talk(GET.replace(b"GET", b"HEAD"), answering=answering)
    assert world.client.written.endswith(b"\r\n\r\n")
    assert not world.ended


LENGTH = b"content-length"
CHUNKS = b"transfer-encoding"
# What an application answers with: whole or in pieces, and which length it declares.
ANSWERS = {"whole": (False, None), "declared": (True, 6), "streamed": (True, None)}


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    ("method", "status", "kind", "framing"),
    [
        (b"GET", 200, "whole", (LENGTH, b"6")),
        (b"GET", 200, "declared", (LENGTH, b"6")),
        (b"GET", 200, "streamed", (CHUNKS, b"chunked")),
        (b"HEAD", 200, "whole", (LENGTH, b"6")),
        (b"HEAD", 200, "declared", (LENGTH, b"6")),
        (b"HEAD", 200, "streamed", (CHUNKS, b"chunked")),
        *(
            (method, status, kind, None)
            for method in (b"GET", b"HEAD", b"POST")
            for status in (204, 304)
            for kind in ANSWERS
        ),
    ],
)
def test_how_long_a_body_is_is_said_once_and_none_is_sent_where_there_may_be_none(
    version, method, status, kind, framing
):
    read = 0

    async def answering(request: Request, reply: Reply) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            nonlocal read
            for piece in (b"one", b"two"):
                read += 1
                yield piece

        streamed, length_bytes = ANSWERS[kind]
        body = pieces() if streamed else b"onetwo"
        await reply.send(Response(status=status, body=body, length_bytes=length_bytes))

    wire = GET.replace(b"GET", method).replace(b"1.1", version)
    wire = wire[:-2] + b"Connection: keep-alive\r\n\r\n"
    world, _ = talk(wire, answering=answering)
    head, _, body = bytes(world.client.written).partition(b"\r\n\r\n")
    said = [tuple(line.lower().split(b": ")) for line in head.split(b"\r\n")[1:]]
    old = version == b"1.0"
    if old and framing == (CHUNKS, b"chunked"):
        framing = None
    assert [pair for pair in said if pair[0] in (LENGTH, CHUNKS)] == [framing] * bool(framing)
    bodiless = method == b"HEAD" or status != 200
    if bodiless:
        assert body == b""
    elif framing == (CHUNKS, b"chunked"):
        assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    else:
        assert body == b"onetwo"
    assert read == (2 if kind != "whole" else 0)
    assert world.ended is (old and kind == "streamed" and not bodiless)


def test_head_is_told_a_length_that_is_not_that_of_what_is_here():
    async def answering(request: Request, reply: Reply) -> None:
        await reply.send(Response(status=200, body=b"", length_bytes=55))

    world, _ = talk(GET.replace(b"GET", b"HEAD"), answering=answering)
    assert b"\r\nContent-Length: 55\r\n" in world.client.written


@pytest.mark.parametrize("status", [204, 304])
def test_an_entrusted_answer_that_may_have_no_body_has_none(status):
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET)
            app.keepers[0].reply.send_now(Response(status=status, body=b"body"))
            await settle(1)
            assert world.client.written.endswith(b" GMT\r\n\r\n")

    run_on_clock(main())


# --- interim responses --------------------------------------------------------------------------


async def hint(request: Request, reply: Reply) -> None:
    reply.inform(Response(status=103, headers=[(b"Link", b"</a>\r\nX: y")]))
    await asyncio.sleep(1)
    reply.inform(Response(status=102))
    await answer(request, reply)
    reply.inform(Response(status=103))


def test_interim_responses_come_before_the_response_and_none_behind_it():
    world, seen = talk(GET, GET, answering=hint, wait_s=3)
    assert [s.status for s in seen] == [103, 102, 200] * 2
    assert seen[0].headers[b"link"] == b"</a>  X: y"
    assert not {LENGTH, CHUNKS} & seen[0].headers.keys()
    assert not world.ended


def test_an_old_client_gets_no_interim_responses():
    _, seen = talk(GET.replace(b"1.1", b"1.0"), answering=hint, wait_s=3)
    assert [s.status for s in seen] == [200]


def test_an_upgrade_is_not_taken_up_and_its_body_is_no_request():
    inner = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    head = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(inner)
    world, seen = talk(head + inner + GET)
    assert [r.target for r in world.app.requests] == [b"/b", b"/a"]
    assert [s.body for s in seen] == [inner, b""]


# --- upgrades -----------------------------------------------------------------------------------


UPGRADE = GET[:-2] + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


class Listener(asyncio.Protocol):
    """What an upgraded connection is joined to: keeps what comes through."""

    def __init__(self) -> None:
        self.transport = FakeTransport(self)
        self.transport.pause_reading()
        self.end = End(self.transport, b"", lambda: None)


class Tunnelling:
    """An application that takes up every upgrade."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.over = False

    async def __call__(self, request: Request, reply: Reply) -> None:
        assert request.upgrade == b"websocket"
        headers = [(b"Sec-WebSocket-Accept", b"x")]
        end = await reply.upgrade(b"websocket", Response(status=101, headers=headers))
        self.listener = Listener()
        await join(end, self.listener.end)
        self.over = True

    @property
    def carried(self) -> bytes:
        assert self.listener is not None
        return bytes(self.listener.transport.written)


@pytest.mark.parametrize(
    ("line", "upgrade"),
    [
        (b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n", b"websocket"),
        (b"Connection: Upgrade, X\r\nUpgrade: IRC/6.9\r\n", b"irc/6.9"),
        (b"Connection: Upgrade\r\nUpgrade: raw\r\nContent-Length: 0\r\n", b"raw"),
        (b"Connection: Upgrade\r\nUpgrade: raw\r\nContent-Length: 2\r\n", None),
        (b"Connection: Upgrade\r\nUpgrade: raw\r\nTransfer-Encoding: chunked\r\n", None),
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", None),
        (b"Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n", None),
        (b"Connection: Upgrade\r\nUpgrade: raw, websocket\r\n", None),
        (b"Connection: Upgrade\r\nUpgrade: raw\r\nUpgrade: websocket\r\n", None),
        (b"Connection: Upgrade\r\nUpgrade: raw websocket\r\n", None),
        (b"Connection: Upgrade\r\nUpgrade: raw/1/2\r\n", None),
        (b"Connection: Upgrade\r\nUpgrade:\r\n", None),
        (b"Upgrade: websocket\r\n", None),
        (b"Connection: Upgrade\r\n", None),
    ],
)
def test_a_request_says_which_protocol_is_asked_for_if_it_is_one_and_none_of_it_a_body(
    line, upgrade
):
    world, _ = talk(POST + line + b"\r\n")
    assert [r.upgrade for r in world.app.requests] == [upgrade]


def test_a_request_whose_upgrade_is_not_passed_on_is_one_like_others():
    world, seen = talk(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
    assert [s.status for s in seen] == [200, 200]
    assert not world.ended


def test_an_old_client_cannot_ask_for_another_protocol():
    world, seen = talk(UPGRADE.replace(b"1.1", b"1.0") + GET)
    assert [r.upgrade for r in world.app.requests] == [None, None]
    assert len(seen) == 2


@pytest.mark.parametrize("cut_at", [0, 1, len(UPGRADE), len(UPGRADE) + 3])
def test_after_an_upgrade_all_bytes_are_carried_and_none_is_read_as_http(cut_at):
    app = Tunnelling()
    wire = UPGRADE + b"early" + GET

    async def main() -> None:
        async with open_world(app) as world:
            for piece in (wire[:cut_at], wire[cut_at:]):
                if piece:
                    world.client.deliver(piece)
                await settle(5)
            assert app.carried == b"early" + GET
            world.client.deliver(b"later")
            assert app.carried == b"early" + GET + b"later"
            assert app.listener is not None
            app.listener.transport.deliver(b"back")
            head, _, rest = bytes(world.client.written).partition(b"\r\n\r\n")
            assert head.startswith(
                b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n"
            )
            assert head.endswith(b"\r\nConnection: Upgrade\r\nUpgrade: websocket")
            assert rest == b"back"
            await asyncio.sleep(100 * PATIENCE.keep_alive_s)  # a tunnel may be silent
            assert not world.client.closing
            world.client.lose()
            await settle()
            assert app.over
            assert app.listener.transport.closing
            assert not world.server.connections

    run_on_clock(main())


def test_the_far_side_ends_a_tunnel_and_its_connection():
    app = Tunnelling()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(UPGRADE)
            await settle()
            assert app.listener is not None
            app.listener.transport.lose()
            await settle()
            assert world.client.closing
            assert not world.client.aborted
            assert not world.server.connections

    run_on_clock(main())


def test_who_drains_ends_tunnels_in_the_end():
    app = Tunnelling()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(UPGRADE)
            await settle()
            await world.server.drain()
            await settle()
            assert world.client.aborted
            assert app.over

    run_on_clock(main())


def test_what_follows_an_upgrade_that_was_not_taken_up_is_http():
    world, seen = talk(UPGRADE + GET, POST + b"Content-Length: 2\r\n\r\nab")
    assert [r.target for r in world.app.requests] == [b"/a", b"/a", b"/b"]
    assert [s.body for s in seen] == [b"", b"", b"ab"]
    assert not world.ended


def test_garbage_behind_an_upgrade_that_was_not_taken_up_is_refused():
    world, seen = talk(UPGRADE + b"\x88\x80garbage")
    assert [s.status for s in seen] == [200, 400]
    assert world.ended


def test_who_sends_much_before_an_upgrade_is_decided_waits():
    gate = asyncio.Event()

    async def decide(request: Request, reply: Reply) -> None:
        await gate.wait()
        await answer(request, reply)

    async def main() -> None:
        async with open_world(decide) as world:
            world.client.deliver(UPGRADE)
            for _ in range(3):
                world.client.deliver(GET * (HIGH_WATER_BYTES // len(GET) // 2))
            assert not world.client.reading
            gate.set()
            await settle(60_000)
            assert world.client.reading
            assert len(world.app.requests) == 1 + 3 * (HIGH_WATER_BYTES // len(GET) // 2)

    run_on_clock(main())


def test_a_client_that_hangs_up_before_an_upgrade_is_decided_ends_what_runs_for_it():
    async def main() -> None:
        async with open_world(wait_for_ever) as world:
            world.client.deliver(UPGRADE)
            await settle()
            world.client.deliver_eof()
            await settle()
            assert world.app.cancelled == 1

    run_on_clock(main())


def test_an_answer_that_is_not_sent_yet_comes_before_an_upgrade():
    app = Tunnelling()

    async def first(request: Request, reply: Reply) -> None:
        await (app if request.upgrade else answer)(request, reply)

    async def main() -> None:
        async with open_world(first) as world:
            world.client.full = True
            world.client.deliver(GET + UPGRADE)
            await settle()
            assert app.listener is None
            world.client.drain()
            await settle()
            assert app.listener is not None
            app.listener.transport.deliver(b"back")
            assert world.client.written.endswith(b"\r\n\r\nback")

    run_on_clock(main())


def test_a_request_over_tls_says_so_and_its_connection_is_closed_in_one_piece():
    async def main() -> None:
        async with open_world(answer) as world:
            assert not world.app.requests
            tls = FakeTransport(Connection(world.server), secure=True)
            tls.deliver(POST + b"Content-Length: 900\r\n\r\nab")
            await settle()
            assert world.app.requests[0].secure
            assert read_responses(tls.written)[0].body == b"early"
            assert tls.closing

    run_on_clock(main())


def test_line_breaks_never_get_into_a_head():
    async def inject(request: Request, reply: Reply) -> None:
        headers = [(b"X-A", b"1\r\nX-B: 2"), (b"X-C", b"3\r4"), (b"X-D", b"5\n6")]
        await reply.send(Response(status=200, headers=headers))

    _, seen = talk(GET, answering=inject)
    assert seen[0].headers[b"x-a"] == b"1  X-B: 2"
    assert b"x-b" not in seen[0].headers
    assert seen[0].headers[b"x-c"] == b"3 4"
    assert seen[0].headers[b"x-d"] == b"5 6"


# --- Expect: 100-continue -----------------------------------------------------------------------


EXPECTING = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"


def test_a_client_that_waits_is_told_to_go_on_when_its_body_is_read():
    world, seen = talk(EXPECTING, b"ok")
    assert [s.status for s in seen] == [100, 200]
    assert seen[1].body == b"ok"
    assert not world.ended


def test_a_client_that_did_not_wait_is_not_told():
    assert [s.status for s in talk(EXPECTING + b"ok")[1]] == [200]


def test_an_old_client_cannot_expect_anything():
    wire = EXPECTING.replace(b"1.1", b"1.0").replace(b"100-continue", b"magic") + b"ok"
    assert [s.status for s in talk(wire)[1]] == [200]


def test_a_client_that_waits_for_a_body_nobody_wants_is_answered_and_left():
    response = refused(EXPECTING, answering=answer)
    assert response.status == 200


def test_who_waits_for_us_has_all_the_time():
    async def slowly(request: Request, reply: Reply) -> None:
        await asyncio.sleep(10 * PATIENCE.body_stall_s)
        await echo(request, reply)

    async def main() -> None:
        async with open_world(slowly) as world:
            world.client.deliver(EXPECTING)
            await asyncio.sleep(10 * PATIENCE.body_stall_s + 1)
            world.client.deliver(b"ok")
            await settle()
            assert world.statuses == [100, 200]

    run_on_clock(main())


# --- bodies that nobody reads -------------------------------------------------------------------


def test_a_large_body_that_was_not_read_does_not_stop_the_connection():
    size = HIGH_WATER_BYTES + 1
    world, seen = talk(
        POST + b"Content-Length: %d\r\n\r\n" % size + bytes(size), GET, answering=answer
    )
    assert [s.status for s in seen] == [200, 200]
    assert world.client.reading


def test_a_client_that_is_still_sending_gets_to_read_the_answer():
    async def main() -> None:
        async with open_world(answer) as world:
            world.client.deliver(POST + b"Content-Length: 10000000\r\n\r\n")
            world.client.deliver(bytes(2 * HIGH_WATER_BYTES))
            await settle()
            assert world.statuses == [200]
            assert world.seen[0].headers[b"connection"] == b"close"
            assert world.client.eof_written
            assert world.client.reading
            assert not world.client.closing
            for _ in range(100):
                world.client.deliver(bytes(HIGH_WATER_BYTES))
            world.client.deliver_eof()
            await settle()
            assert world.client.lost
            assert not world.client.aborted

    run_on_clock(main())


def test_a_client_that_never_stops_sending_is_cut_off():
    async def main() -> None:
        async with open_world(answer) as world:
            world.client.deliver(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            for _ in range(int(LINGER_S) + 2):
                world.client.deliver(b"1\r\na\r\n")
                await asyncio.sleep(1)
            assert world.client.aborted

    run_on_clock(main())


# --- time ---------------------------------------------------------------------------------------


def ends_after(*pieces: bytes, answering: Answering = echo) -> tuple[float, list[Seen]]:
    """Send something, then nothing; return when the server says its last word."""

    async def main() -> tuple[float, list[Seen]]:
        async with open_world(answering) as world:
            loop = asyncio.get_running_loop()
            began = loop.time()
            for piece in pieces:
                world.client.deliver(piece)
            await world.client.ended.wait()
            return loop.time() - began, world.seen

    return run_on_clock(main())


def test_a_connection_on_which_nothing_comes_is_closed():
    after_s, seen = ends_after()
    assert after_s == pytest.approx(PATIENCE.header_s, abs=1)
    assert seen == []


def test_a_slow_head_is_told_so():
    after_s, seen = ends_after(b"GET / HT")
    assert after_s == pytest.approx(PATIENCE.header_s, abs=1.5)
    assert [s.status for s in seen] == [408]


def test_a_head_that_comes_byte_by_byte_has_no_more_time():
    async def main() -> None:
        async with open_world() as world:
            for n in range(int(PATIENCE.header_s) + 2):
                world.client.deliver(GET[n : n + 1])
                await asyncio.sleep(1)
            assert world.statuses == [408]

    run_on_clock(main())


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5\r\n\r\n12", b"Transfer-Encoding: chunked\r\n\r\n5\r\n12"]
)
def test_a_slow_body_is_told_so(framing):
    after_s, seen = ends_after(POST + framing)
    assert after_s == pytest.approx(PATIENCE.body_stall_s, abs=1.5)
    assert [s.status for s in seen] == [408]
    assert seen[0].headers[b"connection"] == b"close"


def test_an_idle_connection_is_closed():
    after_s, seen = ends_after(GET)
    assert after_s == pytest.approx(PATIENCE.keep_alive_s, abs=1)
    assert [s.status for s in seen] == [200]


def test_a_head_that_has_begun_behind_another_request_has_only_the_time_of_a_head():
    after_s, seen = ends_after(GET + b"GET / HT")
    assert after_s == pytest.approx(PATIENCE.header_s, abs=1.5)
    assert [s.status for s in seen] == [200, 408]


def test_a_body_that_goes_on_coming_has_all_the_time():
    async def main() -> None:
        async with open_world() as world:
            world.client.deliver(POST + b"Content-Length: 10\r\n\r\n")
            for _ in range(10):
                await asyncio.sleep(PATIENCE.body_stall_s - 1)
                world.client.deliver(b"x")
            await settle()
            assert world.statuses == [200]

    run_on_clock(main())


def test_a_function_may_take_longer_than_any_client():
    async def slow(request: Request, reply: Reply) -> None:
        await asyncio.sleep(10 * PATIENCE.keep_alive_s)
        await echo(request, reply)

    async def main() -> None:
        async with open_world(slow) as world:
            world.client.deliver(POST + b"Content-Length: 400000\r\n\r\n" + bytes(300_000))
            await asyncio.sleep(10 * PATIENCE.keep_alive_s + 1)
            world.client.deliver(bytes(100_000))
            await settle()
            assert world.statuses == [200]

    run_on_clock(main())


@pytest.mark.parametrize("ending", [b"", b"Connection: close\r\n"])
def test_a_client_that_does_not_read_is_cut_off(ending):
    async def main() -> None:
        async with open_world() as world:
            world.client.full = True
            world.client.deliver(GET[:-2] + ending + b"\r\n")
            await asyncio.sleep(PATIENCE.body_stall_s - 1)
            assert not world.client.aborted
            await asyncio.sleep(2)
            assert world.client.aborted
            assert not world.server.connections

    run_on_clock(main())


def test_a_client_that_does_not_read_the_last_bytes_is_cut_off():
    async def main() -> None:
        async with open_world() as world:
            world.client.deliver(GET)
            await settle()
            world.client._stalled = True  # a little is left over, too little to make anyone wait
            await asyncio.sleep(PATIENCE.keep_alive_s + 1)
            assert world.client.closing
            assert not world.client.lost
            await asyncio.sleep(PATIENCE.body_stall_s + 1)
            assert world.client.lost

    run_on_clock(main())


@pytest.mark.parametrize("ending", [b"", b"Connection: close\r\n"])
def test_a_client_that_reads_a_little_now_and_then_is_not_cut_off(ending):
    async def main() -> None:
        async with open_world() as world:
            world.client.full = True
            world.client.deliver(GET[:-2] + ending + b"\r\n")
            await settle()
            for _ in range(20):
                await asyncio.sleep(PATIENCE.body_stall_s)
                world.client.unsent_bytes -= 1
            assert not world.client.aborted
            await asyncio.sleep(2 * PATIENCE.body_stall_s + 1)
            assert world.client.aborted

    run_on_clock(main())


def test_a_client_whose_system_takes_something_in_now_and_then_is_not_cut_off(monkeypatch):
    taken = 0
    monkeypatch.setattr("anyfc.web.connection.taken_bytes", lambda transport: taken)

    async def main() -> None:
        nonlocal taken
        async with open_world() as world:
            world.client.full = True
            world.client.deliver(GET)
            await settle()
            for _ in range(20):
                await asyncio.sleep(PATIENCE.body_stall_s)
                taken += 1
            assert not world.client.aborted
            await asyncio.sleep(2 * PATIENCE.body_stall_s + 1)
            assert world.client.aborted

    run_on_clock(main())


@pytest.mark.parametrize("answering", [echo, stream])
def test_whoever_answers_a_client_that_does_not_read_is_told_why_it_is_cut_off(answering):
    told: list[str] = []

    async def watched(request: Request, reply: Reply) -> None:
        try:
            await answering(request, reply)
        except ReaderStalled as stalled:
            told.append(stalled.message)
            raise

    async def main() -> None:
        async with open_world(watched) as world:
            world.client.full = True
            world.client.deliver(GET)
            await asyncio.sleep(PATIENCE.body_stall_s + 1)
            assert told == ["The client read nothing of its answer for 30 seconds"]
            assert world.client.aborted
            assert not world.app.cancelled
            assert not world.server.connections

    run_on_clock(main())


def test_a_slow_reader_makes_the_answer_wait():
    produced = 0

    async def much(request: Request, reply: Reply) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            nonlocal produced
            for _ in range(5):
                produced += 1
                yield bytes(1000)

        await reply.send(Response(status=200, body=pieces(), length_bytes=5000))

    async def main() -> None:
        async with open_world(much) as world:
            world.client.full = True
            world.client.deliver(GET)
            await settle()
            assert produced == 1
            for _ in range(5):
                world.client.drain()
                world.client.full = True
                await asyncio.sleep(PATIENCE.body_stall_s - 1)
            world.client.drain()
            await settle()
            assert world.seen[0].complete
            assert not world.client.closing

    run_on_clock(main())


# --- hanging up ---------------------------------------------------------------------------------


async def never(request: Request, reply: Reply) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("how", ["eof", "lost"])
@pytest.mark.parametrize(
    ("wire", "cancelled"),
    [(b"", 0), (GET[:9], 0), (GET, 1), (POST + b"Content-Length: 9\r\n\r\n12", 1), (GET * 3, 1)],
)
def test_a_caller_that_hangs_up_ends_what_runs_for_it(how, wire, cancelled):
    async def main() -> None:
        async with open_world(never) as world:
            world.client.deliver(wire)
            await settle()
            world.client.deliver_eof() if how == "eof" else world.client.lose()
            await settle()
            assert world.app.cancelled == cancelled
            assert world.client.lost
            assert not world.server.connections

    run_on_clock(main())


def test_hanging_up_while_the_answer_is_being_read_ends_it():
    async def main() -> None:
        async with open_world(stream) as world:
            world.client.full = True
            world.client.deliver(GET)
            await settle()
            world.client.deliver_eof()
            world.client.drain()
            await settle()
            assert world.client.lost
            assert world.app.cancelled == 1

    run_on_clock(main())


def test_an_answer_that_breaks_off_does_not_look_whole(caplog):
    async def breaks(request: Request, reply: Reply) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise RuntimeError("broken")

        await reply.send(Response(status=200, body=pieces()))

    with caplog.at_level(logging.ERROR, "anyfc"):
        world, seen = talk(GET, answering=breaks)
    assert world.client.aborted
    assert not seen[0].complete
    assert [record.message for record in caplog.records] == ["a connection failed"]


# --- answers that are entrusted to somebody -----------------------------------------------------


def target(path: bytes) -> bytes:
    return GET.replace(b"/a", path)


def hang_up(world: World, how: str) -> None:
    world.client.deliver_eof() if how == "eof" else world.client.lose()


def test_an_entrusted_answer_is_written_at_once_when_it_is_given_and_the_connection_stays():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            for path in (b"/1", b"/2"):
                world.client.written.clear()
                world.client.deliver(target(path))
                await asyncio.sleep(10 * PATIENCE.keep_alive_s)
                assert world.client.written == b""
                app.keepers[-1].answer()
                await settle(1)
                (seen,) = world.seen
                assert (seen.status, seen.body, seen.complete) == (200, path, True)
                assert b"connection" not in seen.headers
            await asyncio.sleep(PATIENCE.keep_alive_s - 1)
            assert not world.client.closing
            await asyncio.sleep(2)
            assert world.client.lost
            assert [keeper.abandoned for keeper in app.keepers] == [0, 0]

    run_on_clock(main())


def test_requests_behind_an_entrusted_one_wait_until_it_is_answered():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            post = POST + b"Content-Length: 4\r\n\r\nbody"
            world.client.deliver(target(b"/1") + target(b"/2") + post + target(b"/3"))
            await settle()
            for number, begun in ((0, 2), (1, 4)):
                assert [keeper.request.target for keeper in app.keepers[number:]] == [
                    b"/%d" % (number + 1)
                ]
                app.keepers[number].answer()
                await settle()
                assert len(app.requests) == begun
            app.keepers[2].answer()
            await settle(1)
            assert [seen.body for seen in world.seen] == [b"/1", b"/2", b"body", b"/3"]
            assert not world.client.closing

    run_on_clock(main())


def test_an_entrusted_answer_to_head_has_no_body():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET.replace(b"GET", b"HEAD"))
            app.keepers[0].answer()
            await settle(1)
            assert b"\r\nContent-Length: 2\r\n" in world.client.written
            assert world.client.written.endswith(b"\r\n\r\n")

    run_on_clock(main())


def test_after_an_entrusted_answer_the_connection_ends_if_the_client_wants_it_to():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET[:-2] + b"Connection: close\r\n\r\n" + GET)
            app.keepers[0].answer()
            assert world.seen[0].headers[b"connection"] == b"close"
            assert world.client.ended.is_set()
            await settle()
            assert len(app.requests) == 1
            assert app.keepers[0].abandoned == 0

    run_on_clock(main())


def test_entrusted_answers_are_written_when_all_that_has_arrived_has_been_looked_at():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            clients = [world.client, world.connect()]
            for client in clients:
                client.deliver(GET)
            for keeper in app.keepers:
                keeper.answer()
            assert [client.written for client in clients] == [b"", b""]
            await settle(1)
            assert [read_responses(client.written)[0].body for client in clients] == [b"/a"] * 2

    run_on_clock(main())


@pytest.mark.parametrize("how", ["drained", "lost"])
def test_an_entrusted_answer_that_is_not_written_yet_leaves_before_the_end_if_it_can(how):
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET)
            app.keepers[0].answer()
            if how == "drained":
                await world.server.drain()
            else:
                world.client.lose()
            await settle()
            assert [seen.body for seen in world.seen] == ([b"/a"] if how == "drained" else [])
            assert world.client.lost

    run_on_clock(main())


def test_an_entrusted_answer_that_has_to_be_waited_for_is_left_to_a_task():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(target(b"/1") + target(b"/2"))
            first = app.keepers[0]
            first.reply.resume(after_5_s(first.request, first.reply))
            await asyncio.sleep(4)
            assert world.client.written == b""
            assert len(app.keepers) == 1
            await asyncio.sleep(2)
            app.keepers[1].answer()
            await settle(1)
            assert [seen.body for seen in world.seen] == [b"early", b"/2"]
            assert [keeper.abandoned for keeper in app.keepers] == [0, 0]

    run_on_clock(main())


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_caller_that_hangs_up_is_told_once_to_who_has_been_entrusted_with_the_answer(how):
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET * 3)
            await settle()
            hang_up(world, how)
            assert app.keepers[0].abandoned == 1
            await settle()
            assert app.keepers[0].abandoned == 1
            assert len(app.keepers) == 1
            assert world.client.lost
            assert not world.server.connections

    run_on_clock(main())


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_caller_that_hangs_up_when_the_rest_has_begun_ends_only_the_rest(how):
    app = Entrusting()
    cancelled = 0

    async def rest() -> None:
        nonlocal cancelled
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET)
            app.keepers[0].reply.resume(rest())
            await settle()
            hang_up(world, how)
            await settle()
            assert (cancelled, app.keepers[0].abandoned) == (1, 0)
            assert world.client.lost

    run_on_clock(main())


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_what_has_not_begun_when_the_caller_hangs_up_is_closed(how):
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET)
            await settle()
            rest = answer(app.keepers[0].request, app.keepers[0].reply)
            app.keepers[0].reply.resume(rest)
            hang_up(world, how)
            await settle()
            assert inspect.getcoroutinestate(rest) == inspect.CORO_CLOSED
            assert app.keepers[0].abandoned == 1
            assert not app.keepers[0].reply.started
            assert world.client.lost

    run_on_clock(main())


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_request_whose_caller_hangs_up_in_the_same_moment_is_not_begun(how):
    begun = 0

    async def begin(request: Request, reply: Reply) -> None:
        nonlocal begun
        begun += 1

    async def main() -> None:
        async with open_world(begin) as world:
            world.client.deliver(GET)
            hang_up(world, how)
            await settle()
            assert begun == 0
            assert world.client.lost

    run_on_clock(main())


def test_draining_waits_for_an_entrusted_answer_and_says_that_the_connection_ends():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world, asyncio.TaskGroup() as group:
            world.client.deliver(GET * 2)
            await settle()
            draining = group.create_task(world.server.drain())
            await asyncio.sleep(PATIENCE.drain_s - 1)
            assert not draining.done()
            app.keepers[0].answer()
            (seen,) = world.seen
            assert seen.headers[b"connection"] == b"close"
            assert world.client.closing
            assert not world.client.aborted
            await settle()
            assert draining.done()
            assert app.keepers[0].abandoned == 0

    run_on_clock(main())


def test_draining_does_not_wait_for_ever_for_an_entrusted_answer():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.deliver(GET)
            await settle()
            await world.server.drain()
            await settle()
            assert world.client.aborted
            assert app.keepers[0].abandoned == 1

    run_on_clock(main())


def test_a_client_that_reads_an_entrusted_answer_slowly_makes_the_next_request_wait():
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.full = True
            world.client.deliver(target(b"/1") + target(b"/2"))
            await settle()
            app.keepers[0].answer()
            await settle()
            assert len(app.keepers) == 1
            world.client.drain()
            await settle()
            app.keepers[1].answer()
            await settle(1)
            assert [seen.body for seen in world.seen] == [b"/1", b"/2"]
            assert not world.client.closing

    run_on_clock(main())


@pytest.mark.parametrize("how", ["at once", "later", "never"])
def test_nobody_is_bothered_any_more_with_an_answer_that_is_given_but_not_read(how, caplog):
    app = Entrusting()

    async def main() -> None:
        async with open_world(app) as world:
            world.client.full = True
            world.client.deliver(GET)
            await settle()
            app.keepers[0].answer()
            if how == "never":
                await asyncio.sleep(PATIENCE.body_stall_s + 1)
            else:
                await settle(0 if how == "at once" else 30)
                world.client.lose()
            await settle()
            assert world.client.lost
            assert app.keepers[0].abandoned == 0
            assert not world.server.connections

    run_on_clock(main())
    assert not caplog.records


# --- many connections, and the end --------------------------------------------------------------


def test_above_the_limit_a_client_is_told_and_left_and_far_above_it_cut_off():
    async def main() -> None:
        async with open_world(max_connections=2) as world:
            second, third = world.connect(), world.connect()
            far = [world.connect() for _ in range(REFUSED_CONNECTIONS)][-1]
            await settle()
            assert second.written == b""
            assert read_responses(third.written)[0].status == 429
            assert third.eof_written
            assert far.aborted
            third.deliver(GET)
            third.deliver_eof()
            await settle()
            assert third.lost
            second.deliver(GET)
            await settle()
            assert read_responses(second.written)[0].status == 200

    run_on_clock(main())


def drained(wire: bytes, answering: Answering) -> tuple[float, World]:
    async def main() -> tuple[float, World]:
        async with open_world(answering) as world:
            world.client.deliver(wire)
            await settle()
            began = world.server.loop.time()
            await world.server.drain()
            return world.server.loop.time() - began, world

    return run_on_clock(main())


async def after_5_s(request: Request, reply: Reply) -> None:
    await asyncio.sleep(5)
    await answer(request, reply)


@pytest.mark.parametrize(
    ("wire", "answering", "after_s", "answers"),
    [
        (b"", echo, 0, 0),
        (GET[:9], echo, 0, 0),
        (GET, echo, 0, 1),
        (GET, after_5_s, 5, 1),
        (GET * 3, after_5_s, 5, 1),
        (GET, never, PATIENCE.drain_s, 0),
        (POST + b"Content-Length: 9\r\n\r\n1", answer, 0, 1),
        (b"garbage", echo, 0, 1),
    ],
)
def test_draining_lets_running_requests_end_and_no_more(wire, answering, after_s, answers):
    took_s, world = drained(wire, answering)
    assert took_s == pytest.approx(after_s, abs=0.1)
    assert len(world.seen) == answers
    assert world.ended


def test_a_server_that_drains_says_that_the_connection_ends():
    _, world = drained(GET, after_5_s)
    assert world.seen[0].headers[b"connection"] == b"close"


def test_every_answer_is_dated():
    _, seen = talk(GET)
    assert seen[0].headers[b"date"].endswith(b" GMT")


def test_our_own_mistakes_in_reading_are_not_blamed_on_the_client(monkeypatch):
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Connection, "on_headers_complete", fail)
    with pytest.RaisesGroup(httptools.HttpParserCallbackError):
        talk(GET)
