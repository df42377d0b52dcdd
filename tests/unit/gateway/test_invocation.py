"""Event calls: what is answered without a task, what is not, and how a result is shown."""

import asyncio
import logging
import signal
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from calls import Sent, make_request
from clock import run_on_clock, settle
from fake_instances import make_function, version_of
from served import OneInstance, Ready, finish, make_report
from transport import FakeTransport, read_responses

from anyfc.gateway.guard import Guard
from anyfc.gateway.invocation import HEAD, OLDER_HEAD, EventCall, present
from anyfc.gateway.runnable import Runnable
from anyfc.model.function import Code, CustomRuntime, Function
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Raised,
    Result,
    Returned,
    TimedOut,
)
from anyfc.model.report import Report
from anyfc.runtime.builtin import Builtin
from anyfc.runtime.channel import Channel
from anyfc.runtime.frame import (
    DATA,
    INVOKE,
    PIECE_BYTES,
    RAISED,
    RETURNED,
    encode_data,
    encode_request,
)
from anyfc.web.message import PeerLost, Response, Rest

ID = "1-65d71219-15d63510-fecf237c590c"
CODE = Code(digest="00", checksum="123", size_bytes=9)
FUNCTION = make_function("f", code=CODE, timeout_s=3)
CUSTOM = replace(FUNCTION, runtime="custom.debian12", custom=CustomRuntime())
VERSION = version_of(FUNCTION)
META = b'{"request_id":"%b"}' % ID.encode()
START = f"FC Invoke Start RequestId: {ID}"
END = f"FC Invoke End RequestId: {ID}"


# --- a result becomes a response -----------------------------------------------------------------


def headers_of(response: Response) -> dict[bytes, bytes]:
    wire = b"HTTP/1.1 200 OK\r\n" + response.head + b"Content-Length: 0\r\n\r\n"
    headers = read_responses(wire)[0].headers
    del headers[b"content-length"]
    return headers


def presented(report: Report, **settings: Any) -> Response:
    usual = {"version": "LATEST", "checksum": b"123", "head": HEAD, "with_log_tail": False}
    return present(report, request_id=ID, **(usual | settings))


def shown(result: Result, **settings: Any) -> tuple[dict[bytes, bytes], Any]:
    want_log_tail = settings.pop("want_log_tail", False)
    response = presented(make_report(result, **settings), with_log_tail=want_log_tail)
    assert response.status == 200
    return headers_of(response), response.body


def test_a_returned_value_is_the_body_and_the_headers_say_what_it_took():
    headers, body = shown(Returned(body=b"out"))
    assert body == b"out"
    assert headers.pop(b"access-control-expose-headers").count(b",") == 7
    assert headers == {
        b"x-fc-request-id": ID.encode(),
        b"x-fc-invocation-duration": b"1.23",
        b"x-fc-max-memory-usage": b"9.50",
        b"x-fc-invocation-function-version": b"LATEST",
        b"x-fc-code-checksum": b"123",
        b"x-fc-instance-id": b"c-1",
        b"content-type": b"application/octet-stream",
    }


@pytest.mark.parametrize(
    ("result", "kind", "body"),
    [
        (
            Raised(body=b'{"errorMessage": "x"}'),
            b"UnhandledInvocationError",
            b'{"errorMessage": "x"}',
        ),
        (
            TimedOut(timeout_s=3),
            b"UnhandledInvocationError",
            b'{"errorMessage":"Function timed out after 3 seconds '
            b'(duration: 1ms, maxMemoryUsage: 9.50MB)"}',
        ),
        (
            Crashed(status=-9),
            b"UnhandledInvocationError",
            b'{"errorMessage":"Process exited unexpectedly before completing request '
            b'(duration: 1ms, maxMemoryUsage: 9.50MB)"}',
        ),
        (InitializationFailed(body=b"{}"), b"InitializationError", b"{}"),
    ],
)
def test_a_failure_of_the_function_is_a_200_with_its_kind_in_a_header(result, kind, body):
    headers, shown_body = shown(result)
    assert headers[b"x-fc-error-type"] == kind
    assert headers[b"content-type"] == b"application/json"
    assert shown_body == body


def test_the_log_is_shown_only_to_who_asks():
    assert b"x-fc-log-result" not in shown(Returned(body=b""), log_tail=b"log")[0]
    headers, _ = shown(Returned(body=b""), log_tail=b"line\n", want_log_tail=True)
    assert headers[b"x-fc-log-result"] == b64encode(b"line\n")


class Stream:
    size_bytes = 5

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"large"


@pytest.mark.parametrize("kind", [Returned, Raised])
def test_a_large_value_is_sent_as_it_arrives_with_its_length(kind):
    response = presented(make_report(kind(body=Stream())))
    assert response.length_bytes == 5
    assert isinstance(response.body, Stream)


def test_before_3_0_it_is_the_service_that_has_a_version():
    report = make_report(Returned(body=b""))
    headers = headers_of(presented(report, version="7", head=OLDER_HEAD))
    assert headers[b"x-fc-invocation-service-version"] == b"7"
    assert b"x-fc-invocation-function-version" not in headers


