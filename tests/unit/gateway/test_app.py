"""Which door a request takes, and how every error is put into words."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from calls import Sent, make_body
from calls import make_request as make_plain_request
from clock import run_on_clock
from routed import make_domain, make_routes, make_trigger
from served import finish

from anyfc.errors import FunctionNotFound, InvalidAccessKeyID, InvalidArgument, RequestTimeout
from anyfc.gateway.app import Gateway
from anyfc.gateway.door import Door, Doors, check_knock
from anyfc.gateway.problem import new_request_id
from anyfc.identity.key import AccessKey, Caller
from anyfc.identity.signature import format_date, sign
from anyfc.model.domain import Route
from anyfc.runtime.channel import ChannelClosed
from anyfc.web.message import Body, PeerLost, Request, Response
from anyfc.web.upstream import HOP_BY_HOP, UpstreamFailed

NOW = 1_750_000_000.0
INVOCATION = b"/2023-03-30/functions/f/invocations"
FUNCTION = b"/2023-03-30/functions/f"
ROLE_KEY = "of-a-role"
TRIGGER_HOST = b"f-abcdefghij.cn-hangzhou.fcapp.localhost"
ROUTED = (
    make_trigger("f"),
    make_domain("shop.example.com", Route(path="/a", function="f")),
)


class Keys:
    def find(self, access_key_id: str, security_token: str, now: float) -> AccessKey:
        if access_key_id not in ("key", ROLE_KEY):
            raise InvalidAccessKeyID(access_key_id)
        role = "reader" if access_key_id == ROLE_KEY else None
        return AccessKey(Caller("1", access_key_id, role), b"secret")


class Parts:
    """All that is behind the gateway: keeps what came through, and does what the test says."""

    def __init__(self, act: Callable[[Any], Any]) -> None:
        self.act = act
        self.invoked: list[tuple[str, bytes]] = []
        self.called: list[tuple[str, Door]] = []
        self.forwarded: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = []
        self.status = 200
        self.headers = [(b"Server", b"x"), (b"Date", b"x"), (b"Connection", b"close"), (b"A", b"b")]
        self.body = make_body(b"ok", declared_bytes=2)

    def handle(self, request: Request, reply: Any, *way: Any) -> Any:
        """Both kinds of calls: to a door, with the guard behind it, and to a name."""
        if isinstance(way[0], Door):
            door, guard = way
            check_knock(door, request.peer)
            self.called.append((guard.request_id, door))
        else:
            guard, name = way
            self.invoked.append((guard.request_id, name))
        return self.act(reply)

    @asynccontextmanager
    async def ask(
        self, method: bytes, target: bytes, headers: Any, body: Body
    ) -> AsyncIterator[Any]:
        self.forwarded.append((method, target, headers))
        await self.act(None)
        yield self


async def succeed(reply: Any) -> None:
    if reply is not None:
        await reply.send(Response(status=200, body=b"invoked"))


def make_request(
    method: bytes,
    target: bytes,
    *,
    key: str = "key",
    headers: Any = (),
    signed: bool = True,
    host: bytes = b"h",
) -> Request:
    lines = [
        (b"host", host),
        (b"x-acs-date", format_date(NOW).encode()),
        (b"x-acs-content-sha256", hashlib.sha256(b"").hexdigest().encode()),
        *headers,
    ]
    if signed:
        value = sign(method, target, lines, access_key_id=key, access_key_secret="secret")
        lines.append((b"authorization", value))
    return make_plain_request(method, target, lines)


def serve(request: Request, act: Callable[[Any], Any] = succeed) -> tuple[Parts, Response]:
    async def main() -> tuple[Parts, Response]:
        parts: Any = Parts(act)
        doors = Doors(make_routes(*ROUTED), region="cn-hangzhou")
        gateway: Any = Gateway(parts, parts, doors, parts, Keys(), now=lambda: NOW)
        reply = Sent()
        await finish(gateway.handle(request, reply), reply)
        return parts, reply.response

    return run_on_clock(main())


def error_in(response: Response) -> tuple[int, str]:
    assert isinstance(response.body, bytes)
    content = msgspec.json.decode(response.body)
    assert content["Code"] == content["ErrorCode"]
    assert content["Message"] == content["ErrorMessage"]
    assert dict(response.headers)[b"X-Fc-Request-Id"].decode() == content["RequestId"]
    return response.status, content["Code"]


def test_request_ids_are_of_the_form_that_the_cloud_uses_and_differ():
    ids = [new_request_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all([len(part) for part in text.split("-")] == [1, 8, 8, 12] for text in ids)


def test_an_invocation_takes_the_short_way():
    parts, response = serve(make_request(b"POST", INVOCATION + b"?qualifier=LATEST"))
    assert [name for _, name in parts.invoked] == [b"f"]
    assert parts.forwarded == []
    assert response.body == b"invoked"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", FUNCTION),
        (b"GET", INVOCATION),
        (b"POST", INVOCATION + b"/"),
        (b"POST", b"/2016-08-15/functions/f/invocations"),
        (b"HEAD", FUNCTION),
        (b"OPTIONS", b"/"),
        (b"POST", b"/2023-03-30/functions?a=b"),
    ],
)
def test_all_else_is_passed_on_as_it_came(method, target):
    parts, response = serve(make_request(method, target))
    assert [(m, t) for m, t, _ in parts.forwarded] == [(method, target)]
    assert parts.invoked == []
    assert response.status == 200


def test_what_is_passed_on_carries_our_request_id_and_not_the_callers():
    request = make_request(b"GET", FUNCTION, headers=[(b"x-fc-request-id", b"mine")])
    parts, _ = serve(request)
    ids = [value for name, value in parts.forwarded[0][2] if name == b"x-fc-request-id"]
    assert len(ids) == 1
    assert ids != [b"mine"]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_of_a_passed_on_request_the_headers_of_the_connection_stay_behind(name):
    request = make_request(b"GET", FUNCTION, headers=[(name, b"x"), (b"a", b"b")])
    parts, _ = serve(request)
    passed_on = dict(parts.forwarded[0][2])
    assert name not in passed_on
    assert passed_on[b"a"] == b"b"


def test_of_a_passed_on_answer_the_headers_of_the_connection_stay_behind():
    _, response = serve(make_request(b"GET", FUNCTION))
    assert list(response.headers) == [(b"A", b"b")]
    assert response.body == b"ok"


def test_the_answer_to_head_keeps_its_length():
    _, response = serve(make_request(b"HEAD", FUNCTION))
    assert not isinstance(response.body, bytes)
    assert response.length_bytes == 2


@pytest.mark.parametrize("target", [INVOCATION, FUNCTION])
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"signed": False}, (400, "MissingRequiredHeader")),
        ({"key": "unknown"}, (403, "InvalidAccessKeyID")),
    ],
)
def test_nobody_gets_in_without_a_signature(target, settings, error):
    parts, response = serve(make_request(b"POST", target, **settings))
    assert error_in(response) == error
    assert not parts.invoked
    assert not parts.forwarded


def test_code_addresses_carry_a_signature_of_their_own():
    parts, _ = serve(make_request(b"GET", b"/anyfc/code/x?signature=y", signed=False))
    assert len(parts.forwarded) == 1


@pytest.mark.parametrize(
    ("host", "target"),
    [
        (TRIGGER_HOST, b"/"),
        (TRIGGER_HOST, INVOCATION),
        (TRIGGER_HOST, FUNCTION),
        (TRIGGER_HOST, b"/anyfc/code/x?signature=y"),
        (b"shop.example.com:80", b"/a"),
        (b"h", b"/proxy/f/a"),
    ],
)
def test_an_http_call_goes_to_its_function_whoever_sends_it_and_whatever_its_path(host, target):
    parts, response = serve(make_request(b"POST", target, host=host, signed=False))
    assert [door.function for _, door in parts.called] == ["f"]
    assert (parts.invoked, parts.forwarded) == ([], [])
    assert response.body == b"invoked"


@pytest.mark.parametrize(
    ("host", "target", "error"),
    [
        (b"no-trigger.cn-hangzhou.fcapp.localhost", INVOCATION, (404, "TriggerNotFound")),
        (b"shop.example.com", INVOCATION, (404, "DomainRouteNotFound")),
        (b"h", b"/proxy/g/", (404, "TriggerNotFound")),
    ],
)
def test_an_address_that_leads_to_no_function_does_not_lead_to_the_api(host, target, error):
    parts, response = serve(make_request(b"POST", target, host=host))
    assert error_in(response) == error
    assert (parts.called, parts.invoked, parts.forwarded) == ([], [], [])


@pytest.mark.parametrize(
    ("method", "target", "passes"),
    [
        (b"POST", INVOCATION, True),
        (b"GET", FUNCTION, True),
        (b"HEAD", FUNCTION, True),
        (b"PUT", FUNCTION, False),
        (b"DELETE", FUNCTION, False),
        (b"POST", b"/2023-03-30/functions", False),
    ],
)
def test_a_functions_role_may_invoke_and_look_and_change_nothing(method, target, passes):
    parts, response = serve(make_request(method, target, key=ROLE_KEY))
    assert bool(parts.invoked or parts.forwarded) is passes
    if not passes:
        assert error_in(response) == (403, "AccessDenied")


def raising(error: Exception, *, after_start: bool = False) -> Callable[[Any], Any]:
    async def act(reply: Any) -> None:
        if after_start:
            await reply.send(Response(status=200))
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (FunctionNotFound("f"), (404, "FunctionNotFound")),
        (InvalidArgument("chunk"), (400, "InvalidArgument")),
        (RequestTimeout(), (408, "RequestTimeout")),
    ],
)
def test_an_error_of_the_service_is_told_with_its_code(error, shown, caplog):
    _, response = serve(make_request(b"POST", INVOCATION), raising(error))
    assert error_in(response) == shown
    assert not caplog.records


def test_a_mistake_of_ours_is_told_without_what_it_was_and_logged_with_it(caplog):
    request = make_request(b"POST", INVOCATION)
    _, response = serve(request, raising(ZeroDivisionError("secret")))
    assert error_in(response) == (500, "InternalServerError")
    assert b"secret" not in response.body
    (record,) = caplog.records
    assert record.message == "request failed"
    assert record.exc_info


def test_a_mistake_of_ours_before_there_is_anything_to_wait_for_is_told_as_one_too(caplog):
    def act(reply: Any) -> Any:
        raise ZeroDivisionError("secret")

    _, response = serve(make_request(b"POST", INVOCATION), act)
    assert error_in(response) == (500, "InternalServerError")
    (record,) = caplog.records
    assert record.message == "request failed"
    assert record.exc_info


def test_a_control_api_that_does_not_answer_is_a_mistake_of_ours(caplog):
    _, response = serve(make_request(b"GET", FUNCTION), raising(UpstreamFailed("gone")))
    assert error_in(response) == (500, "InternalServerError")
    assert [(r.message, r.why) for r in caplog.records] == [("control API failed", "gone")]


@pytest.mark.parametrize("error", [ChannelClosed(), PeerLost(), InvalidArgument("bad chunk")])
def test_an_answer_that_breaks_off_is_one_line_in_the_log(error, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(PeerLost):
        serve(make_request(b"POST", INVOCATION), raising(error, after_start=True))
    (record,) = caplog.records
    assert record.message == "answer broken off"
    assert record.why
    assert not record.exc_info


def test_a_mistake_of_ours_in_the_middle_of_an_answer_ends_it_and_is_logged(caplog):
    with pytest.raises(PeerLost):
        serve(make_request(b"POST", INVOCATION), raising(KeyError("x"), after_start=True))
    (record,) = caplog.records
    assert record.exc_info


def test_a_caller_who_is_gone_is_not_answered():
    with pytest.raises(PeerLost):
        serve(make_request(b"POST", INVOCATION), raising(PeerLost()))
    with pytest.raises(asyncio.CancelledError):
        serve(make_request(b"POST", INVOCATION), raising(asyncio.CancelledError()))  # type: ignore[arg-type]
