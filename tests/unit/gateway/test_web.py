"""Web calls: the client's request goes to the function's own server, and its answer back."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from calls import Sent, make_body, make_request
from clock import run_on_clock, settle
from fake_instances import make_function, version_of
from served import OneInstance, Ready, Server, make_custom
from transport import FakeTransport

from anyfc.errors import (
    ApkDownloadForbidden,
    BadResponse,
    ExternalRedirectForbidden,
    FunctionTimeout,
)
from anyfc.gateway.call import Call
from anyfc.gateway.door import Door
from anyfc.gateway.guard import Guard
from anyfc.gateway.runnable import Runnable
from anyfc.gateway.web import HELD_BYTES, RETURNED, WebCall
from anyfc.model.access import Anonymous
from anyfc.model.invocation import Crashed, InitializationFailed, Result, TimedOut
from anyfc.web.message import Header, PeerLost, ReaderStalled, Response, Rest
from anyfc.web.tunnel import End
from anyfc.web.upstream import Exchange, NoAnswer, Upstream

ID = "1-65d71219-15d63510-fecf237c590c"
FUNCTION = make_function("f", timeout_s=3)
VERSION = version_of(FUNCTION)
NOWHERE: Any = None  # no scheduler
START = f"FC Invoke Start RequestId: {ID}"
END = f"FC Invoke End RequestId: {ID}"
DOOR = Door(
    function="f",
    qualifier="LATEST",
    target=b"/b?c",
    access=Anonymous(),
    cors=None,
    methods=(),
    attachment=False,
)


def make_call(method: bytes = b"GET", **settings: Any) -> Call:
    request = make_request(
        method, b"/proxy/f/b?c", [(b"host", b"h")], **settings.pop("request", {})
    )
    reply = settings.pop("reply", None) or Sent()
    headers = settings.pop("headers", None)
    usual = {
        "request": request,
        "reply": reply,
        "guard": Guard(request, reply, ID),
        "door": DOOR,
        "runnable": Runnable(FUNCTION, VERSION, NOWHERE),
        "want_log_tail": False,
        "attachment": False,
    }
    call = Call(**(usual | settings))
    if headers is not None:
        call.headers = headers
    return call


async def exchange(call: Call, instance: OneInstance, folder: Path) -> None:
    """Let a call be exchanged with an instance that had to be waited for."""
    call.runnable = Runnable(FUNCTION, VERSION, instance)  # type: ignore[arg-type]
    await WebCall(call, call.request.body, folder).run()
    assert instance.leases == 0


def serve(
    call: Call, server: Server, folder: Path, *, result: Result | None = None
) -> tuple[Any, OneInstance]:
    """Return what the client and the instance see; with `result` that is what comes of the call."""

    async def main() -> tuple[Any, OneInstance]:
        instance = OneInstance(result, server)
        await exchange(call, instance, folder)
        return call.reply, instance

    return run_on_clock(main())


# --- the way there -------------------------------------------------------------------------------


def test_the_server_is_told_who_asks_and_which_way_the_request_took(tmp_path: Path):
    server = Server()
    serve(make_call(b"PUT"), server, tmp_path)
    (asked,) = server.asked
    assert (asked.method, asked.target, asked.upgrade) == (b"PUT", b"/b?c", None)
    # What servers are told of every request, and the path that they see.
    assert (
        asked.head
        == (
            b"x-fc-request-id: %b\r\n"
            b"x-fc-control-path: /http-invoke\r\n"
            b"x-fc-base-path: /b\r\n"
            b"x-fc-region: r\r\n"
        )
        % ID.encode()
    )
    assert asked.headers == [
        (b"host", b"h"),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"http"),
    ]


def test_the_headers_are_those_of_the_call_and_not_of_the_request(tmp_path: Path):
    server = Server()
    serve(make_call(headers=[(b"x-uid", b"7")]), server, tmp_path)
    assert server.asked[0].headers[0] == (b"x-uid", b"7")


def test_where_the_path_is_the_one_that_was_asked_for_the_server_is_told_that(tmp_path: Path):
    server = Server()
    door = Door(
        function="f", qualifier="LATEST", target=None, access=Anonymous(), cors=None, methods=(),
        attachment=False,
    )  # fmt: skip
    serve(make_call(door=door), server, tmp_path)
    assert server.asked[0].target == b"/proxy/f/b?c"
    assert b"\r\nx-fc-base-path: /proxy/f/b\r\n" in server.asked[0].head


def test_a_request_without_a_host_is_addressed_to_the_server_itself(tmp_path: Path):
    server = Server()
    call = make_call(headers=[(b"a", b"1")])
    del call.request.fields[b"host"]
    serve(call, server, tmp_path)
    hosts = [value for name, value in server.asked[0].headers if name == b"host"]
    assert hosts == [b"127.0.0.1:9000"]


# --- the way back --------------------------------------------------------------------------------


def test_status_headers_and_body_come_back_and_the_invocation_has_succeeded(tmp_path: Path):
    server = Server(status=500, headers=[(b"X-A", b"1"), (b"Server", b"x")])
    reply, instance = serve(make_call(), server, tmp_path)
    assert (reply.response.status, reply.body) == (500, b"served")
    assert reply.headers == {"x-fc-request-id": ID, "x-a": "1"}
    assert [report.result for report in instance.reports] == [RETURNED]


@pytest.mark.parametrize(("said", "failed"), [(b"404", True), (b"200", False)])
def test_a_server_may_say_that_it_failed_and_the_client_sees_its_answer(said, failed, tmp_path):
    server = Server(headers=[(b"x-fc-status", said)])
    reply, instance = serve(make_call(), server, tmp_path)
    assert reply.body == b"served"
    assert "x-fc-status" not in reply.headers
    assert (instance.reports[0].result != RETURNED) is failed


def test_an_answer_in_pieces_is_sent_while_it_arrives(tmp_path: Path):
    async def main() -> None:
        server = Server(body=make_body(b"one", complete=False))
        call = make_call()

        async def go_on() -> None:
            await asyncio.sleep(1)
            assert call.reply.started
            server.body.feed(b"two")
            server.body.end()

        async with asyncio.TaskGroup() as group:
            group.create_task(go_on())
            await exchange(call, OneInstance(server=server), tmp_path)
        assert call.reply.body == b"onetwo"  # type: ignore[attr-defined]

    run_on_clock(main())


def test_the_answer_to_head_keeps_its_length(tmp_path: Path):
    server = Server(body=make_body(declared_bytes=7))
    reply, _ = serve(make_call(b"HEAD"), server, tmp_path)
    assert (reply.response.length_bytes, reply.body) == (7, b"")


@pytest.mark.parametrize("declared_bytes", [55, None])
def test_the_answer_to_head_keeps_its_length_also_with_its_log(declared_bytes, tmp_path: Path):
    server = Server(body=make_body(declared_bytes=declared_bytes))
    reply, _ = serve(make_call(b"HEAD", want_log_tail=True), server, tmp_path)
    assert (reply.response.length_bytes, reply.body) == (declared_bytes, b"")
    assert not isinstance(reply.response.body, bytes), "it would be one of no bytes"
    assert reply.headers == {"x-fc-request-id": ID, "x-fc-log-result": "bG9n"}


@pytest.mark.parametrize("size_bytes", [3, 1024 * 1024])
def test_with_its_log_an_answer_is_sent_when_it_is_whole(size_bytes: int, tmp_path: Path):
    server = Server(status=404, body=make_body(bytes(size_bytes)))
    reply, _ = serve(make_call(want_log_tail=True), server, tmp_path)
    assert (reply.response.status, reply.body) == (404, bytes(size_bytes))
    assert reply.headers == {"x-fc-request-id": ID, "x-fc-log-result": "bG9n"}
    assert not list(tmp_path.iterdir())


def test_an_answer_that_is_too_large_to_wait_with_is_refused(tmp_path: Path):
    server = Server(body=make_body(declared_bytes=HELD_BYTES + 1))
    with pytest.raises(BadResponse, match="leave out X-Fc-Log-Type"):
        serve(make_call(want_log_tail=True), server, tmp_path)


def test_headers_that_are_too_large_are_a_bad_response(tmp_path: Path):
    server = Server(headers=[(b"a", bytes(9000))])
    with pytest.raises(BadResponse, match="8192 bytes"):
        serve(make_call(), server, tmp_path)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (Server(status=302), ExternalRedirectForbidden),
        (
            Server(headers=[(b"content-type", b"application/vnd.android.package-archive")]),
            ApkDownloadForbidden,
        ),
    ],
)
def test_what_a_default_domain_does_not_serve_is_refused_in_strict_mode(server, problem, tmp_path):
    with pytest.raises(problem):
        serve(make_call(attachment=True), server, tmp_path)
    reply, _ = serve(make_call(), server, tmp_path)
    assert reply.body == b"served"


def test_in_strict_mode_the_attachment_is_there_once(tmp_path: Path):
    server = Server(headers=[(b"content-disposition", b"inline")])
    reply, _ = serve(make_call(attachment=True), server, tmp_path)
    assert reply.headers["content-disposition"] == "attachment"


# --- failures ------------------------------------------------------------------------------------


def test_a_server_that_ended_is_told_with_what_it_took(tmp_path: Path):
    reply, _ = serve(make_call(), Server(fails=NoAnswer()), tmp_path)
    assert reply.response.status == 502
    assert reply.headers == {"x-fc-request-id": ID, "content-type": "application/json"}
    message = msgspec.json.decode(reply.body)["errorMessage"]
    assert message == (
        "Process exited unexpectedly before completing request "
        "(duration: 1ms, maxMemoryUsage: 9.50MB)"
    )


def test_the_failure_of_an_initializer_is_told_in_its_own_words(tmp_path: Path):
    result = InitializationFailed(body=b'{"errorMessage":"x"}')
    server = Server()
    reply, _ = serve(make_call(), server, tmp_path, result=result)
    assert (reply.response.status, reply.body) == (502, b'{"errorMessage":"x"}')
    assert server.asked == []


def test_a_server_that_takes_too_long_is_told_as_that(tmp_path: Path):
    with pytest.raises(FunctionTimeout, match="Function timed out after 3 seconds"):
        serve(make_call(), Server(silent=True), tmp_path)


@pytest.mark.parametrize("result", [Crashed(status=1), TimedOut(timeout_s=3)])
def test_an_answer_that_has_begun_and_lacks_its_end_breaks_off(result, tmp_path: Path):
    call = make_call()
    with pytest.raises(PeerLost):
        serve(call, Server(), tmp_path, result=result)
    assert call.reply.started


def test_an_answer_that_is_not_at_its_end_in_time_breaks_off(tmp_path: Path):
    server = Server(body=make_body(b"one", complete=False))
    call = make_call()
    with pytest.raises(PeerLost):
        serve(call, server, tmp_path)
    assert call.reply.started


class Stalled(Sent):
    """A client that does not read."""

    async def send(self, response: Response) -> None:
        self.started = True
        raise ReaderStalled(30)


def test_a_client_that_is_cut_off_leaves_an_instance_that_may_be_at_work(tmp_path: Path):
    async def main() -> None:
        instance = OneInstance(server=Server(body=make_body(b"one", complete=False)))
        with pytest.raises(ReaderStalled):
            await exchange(make_call(reply=Stalled()), instance, tmp_path)
        # Source: runtime.md 8.8; what the server still does would meet the next request.
        assert not instance.server.ready

    run_on_clock(main())


# --- without waiting -----------------------------------------------------------------------------


def answer(body: bytes = b"ok", *lines: bytes, status: int = 200, length: int = -1) -> bytes:
    """What a server says; of a `length` of its own, there is more to come."""
    declared = b"Content-Length: %d" % (length if length >= 0 else len(body))
    return b"\r\n".join([b"HTTP/1.1 %d Text" % status, *lines, declared, b"", body])


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


class World:
    """An instance whose server is the test: its end of every connection, and calls to it."""

    def __init__(self, folder: Path, concurrency: int) -> None:
        self.folder = folder
        self.function = replace(FUNCTION, instance_concurrency=concurrency)
        self.instance = Ready(
            self.function, VERSION, lambda process: make_custom(process, concurrency=concurrency)
        )
        self.instance.dialogue.upstream = Upstream(self._connect)
        self.connections: list[FakeTransport] = []

    async def _connect(self, exchange: Exchange) -> None:
        self.connections.append(FakeTransport(exchange))

    @property
    def server(self) -> FakeTransport:
        return self.connections[-1]

    async def warm_up(self) -> None:
        """Have one call answered, so that a connection is idle."""
        reply = self.entrusted()
        assert reply.rest is not None
        waiting = asyncio.ensure_future(reply.rest)
        await settle()
        self.server.deliver(answer())
        await waiting
        assert self.instance.idle
        self.server.written.clear()
        self.instance.log.lines.clear()

    def begin(self, method: bytes = b"GET", **settings: Any) -> tuple[Sent, Rest | None]:
        call = make_call(method, runnable=self.instance.runnable(), **settings)
        reply: Any = call.reply
        return reply, WebCall(call, call.request.body, self.folder).begin()

    def entrusted(self, method: bytes = b"GET", **settings: Any) -> Sent:
        """Begin a call that may be answered by callbacks."""
        reply, rest = self.begin(method, **settings)
        assert rest is None
        assert reply.underway is not None
        assert not self.instance.idle
        for wire in self.connections:
            wire.protocol.flush()  # what the loop does next
        return reply


def on_clock(
    folder: Path,
    body: Callable[[World], Coroutine[Any, Any, None]],
    *,
    warm: bool = True,
    concurrency: int = 1,
) -> None:
    async def main() -> None:
        world = World(folder, concurrency)
        if warm:
            await world.warm_up()
        await body(world)

    run_on_clock(main())


@pytest.mark.parametrize("said", [answer(), CHUNKED])
def test_an_answer_that_comes_whole_is_sent_as_soon_as_it_is_there(said, tmp_path: Path, caplog):
    async def body(world: World) -> None:
        caplog.clear()
        for n in range(1, 3):
            reply = world.entrusted(b"POST", request={"body": b"in"})
            assert reply.rest is None
            assert world.server.written.startswith(b"POST /b?c HTTP/1.1\r\n")
            assert world.server.written.endswith(b"content-length: 2\r\n\r\nin")
            world.server.written.clear()
            world.server.deliver(said)
            assert (reply.response.status, reply.body) == (200, b"ok")
            assert reply.headers == {"x-fc-request-id": ID}
            assert reply.rest is None
            assert world.instance.idle
            assert world.instance.log.lines == [START, END] * n
        assert len(world.connections) == 1
        # Its time is over too: nothing happens at the end of it.
        await asyncio.sleep(10)
        assert reply.rest is None
        assert world.instance.instance.usable

    caplog.set_level(logging.INFO)
    on_clock(tmp_path, body)
    assert [(r.message, r.outcome, r.request_id) for r in caplog.records] == [
        ("invocation", "Returned", ID)
    ] * 2


def test_a_server_may_say_without_a_task_too_that_it_failed(tmp_path: Path, caplog):
    async def body(world: World) -> None:
        caplog.clear()
        reply = world.entrusted()
        world.server.deliver(answer(b"no", b"X-Fc-Status: 404", status=500))
        assert (reply.response.status, reply.body) == (500, b"no")
        assert reply.headers == {"x-fc-request-id": ID}
        assert world.instance.log.lines == [START, f"{END}, Error: Unhandled function error"]

    caplog.set_level(logging.INFO)
    on_clock(tmp_path, body)
    assert [r.outcome for r in caplog.records] == ["Raised"]


class Informed(Sent):
    """Keeps the interim responses too."""

    def __init__(self) -> None:
        super().__init__()
        self.hints: list[tuple[int, list[Header]]] = []

    def inform(self, response: Response) -> None:
        assert response.body == b""
        self.hints.append((response.status, list(response.headers)))


@pytest.mark.parametrize("warm", [True, False])
def test_hints_go_to_the_client_without_what_is_the_platforms(warm: bool, tmp_path: Path):
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Fc-A: b\r\nServer: s\r\n\r\n"
    large = b"HTTP/1.1 103 Early Hints\r\nLink: %b\r\n\r\n" % bytes(9000).replace(b"\0", b"x")

    async def body(world: World) -> None:
        reply = Informed()
        world.entrusted(reply=reply)
        waiting = asyncio.ensure_future(reply.rest) if reply.rest is not None else None
        await settle()
        world.server.deliver(hint + large)
        world.server.deliver(b"HTTP/1.1 102 Processing\r\n\r\n")
        assert reply.hints == [(103, [(b"Link", b"</a>")]), (102, [])]
        assert not reply.started
        world.server.deliver(answer())
        if waiting is not None:
            await waiting
        assert (reply.response.status, reply.body) == (200, b"ok")

    on_clock(tmp_path, body, warm=warm)


def test_a_connection_that_the_server_closes_is_not_used_again(tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted()
        world.server.deliver(answer(b"ok", b"Connection: close"))
        assert reply.body == b"ok"
        assert world.server.closing
        await world.warm_up()
        assert len(world.connections) == 2

    on_clock(tmp_path, body)


def test_where_no_connection_is_idle_a_task_opens_one(tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted()
        assert reply.rest is not None
        assert world.connections == []
        waiting = asyncio.ensure_future(reply.rest)
        await settle()
        world.server.deliver(answer())
        await waiting
        assert reply.body == b"ok"
        assert world.instance.idle
        assert world.instance.log.lines == [START, END]

    on_clock(tmp_path, body, warm=False)


def test_where_no_instance_is_free_a_task_waits_for_one(tmp_path: Path):
    async def body(world: World) -> None:
        first = world.entrusted()
        second, rest = world.begin()
        assert rest is not None
        assert second.underway is None
        waiting = asyncio.ensure_future(rest)
        await settle()
        for reply in (first, second):
            assert not reply.started
            world.server.deliver(answer())
            await settle()
            assert reply.body == b"ok"
        await waiting
        assert world.instance.idle

    on_clock(tmp_path, body)


def test_a_body_that_is_not_here_yet_is_passed_on_by_a_task(tmp_path: Path):
    async def body(world: World) -> None:
        arriving = make_body(b"one", complete=False, declared_bytes=6)
        reply, rest = world.begin(b"POST", request={"body": arriving})
        assert rest is not None
        assert reply.underway is None
        waiting = asyncio.ensure_future(rest)
        await settle()
        assert world.server.written.endswith(b"content-length: 6\r\n\r\none")
        arriving.feed(b"two")
        arriving.end()
        world.server.deliver(answer())
        await waiting
        assert reply.body == b"ok"

    on_clock(tmp_path, body)


@pytest.mark.parametrize("said", [answer(b"o", length=2), CHUNKED[:-7]])
def test_an_answer_in_pieces_is_passed_back_by_a_task(said: bytes, tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted()
        world.server.deliver(said)
        assert reply.rest is not None
        assert not reply.started
        waiting = asyncio.ensure_future(reply.rest)
        await settle()
        assert reply.started
        assert not world.instance.idle
        world.server.deliver(b"k" if said.endswith(b"o") else CHUNKED[-7:])
        await waiting
        assert reply.body == b"ok"
        assert world.instance.idle
        assert world.instance.log.lines == [START, END]

    on_clock(tmp_path, body)


def resumed(world: World, reply: Sent, said: bytes) -> Rest:
    """Let the server answer in one go, and return what a task has to do with that."""
    world.server.deliver(said)
    assert not reply.started
    assert reply.rest is not None
    return reply.rest


def test_the_answer_to_head_keeps_its_length_where_a_connection_is_idle(tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted(b"HEAD")
        await resumed(world, reply, answer(b"", length=7))
        assert (reply.response.length_bytes, reply.body) == (7, b"")
        assert world.instance.idle

    on_clock(tmp_path, body)


def test_an_answer_comes_with_its_log_where_a_connection_is_idle(tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted(want_log_tail=True)
        await resumed(world, reply, answer())
        assert reply.body == b"ok"
        assert reply.headers == {"x-fc-request-id": ID, "x-fc-log-result": "bG9n"}
        assert world.instance.idle

    on_clock(tmp_path, body)


@pytest.mark.parametrize(
    ("settings", "said", "code"),
    [
        ({}, answer(b"ok", b"A: " + b"x" * 9000), "BadResponse"),
        ({"attachment": True}, answer(status=302), "ExternalRedirectForbidden"),
        ({}, b"HTTP/9\r\n\r\n", "BadResponse"),
    ],
)
def test_what_cannot_be_passed_back_is_told_by_a_task(settings, said, code, tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted(**settings)
        await resumed(world, reply, said)
        assert msgspec.json.decode(reply.body)["Code"] == code
        assert world.instance.in_use == 0

    on_clock(tmp_path, body)


def test_a_server_that_ends_before_it_answers_is_told_by_a_task(tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted(b"POST")
        world.server.lose()
        world.instance.process.exited.set_result(1)
        assert reply.rest is not None
        await reply.rest
        assert reply.response.status == 502
        assert b"Process exited unexpectedly" in reply.body
        assert world.instance.retired

    on_clock(tmp_path, body)


def test_what_may_be_asked_twice_is_asked_again_if_its_connection_was_about_to_end(tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted()
        world.server.lose()
        assert reply.rest is not None
        waiting = asyncio.ensure_future(reply.rest)
        await settle()
        assert [bytes(each.written[:3]) for each in world.connections] == [b"GET", b"GET"]
        world.server.deliver(answer())
        await waiting
        assert reply.body == b"ok"
        assert world.instance.log.lines == [START, END]

    on_clock(tmp_path, body)


@pytest.mark.parametrize("warm", [True, False])
def test_a_call_whose_time_is_over_before_anything_came_is_told_by_a_task(warm, tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted()
        await asyncio.sleep(2.9)
        assert (reply.rest is None) is warm
        await asyncio.sleep(0.2)
        assert reply.rest is not None
        await reply.rest
        content = msgspec.json.decode(reply.body)
        assert content["Code"] == "FunctionTimeout"
        assert "Function timed out after 3 seconds" in content["Message"]
        assert [each.aborted for each in world.connections] == ([True] if warm else [])
        assert world.instance.in_use == 0
        assert world.instance.retired  # its server may still be at work on it
        _, end = world.instance.log.lines
        assert end.startswith(f"{END}, Error: Function timed out after 3 seconds (duration: ")

    on_clock(tmp_path, body, warm=warm)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_who_leaves_gives_everything_back(concurrency: int, tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted()
        assert reply.underway is not None
        reply.underway.abandon()
        assert world.server.aborted
        assert world.instance.in_use == 0
        # A server that takes one request at a time may still be at work on it.
        assert world.instance.retired is (concurrency == 1)
        assert world.instance.idle is (concurrency == 2)
        start, end = world.instance.log.lines
        assert start == START
        assert end.startswith(f"{END}, Error: Invocation canceled by client (duration: ")
        await asyncio.sleep(10)
        assert reply.rest is None
        assert not reply.started

    on_clock(tmp_path, body, concurrency=concurrency)


def test_an_instance_that_cannot_be_thawed_is_given_back(tmp_path: Path, caplog):
    async def body(world: World) -> None:
        world.instance.instance.frozen = True
        world.instance.process.thaws = False
        with pytest.raises(OSError, match="no such control group"):
            world.begin()
        assert world.instance.in_use == 0
        assert world.server.written == b""
        await asyncio.sleep(10)  # its time does not run

    on_clock(tmp_path, body)
    assert not caplog.records


def test_who_leaves_before_the_task_gets_to_it_gives_everything_back_too(tmp_path: Path):
    async def body(world: World) -> None:
        reply = world.entrusted()
        world.server.deliver(answer(b"o", length=2))
        assert reply.underway is not None
        assert reply.rest is not None
        reply.rest.close()
        reply.underway.abandon()
        assert world.server.aborted
        assert world.instance.in_use == 0
        assert world.instance.retired
        assert len(world.instance.log.lines) == 2
        await asyncio.sleep(10)
        assert not reply.started

    on_clock(tmp_path, body)


# --- tunnels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listens", "result"), [(True, RETURNED), (False, Crashed(status=None))], ids=["lives", "gone"]
)
def test_after_a_101_bytes_go_both_ways_until_one_side_ends(
    tmp_path: Path, listens: bool, result: Result
):
    async def main() -> None:
        transports = [FakeTransport(asyncio.Protocol()) for _ in range(2)]
        for transport in transports:
            transport.pause_reading()
        client, server_end = (End(transport, b"", lambda: None) for transport in transports)

        class Upgrading(Sent):
            async def upgrade(self, protocol: bytes, response: Any) -> End:
                assert protocol == b"websocket"
                self.response = response
                self.started = True
                return client

        server = Server(status=101, headers=[(b"Sec-WebSocket-Accept", b"x")], end=server_end)
        instance = OneInstance(server=server)
        reply = Upgrading()
        call = make_call(reply=reply, request={"upgrade": b"websocket"})
        joined = asyncio.ensure_future(exchange(call, instance, tmp_path))
        await asyncio.sleep(1)
        transports[0].deliver(b"ping")
        transports[1].deliver(b"pong")
        await asyncio.sleep(1)
        assert [bytes(transport.written) for transport in transports] == [b"pong", b"ping"]
        assert not joined.done()
        server.listens = listens
        transports[0].lose()
        with nullcontext() if listens else pytest.raises(PeerLost):
            await joined
        assert [report.result for report in instance.reports] == [result]
        assert server.asked[0].upgrade == b"websocket"
        assert reply.headers == {"x-fc-request-id": ID, "sec-websocket-accept": "x"}

    run_on_clock(main())