# --- without waiting -----------------------------------------------------------------------------


def answer(piece: bytes, size_bytes: int | None = None, *, kind: bytes = RETURNED) -> bytes:
    """The first frame of an answer, which is all of it unless there are more bytes to come."""
    content = struct.pack("!QI", size_bytes or len(piece), 20 * 1024) + piece
    return struct.pack("!cI", kind, len(content)) + content


class World:
    """An instance of a built-in runtime whose process is the test's, and calls to it."""

    def __init__(self) -> None:
        self.channel = Channel()
        self.instance = Ready(FUNCTION, VERSION, self._speak)
        self.transport = FakeTransport(self.channel)

    def _speak(self, process: Any) -> Builtin:
        return Builtin(process, self.channel, start_s=5, early=lambda: b"")

    def begin(
        self, event: bytes = b"event", *, want_log_tail: bool = False
    ) -> tuple[Sent, Rest | None]:
        reply = Sent()
        call = make_call(reply, self.instance.runnable(), want_log_tail=want_log_tail)
        return reply, call.begin(event)

    def entrusted(self, event: bytes = b"event", **settings: Any) -> Sent:
        """Begin a call that is to be answered by callbacks."""
        reply, rest = self.begin(event, **settings)
        assert rest is None
        assert reply.underway is not None
        assert not self.instance.idle
        return reply

    async def crash(self, status: int) -> None:
        self.transport.lose()
        self.instance.process.exited.set_result(status)
        await settle()


def make_call(reply: Sent, runnable: Runnable, *, want_log_tail: bool = False) -> EventCall:
    guard = Guard(make_request(b"POST"), reply, ID)
    return EventCall(reply, guard, runnable, HEAD, want_log_tail=want_log_tail)


