"""What a caller is told when its request fails, whichever door it came through."""

import logging
from typing import Any

import msgspec
import pytest
from calls import Sent, make_request
from clock import run_on_clock

from anyfc.errors import (
    BadResponse,
    EntityTooLarge,
    FunctionComputeError,
    FunctionNotFound,
    FunctionTimeout,
    InvalidArgument,
    RequestTimeout,
)
from anyfc.gateway.door import Door
from anyfc.gateway.guard import Guard, fail
from anyfc.model.access import Anonymous, Cors
from anyfc.runtime.channel import ChannelClosed
from anyfc.web.message import PeerLost, Response

ID = "1-65d71219-15d63510-fecf237c590c"
ORIGIN = "https://a.example"


def make_guard(reply: Sent, *, by_http: bool = False, origins: tuple[str, ...] = ()) -> Guard:
    """With `origins`, the request has found a door that lets their pages read answers."""
    guard = Guard(make_request(headers=[(b"origin", ORIGIN.encode())]), reply, ID)
    guard.by_http = by_http
    if origins:
        guard.door = Door(
            function="f",
            qualifier="LATEST",
            target=b"/",
            access=Anonymous(),
            cors=Cors(origins=origins),
            methods=(),
            attachment=False,
        )
    return guard


def watch(error: BaseException, *, started: bool = False, by_http: bool = False) -> Sent:
    """Watch what fails, before the answer has begun or behind its beginning."""

    async def main() -> Sent:
        reply = Sent()

        async def fail() -> None:
            if started:
                await reply.send(Response(status=200, body=b"begun"))
            raise error

        await make_guard(reply, by_http=by_http).watch(fail())
        return reply

    return run_on_clock(main())


def explain(problem: FunctionComputeError, **settings: Any) -> Sent:
    async def main() -> Sent:
        reply = Sent()
        await reply.send(make_guard(reply, **settings).explain(problem))
        return reply

    return run_on_clock(main())


def code_in(reply: Sent) -> tuple[int, str]:
    content = msgspec.json.decode(reply.body)
    assert reply.headers["x-fc-request-id"] == content["RequestId"] == ID
    return reply.response.status, content["Code"]


@pytest.mark.parametrize("by_http", [False, True])
@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        (FunctionNotFound("f"), (404, "FunctionNotFound")),
        (InvalidArgument("chunk"), (400, "InvalidArgument")),
        (RequestTimeout(), (408, "RequestTimeout")),
    ],
)
def test_a_problem_is_told_with_its_code_and_the_id_of_the_request(problem, shown, by_http):
    assert code_in(explain(problem, by_http=by_http)) == shown
    assert code_in(watch(problem, by_http=by_http)) == shown


def test_a_body_that_is_too_large_has_another_name_in_http_calls():
    assert code_in(explain(EntityTooLarge(9))) == (400, "EntityTooLarge")
    reply = explain(EntityTooLarge(9), by_http=True)
    assert code_in(reply) == (400, "InvalidArgument")
    assert msgspec.json.decode(reply.body)["Message"] == EntityTooLarge(9).message


def test_only_http_calls_are_told_that_it_was_not_the_function_who_refused():
    assert "x-fc-error-type" not in explain(FunctionNotFound("f")).headers
    reply = explain(FunctionNotFound("f"), by_http=True)
    assert reply.headers["x-fc-error-type"] == "FCCommonError"


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, None),
        ({"by_http": True}, ORIGIN),
        ({"by_http": True, "origins": (ORIGIN,)}, ORIGIN),
        ({"by_http": True, "origins": ("https://b.example",)}, None),
    ],
)
def test_pages_may_read_refusals_of_http_calls_as_far_as_the_door_says(settings, allowed):
    headers = explain(FunctionNotFound("f"), **settings).headers
    assert headers.get("access-control-allow-origin") == allowed


def test_refusals_are_to_be_saved_by_browsers_where_answers_are():
    async def main() -> None:
        for problem in (FunctionNotFound("f"), ZeroDivisionError()):
            for attachment in (True, False):
                reply = Sent()
                guard = make_guard(reply, by_http=True)
                guard.attachment = attachment
                await guard.watch(fail(problem))
                shown = reply.headers.get("content-disposition")
                assert shown == ("attachment" if attachment else None)

    run_on_clock(main())


@pytest.mark.parametrize("error", [ChannelClosed(), PeerLost(), InvalidArgument("bad chunk")])
def test_an_answer_that_has_begun_and_fails_breaks_off_with_a_line_in_the_log(error, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(PeerLost) as caught:
        watch(error, started=True)
    assert caught.value.__cause__ is error
    (record,) = caplog.records
    assert (record.message, record.request_id) == ("answer broken off", ID)
    assert record.why
    assert not record.exc_info


@pytest.mark.parametrize("by_http", [False, True])
def test_what_nobody_expected_is_a_500_and_only_the_log_knows_why(by_http, caplog):
    reply = watch(ZeroDivisionError("secret"), by_http=by_http)
    assert code_in(reply) == (500, "InternalServerError")
    assert b"secret" not in reply.body
    (record,) = caplog.records
    assert (record.message, record.request_id) == ("request failed", ID)
    assert record.exc_info


def test_what_nobody_expected_in_the_middle_of_an_answer_ends_it_and_is_logged(caplog):
    with pytest.raises(PeerLost):
        watch(KeyError("x"), started=True)
    (record,) = caplog.records
    assert record.message == "request failed"
    assert record.exc_info


def test_who_does_not_wait_for_a_watched_request_closes_all_of_it():
    async def main() -> None:
        async def work() -> None:
            raise AssertionError

        inside = work()
        make_guard(Sent()).watch(inside).close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            await inside

    run_on_clock(main())


def test_whose_peer_is_gone_before_the_answer_is_not_answered(caplog):
    error = PeerLost()
    with pytest.raises(PeerLost) as caught:
        watch(error)
    assert caught.value is error
    assert not caplog.records


def test_an_instance_that_is_gone_before_the_answer_is_a_bug_of_ours(caplog):
    assert code_in(watch(ChannelClosed())) == (500, "InternalServerError")
    assert [record.message for record in caplog.records] == ["request failed"]


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (BadResponse("cannot be understood"), "UnhandledInvocationError"),
        (FunctionTimeout("too late"), "UnhandledInvocationError"),
        (FunctionNotFound("f"), "FCCommonError"),
    ],
)
def test_who_calls_by_http_is_told_whether_the_function_was_reached(problem, kind):
    assert watch(problem, by_http=True).headers["x-fc-error-type"] == kind
