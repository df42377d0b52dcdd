"""Web calls: the client's request goes to the function's own server, and its answer back."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from calls import Sent, make_body, make_request
from clock import run_on_clock
from fake_instances import make_function, version_of
from served import OneInstance, Server, make_report
from transport import FakeTransport

from anyfc.errors import (
    ApkDownloadForbidden,
    BadResponse,
    ExternalRedirectForbidden,
    FunctionTimeout,
)
from anyfc.gateway.call import Call
from anyfc.gateway.door import Door
from anyfc.gateway.web import HELD_BYTES, RETURNED, WebCall
from anyfc.model.access import Anonymous
from anyfc.model.invocation import Crashed, InitializationFailed, Report, TimedOut
from anyfc.web.message import PeerLost
from anyfc.web.tunnel import End

ID = "1-65d71219-15d63510-fecf237c590c"
FUNCTION = make_function("f")
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
    usual = {
        "request": request,
        "reply": Sent(),
        "request_id": ID,
        "door": DOOR,
        "function": FUNCTION,
        "version": version_of(FUNCTION),
        "target": DOOR.target,
        "headers": request.headers,
        "want_log_tail": False,
        "attachment": False,
    }
    return Call(**(usual | settings))


async def exchange(call: Call, server: Server, folder: Path, body: Any = None) -> Report:
    """Let a call be exchanged, and answer what was not answered meanwhile."""
    web = WebCall(call, body or make_body(), folder)
    report = await web.run(OneInstance(server=server))  # type: ignore[arg-type]
    await web.answer(report)
    return report


def serve(call: Call, server: Server, folder: Path) -> tuple[Any, Report]:
    async def main() -> tuple[Any, Report]:
        report = await exchange(call, server, folder)
        return call.reply, report

    return run_on_clock(main())


# --- the way there -------------------------------------------------------------------------------


def test_the_server_is_told_who_asks_and_which_way_the_request_took(tmp_path: Path):
    server = Server()
    serve(make_call(b"PUT"), server, tmp_path)
    (asked,) = server.asked
    assert (asked.method, asked.target, asked.upgrade) == (b"PUT", b"/b?c", None)
    # What the instance says of every request, and the path that was asked for.
    assert asked.head == b"x-fc-request-id: of-the-instance\r\nx-fc-base-path: /proxy/f/b\r\n"
    assert asked.headers == [
        (b"host", b"h"),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"http"),
    ]


def test_the_headers_are_those_of_the_call_and_not_of_the_request(tmp_path: Path):
    server = Server()
    serve(make_call(headers=[(b"x-uid", b"7")]), server, tmp_path)
    assert server.asked[0].headers[0] == (b"x-uid", b"7")


# --- the way back --------------------------------------------------------------------------------


def test_status_headers_and_body_come_back_and_the_invocation_has_succeeded(tmp_path: Path):
    server = Server(status=500, headers=[(b"X-A", b"1"), (b"Server", b"x")])
    reply, report = serve(make_call(), server, tmp_path)
    assert (reply.response.status, reply.body) == (500, b"served")
    assert reply.headers == {"x-fc-request-id": ID, "x-a": "1"}
    assert report.result == RETURNED


@pytest.mark.parametrize(("said", "failed"), [(b"404", True), (b"200", False)])
def test_a_server_may_say_that_it_failed_and_the_client_sees_its_answer(said, failed, tmp_path):
    server = Server(headers=[(b"x-fc-status", said)])
    reply, report = serve(make_call(), server, tmp_path)
    assert reply.body == b"served"
    assert "x-fc-status" not in reply.headers
    assert (report.result != RETURNED) is failed


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
            await exchange(call, server, tmp_path)
        assert call.reply.body == b"onetwo"  # type: ignore[attr-defined]

    run_on_clock(main())


def test_the_answer_to_head_keeps_its_length(tmp_path: Path):
    server = Server(body=make_body(declared_bytes=7))
    reply, _ = serve(make_call(b"HEAD"), server, tmp_path)
    assert (reply.response.length_bytes, reply.body) == (7, b"")


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


def answer(report: Report, *, started: bool = False) -> Any:
    async def main() -> Any:
        call = make_call()
        call.reply.started = started
        await WebCall(call, make_body(), Path()).answer(report)
        return call.reply

    return run_on_clock(main())


def test_a_server_that_ended_is_told_with_what_it_took():
    reply = answer(make_report(Crashed(status=1)))
    assert reply.response.status == 502
    assert reply.headers == {"x-fc-request-id": ID, "content-type": "application/json"}
    message = msgspec.json.decode(reply.body)["errorMessage"]
    assert message == (
        "Process exited unexpectedly before completing request "
        "(duration: 1ms, maxMemoryUsage: 9.50MB)"
    )


def test_the_failure_of_an_initializer_is_told_in_its_own_words():
    reply = answer(make_report(InitializationFailed(body=b'{"errorMessage":"x"}')))
    assert (reply.response.status, reply.body) == (502, b'{"errorMessage":"x"}')


def test_a_server_that_takes_too_long_is_told_as_that():
    with pytest.raises(FunctionTimeout, match="Function timed out after 3 seconds"):
        answer(make_report(TimedOut(timeout_s=3)))


@pytest.mark.parametrize("result", [Crashed(status=1), TimedOut(timeout_s=3)])
def test_an_answer_that_has_begun_and_lacks_its_end_breaks_off(result):
    with pytest.raises(PeerLost):
        answer(make_report(result), started=True)


# --- tunnels -------------------------------------------------------------------------------------


def test_after_a_101_bytes_go_both_ways_until_one_side_ends(tmp_path: Path):
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
        reply = Upgrading()
        call = make_call(reply=reply, request={"upgrade": b"websocket"})
        async with asyncio.TaskGroup() as group:
            joined = group.create_task(exchange(call, server, tmp_path))
            await asyncio.sleep(1)
            transports[0].deliver(b"ping")
            transports[1].deliver(b"pong")
            await asyncio.sleep(1)
            assert [bytes(transport.written) for transport in transports] == [b"pong", b"ping"]
            assert not joined.done()
            transports[0].lose()
        assert joined.result().result == RETURNED
        assert server.asked[0].upgrade == b"websocket"
        assert reply.headers == {"x-fc-request-id": ID, "sec-websocket-accept": "x"}

    run_on_clock(main())