def on_clock(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await body(World())

    run_on_clock(main())


@pytest.mark.parametrize(
    ("kind", "outcome", "end"),
    [(RETURNED, "Returned", ""), (RAISED, "Raised", ", Error: Unhandled function error")],
)
def test_a_short_answer_is_sent_as_soon_as_it_is_there(kind, outcome, end, caplog):
    async def body(world: World) -> None:
        reply = world.entrusted()
        assert world.transport.written == encode_request(INVOKE, META, 5, b"event")
        world.transport.deliver(answer(b"out", kind=kind))
        assert reply.body == b"out"
        assert reply.headers["x-fc-max-memory-usage"] == "20.00"
        assert ("x-fc-error-type" in reply.headers) is (kind == RAISED)
        assert reply.rest is None
        assert world.instance.idle
        assert world.instance.log.lines == [START, END + end]

    caplog.set_level(logging.INFO)
    on_clock(body)
    assert [(r.message, r.outcome, r.request_id) for r in caplog.records] == [
        ("invocation", outcome, ID)
    ]


def test_one_answer_follows_the_other():
    async def body(world: World) -> None:
        for n in range(3):
            reply = world.entrusted(b"%d" % n)
            world.transport.deliver(answer(b"of %d" % n))
            assert reply.body == b"of %d" % n
        assert world.instance.instance.invocations == 3

    on_clock(body)


def test_a_short_answer_comes_with_its_log_for_who_asks():
    async def body(world: World) -> None:
        reply = world.entrusted(want_log_tail=True)
        world.transport.deliver(answer(b"out"))
        assert reply.headers["x-fc-log-result"] == b64encode(b"log").decode()

    on_clock(body)


def test_an_answer_in_pieces_is_waited_for_by_a_task():
    async def body(world: World) -> None:
        reply = world.entrusted()
        world.transport.deliver(answer(b"one", 6))
        assert reply.rest is not None
        assert not reply.started
        sending = asyncio.ensure_future(reply.rest)
        await settle()
        assert reply.started
        assert not world.instance.idle
        world.transport.deliver(encode_data(b"two"))
        await sending
        assert (reply.body, reply.response.length_bytes) == (b"onetwo", 6)
        assert world.instance.idle
        assert world.instance.log.lines == [START, END]

    on_clock(body)


def test_an_answer_in_pieces_that_lacks_its_end_breaks_off():
    async def body(world: World) -> None:
        reply = world.entrusted()
        world.transport.deliver(answer(b"one", 6))
        assert reply.rest is not None
        sending = asyncio.ensure_future(reply.rest)
        await settle()
        await world.crash(1)
        with pytest.raises(PeerLost):
            await sending
        assert world.instance.retired

    on_clock(body)


@pytest.mark.parametrize("last_words", [b"", b"no frame at all", answer(b"out", kind=DATA)])
def test_a_process_that_ends_instead_of_answering_is_told_by_a_task(last_words):
    async def body(world: World) -> None:
        reply = world.entrusted()
        if last_words:
            world.transport.deliver(last_words)
        await world.crash(1)
        assert reply.rest is not None
        assert not reply.started
        await reply.rest
        message = msgspec.json.decode(reply.body)["errorMessage"]
        assert message.startswith("Process exited unexpectedly before completing request (")
        assert reply.headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert world.instance.retired
        _, end = world.instance.log.lines
        assert end.startswith(f"{END}, Error: Process exited unexpectedly before completing req")

    on_clock(body)


def test_a_process_that_hung_up_before_it_was_asked_is_told_by_a_task():
    async def body(world: World) -> None:
        world.transport.lose()  # that it has ended is not known yet
        reply = world.entrusted()
        await settle()
        world.instance.process.exited.set_result(1)
        assert reply.rest is not None
        await reply.rest
        assert b"Process exited unexpectedly" in reply.body
        assert world.instance.retired

    on_clock(body)


def test_a_handler_that_takes_too_long_is_ended_and_told_by_a_task():
    async def body(world: World) -> None:
        reply = world.entrusted()
        await asyncio.sleep(2.9)
        assert world.instance.process.signals == []
        await asyncio.sleep(0.2)
        assert world.instance.process.signals == [signal.SIGTERM]
        assert reply.rest is None
        await world.crash(143)
        assert reply.rest is not None
        await reply.rest
        message = msgspec.json.decode(reply.body)["errorMessage"]
        assert message.startswith("Function timed out after 3 seconds (")
        assert world.instance.retired

    on_clock(body)


def test_who_leaves_gives_the_instance_back_and_it_is_not_used_again():
    async def body(world: World) -> None:
        reply = world.entrusted()
        assert reply.underway is not None
        reply.underway.abandon()
        assert world.instance.in_use == 0
        assert not world.instance.instance.usable
        assert world.instance.retired
        start, end = world.instance.log.lines
        assert start == START
        assert end.startswith(f"{END}, Error: Invocation canceled by client (duration: ")
        # What comes of it, nobody hears, and no alarm rings.
        world.transport.deliver(answer(b"late"))
        await asyncio.sleep(10)
        assert world.instance.process.signals == []
        assert reply.rest is None
        assert not reply.started

    on_clock(body)


def test_an_instance_that_cannot_be_thawed_is_given_back():
    async def body(world: World) -> None:
        world.instance.instance.frozen = True
        world.instance.process.thaws = False
        with pytest.raises(OSError, match="no such control group"):
            world.begin()
        assert world.instance.in_use == 0
        assert world.transport.written == b""

    on_clock(body)


# --- with a task that waits ----------------------------------------------------------------------


def test_where_no_instance_is_free_a_task_waits_for_one():
    async def body(world: World) -> None:
        first = world.entrusted(b"1")
        second, rest = world.begin(b"2")
        assert rest is not None
        assert second.underway is None
        waiting = asyncio.ensure_future(rest)
        await settle()
        world.transport.deliver(answer(b"one"))
        assert first.body == b"one"
        await settle()
        assert world.transport.written.endswith(encode_request(INVOKE, META, 1, b"2"))
        world.transport.deliver(answer(b"two"))
        await waiting
        assert second.body == b"two"
        assert world.instance.idle

    on_clock(body)


def begin(event: bytes, function: Function = FUNCTION, **settings: Any) -> tuple[Any, Sent]:
    """Call an instance that is free; return it, and what came of the call."""

    async def main() -> tuple[Any, Sent]:
        instance = OneInstance(free=True)
        reply = Sent()
        runnable = Runnable(function, version_of(function), instance)  # type: ignore[arg-type]
        rest = make_call(reply, runnable, **settings).begin(event)
        await finish(rest, reply)
        assert instance.leases == 0
        return instance, reply

    return run_on_clock(main())


@pytest.mark.parametrize(
    ("size_bytes", "function", "waits"),
    [
        (PIECE_BYTES, FUNCTION, False),
        (PIECE_BYTES + 1, FUNCTION, True),
        (5, CUSTOM, True),
    ],
)
def test_long_events_and_custom_runtimes_are_for_a_task(size_bytes, function, waits):
    instance, reply = begin(bytes(size_bytes), function)
    assert (reply.underway is None) is waits
    assert bool(instance.invocations) is waits
    assert instance.payload == bytes(size_bytes)
    assert reply.body == b"out"


@pytest.mark.parametrize("event", [b"event", bytes(PIECE_BYTES + 1)])
@pytest.mark.parametrize(("concurrency", "shown"), [(1, True), (2, False)])
def test_the_log_comes_to_who_asks_if_it_is_one_requests(event, concurrency, shown):
    function = replace(FUNCTION, instance_concurrency=concurrency)
    _, reply = begin(event, function, want_log_tail=True)
    assert ("x-fc-log-result" in reply.headers) is shown


def test_what_an_initializer_that_failed_has_printed_comes_to_who_asks():
    async def main() -> Sent:
        instance: Any = OneInstance(InitializationFailed(body=b"{}", log_tail=b"no database"))
        reply = Sent()
        runnable = Runnable(FUNCTION, VERSION, instance)
        await finish(make_call(reply, runnable, want_log_tail=True).begin(b""), reply)
        return reply

    reply = run_on_clock(main())
    assert reply.headers["x-fc-error-type"] == "InitializationError"
    assert reply.headers["x-fc-log-result"] == b64encode(b"no database").decode()
