"""HTTP calls to functions: who is let in, what each kind of function gets, what comes back."""

import asyncio
import base64
import hashlib
import logging
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from calls import Sent, make_body, make_request
from clock import run_on_clock, settle
from fake_instances import change, make_function, version_of
from served import OneInstance, Ready, Server, finish

from anyfc.errors import (
    BadResponse,
    DomainRouteNotFound,
    FunctionComputeError,
    FunctionNotStarted,
    ResourceExhausted,
)
from anyfc.gateway.door import Door
from anyfc.gateway.guard import Guard
from anyfc.gateway.http import HttpCalls
from anyfc.gateway.runnable import Runnables
from anyfc.identity.claims import FORM_BYTES, FORM_FIELDS
from anyfc.identity.key import AccessKey, Caller
from anyfc.identity.signature import format_date, sign
from anyfc.model.access import Anonymous, ClaimPass, Cors, Jwt, Lookup, Signed
from anyfc.model.function import CustomRuntime, Function, Restriction
from anyfc.model.invocation import (
    Crashed,
    HttpCall,
    InitializationFailed,
    Raised,
    Result,
    Returned,
    TimedOut,
)
from anyfc.runtime.builtin import Builtin
from anyfc.runtime.channel import Channel, ChannelClosed
from anyfc.store.catalog import Catalog
from anyfc.web.message import Header, PeerLost, Request

NOW = 1_750_000_000.0
ID = "1-65d71219-15d63510-fecf237c590c"
LIMIT_BYTES = 1024 * 1024
ORIGIN = (b"origin", b"https://a.example")
FORM = (b"content-type", b"application/x-www-form-urlencoded")
TAIL = (b"x-fc-log-type", b"Tail")
SECRET = b"s" * 32
KEY = {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
TOKEN = jwt.encode({"uid": 7}, SECRET, "HS256").encode()

EVENT = make_function("f")
WSGI = make_function("s$f", service="s")
WEB = replace(make_function("f", custom=CustomRuntime()), runtime="custom.debian12")


class Keys:
    def find(self, access_key_id: str, security_token: str, now: float) -> AccessKey:
        return AccessKey(Caller("1", access_key_id), b"secret")


def make_door(**settings: Any) -> Door:
    usual = {
        "function": "f",
        "qualifier": "LATEST",
        "target": b"/a%20b?c=d",
        "access": Anonymous(),
        "cors": None,
        "methods": ("GET", "POST"),
        "attachment": False,
    }
    return Door(**(usual | settings))


class Calls:
    """HttpCalls with one function, one instance and one door."""

    def __init__(self, folder: Path, function: Function, instance: OneInstance, **settings: Any):
        self.catalog = Catalog()
        self.catalog.put(function)
        self.instance = instance
        self.folder = folder
        self.http_calls = HttpCalls(
            Runnables(self.catalog, instance),  # type: ignore[arg-type]  # a small scheduler
            Keys(),
            account_id="123456",
            spool_folder=folder,
            body_bytes=settings.pop("body_bytes", LIMIT_BYTES),
            strict=settings.pop("strict", False),
            https_port=lambda: settings.get("https_port", 9443),
            now=lambda: NOW,
        )

    async def send(
        self,
        method: bytes = b"GET",
        headers: Sequence[Header] = (),
        *,
        door: Door | None = None,
        **request: Any,
    ) -> Sent:
        reply = Sent()
        sent = make_request(method, b"/asked?for", headers, **request)
        await self.handle(sent, reply, door or make_door())
        assert self.instance.leases == 0
        assert not list(self.folder.iterdir())
        return reply

    async def handle(self, request: Request, reply: Sent, door: Door) -> None:
        """Answer a call, also when it is refused, as the gateway does."""
        guard = Guard(request, reply, ID)
        guard.by_http = True
        guard.door = door
        try:
            rest = self.http_calls.handle(request, reply, door, guard)
        except FunctionComputeError as problem:
            rest = reply.send(guard.explain(problem))
        await finish(guard.watch(rest) if rest is not None else None, reply)


def call(
    folder: Path,
    method: bytes = b"GET",
    headers: Sequence[Header] = (),
    *,
    function: Function = EVENT,
    result: Any = None,
    server: Server | None = None,
    strict: bool = False,
    https_port: int = 9443,
    free: bool = False,
    **request: Any,
) -> tuple[OneInstance, Sent]:
    """Make one call and return what the instance and the client see."""

    async def main() -> tuple[OneInstance, Sent]:
        instance = OneInstance(result, server, free=free)
        calls = Calls(folder, function, instance, strict=strict, https_port=https_port)
        return instance, await calls.send(method, headers, **request)

    return run_on_clock(main())


def refusal_of(reply: Sent, kind: str = "FCCommonError") -> tuple[int, str]:
    """Status and code of a refusal, which is told in the words of all services."""
    content = msgspec.json.decode(reply.body)
    assert reply.headers["x-fc-request-id"] == content["RequestId"] == ID
    assert reply.headers["x-fc-error-type"] == kind
    assert reply.headers["content-type"] == "application/json"
    return reply.response.status, content["Code"]


# --- built-in runtimes ---------------------------------------------------------------------------


def test_a_handler_gets_an_event_and_its_result_becomes_a_response(tmp_path: Path):
    result = Returned(body=b'{"statusCode": 201, "headers": {"X-A": "b"}, "body": "out"}')
    headers = [(b"host", b"h:80"), (b"content-type", b"text/plain"), (b"x-custom-key", b"v")]
    instance, reply = call(tmp_path, b"POST", headers, result=result, body=b"in")
    event = msgspec.json.decode(instance.payload)
    assert (event["rawPath"], event["queryParameters"]) == ("/a%20b", {"c": "d"})
    assert (event["body"], event["isBase64Encoded"]) == ("in", False)
    assert event["headers"]["X-Custom-Key"] == "v"
    about = event["requestContext"]
    assert (about["accountId"], about["domainName"], about["requestId"]) == ("123456", "h", ID)
    assert about["timeEpoch"] == "1750000000000"
    assert about["http"]["sourceIp"] == "192.0.2.1"
    (invocation,) = instance.invocations
    assert (invocation.request_id, invocation.http) == (ID, None)
    assert (reply.response.status, reply.body) == (201, b"out")
    assert reply.headers == {
        "x-fc-request-id": ID,
        "x-a": "b",
        "content-type": "application/json",
    }


@pytest.mark.parametrize("old", [True, False])
def test_the_version_of_http_is_in_the_event(old: bool, tmp_path: Path):
    instance, _ = call(tmp_path, old=old)
    event = msgspec.json.decode(instance.payload)
    assert event["requestContext"]["http"]["protocol"] == ("HTTP/1.0" if old else "HTTP/1.1")


def test_a_large_body_is_in_the_event_too(tmp_path: Path):
    body = bytes(range(256)) * 4000
    instance, _ = call(tmp_path, b"POST", body=body)
    assert base64.b64decode(msgspec.json.decode(instance.payload)["body"]) == body


@pytest.mark.parametrize("function", [EVENT, WSGI], ids=["event", "wsgi"])
@pytest.mark.parametrize(
    "result",
    [
        Raised(body=b'{"errorMessage": "secret"}'),
        TimedOut(timeout_s=3),
        Crashed(status=1),
        InitializationFailed(body=b"secret"),
    ],
)
def test_of_a_failure_the_client_is_told_nothing_but_that(function, result, tmp_path: Path):
    door = make_door(function=function.name)
    _, reply = call(tmp_path, function=function, result=result, door=door)
    assert (reply.response.status, reply.body) == (502, b"Internal Server Error")
    assert reply.headers == {"x-fc-request-id": ID, "content-type": "application/json"}


def test_of_a_result_that_http_cannot_have_the_client_is_told_no_more(tmp_path: Path):
    instance, reply = call(tmp_path, result=Returned(body=b'{"statusCode": "secret"}'))
    assert (reply.response.status, reply.body) == (502, b"Internal Server Error")
    assert "secret" in instance.failures[0]
    assert reply.headers == {"x-fc-request-id": ID, "content-type": "application/json"}


def test_headers_that_are_too_large_are_a_bad_response(tmp_path: Path):
    result = Returned(body=msgspec.json.encode({"statusCode": 200, "headers": {"A": "x" * 9000}}))
    instance, reply = call(tmp_path, result=result)
    assert refusal_of(reply, "UnhandledInvocationError") == (502, "BadResponse")
    assert "response headers are 9001 bytes long" in instance.failures[0]


class Streamed:
    """A large answer that arrives in pieces; `ends` is whether its instance lives that long."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self.pieces = pieces
        self.ends = ends
        self.size_bytes = sum(map(len, pieces))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if not self.ends:
            raise ChannelClosed


def test_a_large_result_is_read_to_its_end_before_it_is_judged(tmp_path: Path):
    result = Returned(body=Streamed(b'{"statusCode": 2', b'02, "body": "out"}'))
    _, reply = call(tmp_path, result=result)
    assert (reply.response.status, reply.body) == (202, b"out")


@pytest.mark.parametrize("function", [EVENT, WSGI])
def test_an_instance_that_ends_in_the_middle_of_a_large_result_is_a_failure(
    function, tmp_path: Path
):
    result = Returned(body=Streamed(b"{", ends=False))
    door = make_door(function=function.name)
    _, reply = call(tmp_path, function=function, result=result, door=door)
    assert (reply.response.status, reply.body) == (502, b"Internal Server Error")


# --- WSGI ----------------------------------------------------------------------------------------


def answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    """What a WSGI handler's instance says."""
    head = msgspec.json.encode({"status": status, "headers": list(headers.items())})
    return struct.pack("!I", len(head)) + head + body


def test_a_function_of_a_service_gets_the_request_itself(tmp_path: Path):
    door = make_door(
        function="s$f", target=b"/2016-08-15/proxy/s/f/a?b", base_path=b"/2016-08-15/proxy/s/f"
    )
    instance, reply = call(
        tmp_path,
        b"POST",
        [(b"x-a", b"1")],
        function=WSGI,
        result=Returned(body=answer(b"page", 404, Server="mine", A="b")),
        door=door,
        body=b"in",
    )
    (invocation,) = instance.invocations
    assert invocation.payload == b"in"
    assert invocation.http == HttpCall(
        method="POST",
        path="/a",
        query="b",
        request_uri="/asked?for",
        protocol="HTTP/1.1",
        client_ip="192.0.2.1",
        headers=[("x-a", "1")],
    )
    assert (reply.response.status, reply.body) == (404, b"page")
    assert reply.headers == {"x-fc-request-id": ID, "a": "b", "content-type": "application/json"}


def test_head_is_answered_with_the_length_that_the_app_gives(tmp_path: Path):
    result = Returned(body=answer(b"", **{"Content-Length": "26"}))
    door = make_door(function="s$f", methods=("HEAD",))
    _, reply = call(tmp_path, b"HEAD", function=WSGI, result=result, door=door)
    assert (reply.response.length_bytes, reply.body) == (26, b"")


def test_an_answer_that_is_not_the_bootstraps_is_a_failure(tmp_path: Path):
    door = make_door(function="s$f")
    _, reply = call(tmp_path, function=WSGI, result=Returned(body=b"\0"), door=door)
    assert (reply.response.status, reply.body) == (502, b"Internal Server Error")


# --- results that are wrong ----------------------------------------------------------------------


class Handler(Builtin):
    """The dialogue with a handler that gives one result."""

    def __init__(self, process: Any, result: Result) -> None:
        super().__init__(process, Channel(), start_s=5, early=lambda: b"")
        self.result = result

    async def ask(self, *_: Any, **__: Any) -> Result:
        return self.result


LARGE_HEADER = {"A": "x" * 9000}
WRONG = {
    "a status": (EVENT, b'{"statusCode": 1}', "Raised"),
    "headers of an event": (
        EVENT,
        msgspec.json.encode({"statusCode": 200, "headers": LARGE_HEADER}),
        "Raised",
    ),
    "headers of an app": (WSGI, answer(b"", **LARGE_HEADER), "Raised"),
    "no head": (WSGI, b"\0", "Raised"),
    "a redirect": (EVENT, b'{"statusCode": 302}', "Raised"),
    "no end": (EVENT, Streamed(b"{", ends=False), "Crashed"),
}


@pytest.mark.parametrize(("function", "body", "outcome"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_with_a_result_is_in_both_logs(
    function, body, outcome, tmp_path: Path, caplog
):
    async def main() -> tuple[list[str], Sent]:
        result = Returned(body=body)
        ready = Ready(function, version_of(function), lambda process: Handler(process, result))
        calls = Calls(tmp_path, function, ready, strict=True)  # type: ignore[arg-type]
        reply = Sent()
        door = make_door(function=function.name, attachment=True)
        await calls.handle(make_request(), reply, door)
        return ready.log.lines, reply

    caplog.set_level(logging.INFO)
    lines, reply = run_on_clock(main())
    assert reply.response.status in (400, 502)
    start, end = lines
    assert start == f"FC Invoke Start RequestId: {ID}"
    assert end.startswith(f"FC Invoke End RequestId: {ID}, Error: ")
    assert [(record.message, record.outcome) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("invocation", outcome)
    ]


# --- custom runtimes -----------------------------------------------------------------------------


@pytest.mark.parametrize("free", [False, True])
def test_a_server_gets_the_request_and_the_client_its_answer(free: bool, tmp_path: Path):
    server = Server(status=404, headers=[(b"X-A", b"b"), (b"X-Fc-Foo", b"c")], idle=free)
    headers = [(b"host", b"h:80"), (b"x-fc-foo", b"1"), (b"x-a", b"2")]
    instance, reply = call(
        tmp_path, b"POST", headers, function=WEB, server=server, free=free, body=b"in"
    )
    assert (reply.underway is not None) is free
    assert reply.rest is None
    (asked,) = server.asked
    assert (asked.method, asked.target, asked.body) == (b"POST", b"/a%20b?c=d", b"in")
    assert asked.headers[:2] == [(b"host", b"h:80"), (b"x-a", b"2")]
    assert instance.forwarded == [(ID, False)]
    assert (reply.response.status, reply.body) == (404, b"served")
    assert reply.headers == {"x-fc-request-id": ID, "x-a": "b"}


def test_a_server_is_asked_before_the_body_is_complete(tmp_path: Path):
    async def main() -> None:
        server = Server()
        body = make_body(b"one", complete=False)

        def go_on() -> None:
            body.feed(b"two")
            body.end()

        server.begun = go_on
        calls = Calls(tmp_path, WEB, OneInstance(server=server))
        await calls.send(b"POST", body=body)
        assert server.asked[0].body == b"onetwo"

    run_on_clock(main())


def test_a_server_whose_client_signed_the_body_is_asked_when_that_is_checked(tmp_path: Path):
    async def main() -> None:
        server = Server()
        body = make_body(b"one", complete=False)
        calls = Calls(tmp_path, WEB, OneInstance(server=server))
        headers = sign_call(b"POST", b"onetwo")
        door = make_door(access=Signed())
        calling = asyncio.ensure_future(calls.send(b"POST", headers, body=body, door=door))
        await settle()
        assert server.asked == []
        body.feed(b"two")
        body.end()
        assert (await calling).response.status == 200
        assert server.asked[0].body == b"onetwo"

    run_on_clock(main())


# --- who is let in -------------------------------------------------------------------------------


def sign_call(method: bytes, body: bytes) -> list[Header]:
    lines = [
        (b"host", b"h"),
        (b"x-acs-date", format_date(NOW).encode()),
        (b"x-acs-content-sha256", hashlib.sha256(body).hexdigest().encode()),
    ]
    value = sign(method, b"/asked?for", lines, access_key_id="key", access_key_secret="secret")
    return [*lines, (b"authorization", value)]


FUNCTIONS = pytest.mark.parametrize("function", [EVENT, WEB], ids=["built-in", "custom"])


@FUNCTIONS
def test_a_method_that_the_door_does_not_let_through_is_refused(function, tmp_path: Path):
    instance, reply = call(tmp_path, b"PUT", function=function)
    assert refusal_of(reply) == (403, "AccessDenied")
    assert instance.leased == []


@FUNCTIONS
def test_a_signed_call_is_let_in_and_no_other(function, tmp_path: Path):
    door = make_door(access=Signed())
    settings: dict[str, Any] = {"function": function, "door": door, "body": b"in"}
    _, reply = call(tmp_path, b"POST", sign_call(b"POST", b"in"), **settings)
    assert reply.response.status == 200
    _, reply = call(tmp_path, b"POST", **settings)
    assert refusal_of(reply) == (400, "MissingRequiredHeader")
    for method, signed in ((b"GET", b"in"), (b"POST", b"other")):
        instance, reply = call(tmp_path, b"POST", sign_call(method, signed), **settings)
        assert refusal_of(reply) == (403, "SignatureNotMatch")
        assert instance.leased == []


@FUNCTIONS
def test_a_body_above_the_limit_is_refused(function, tmp_path: Path):
    body = bytes(LIMIT_BYTES + 1)
    instance, reply = call(tmp_path, b"POST", function=function, body=body)
    assert refusal_of(reply) == (400, "InvalidArgument")
    assert instance.leased == []


def test_a_door_to_a_function_that_is_gone_leads_nowhere(tmp_path: Path):
    _, reply = call(tmp_path, door=make_door(function="g"))
    assert refusal_of(reply) == (404, "FunctionNotFound")
    _, reply = call(tmp_path, door=make_door(qualifier="prod"))
    assert refusal_of(reply) == (404, "AliasNotFound")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"runtime": "nodejs20"}, (501, "NotSupported")),
        (
            {"restriction": Restriction(reason="dear", since=datetime(2025, 1, 1, tzinfo=UTC))},
            (403, "AccessDenied"),
        ),
    ],
)
def test_a_function_that_may_not_run_does_not(change, refused, tmp_path: Path):
    _, reply = call(tmp_path, function=replace(EVENT, **change))
    assert refusal_of(reply) == refused


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        ((b"x-fc-invocation-type", b"Async"), (501, "NotSupported")),
        ((b"x-fc-invocation-type", b"x"), (400, "InvalidArgument")),
        ((b"x-fc-log-type", b"x"), (400, "InvalidArgument")),
    ],
)
def test_a_control_header_that_cannot_be_heeded_is_refused(header, refused, tmp_path: Path):
    instance, reply = call(tmp_path, headers=[header])
    assert refusal_of(reply) == refused
    assert instance.leased == []


@FUNCTIONS
@pytest.mark.parametrize(
    ("problem", "refused"),
    [
        (ResourceExhausted("busy"), (429, "ResourceExhausted")),
        (FunctionNotStarted("port 9000"), (412, "FunctionNotStarted")),
    ],
)
def test_what_keeps_instances_from_starting_is_told(function, problem, refused, tmp_path: Path):
    async def main() -> Sent:
        instance = OneInstance()
        instance.refuses = problem
        return await Calls(tmp_path, function, instance).send()

    assert refusal_of(run_on_clock(main())) == refused


def test_a_function_that_changes_while_the_body_arrives_runs_as_it_is_then(tmp_path: Path):
    async def main() -> None:
        body = make_body(complete=False)
        instance = OneInstance()
        calls = Calls(tmp_path, EVENT, instance)
        calling = asyncio.ensure_future(calls.send(b"POST", body=body))
        await settle()
        calls.catalog.put(change(EVENT))
        body.end()
        await calling
        assert [function.generation for function in instance.leased] == [2]

    run_on_clock(main())


def test_a_problem_in_the_middle_of_an_answer_is_not_answered_again(tmp_path: Path):
    async def main() -> None:
        calls = Calls(tmp_path, WEB, OneInstance(server=Server(fails=BadResponse("late"))))
        reply = Sent()
        reply.started = True
        with pytest.raises(PeerLost) as caught:
            await calls.handle(make_request(), reply, make_door())
        assert isinstance(caught.value.__cause__, BadResponse)
        assert reply.response.status == 0

    run_on_clock(main())


# --- tokens --------------------------------------------------------------------------------------


def jwt_door(position: str) -> Door:
    access = Jwt(
        keys=(KEY,),
        lookups=(Lookup(position=position, name="token"),),
        claims=(ClaimPass(position=position, claim="uid", name="x-uid"),),
    )
    return make_door(access=access)


@FUNCTIONS
def test_a_claim_replaces_what_the_client_says_of_itself(function, tmp_path: Path):
    headers = [(b"token", TOKEN), (b"x-uid", b"1"), (b"x-uid", b"2")]
    instance, _ = call(tmp_path, b"GET", headers, function=function, door=jwt_door("header"))
    if function is WEB:
        seen = instance.asked[0].headers
        assert [value for name, value in seen if name == b"x-uid"] == [b"7"]
    else:
        assert msgspec.json.decode(instance.payload)["headers"]["X-Uid"] == "7"


@FUNCTIONS
def test_a_token_may_be_in_a_form_and_so_may_a_claim(function, tmp_path: Path):
    body = b"a=1&x-uid=2&token=" + TOKEN
    instance, _ = call(
        tmp_path, b"POST", [FORM], function=function, door=jwt_door("form"), body=body
    )
    if function is WEB:
        seen = instance.asked[0].body
    else:
        seen = base64.b64decode(msgspec.json.decode(instance.payload)["body"])
    assert seen == b"a=1&token=" + TOKEN + b"&x-uid=7"


def test_a_form_without_a_token_is_refused(tmp_path: Path):
    instance, reply = call(tmp_path, b"POST", [FORM], door=jwt_door("form"), body=b"a=1")
    assert refusal_of(reply) == (401, "AccessDenied")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert instance.leased == []


@FUNCTIONS
@pytest.mark.parametrize("declared", [True, False])
def test_a_form_that_is_looked_into_has_a_limit_of_its_own(function, declared, tmp_path: Path):
    async def main() -> tuple[OneInstance, Sent]:
        instance = OneInstance()
        calls = Calls(tmp_path, function, instance, body_bytes=2 * FORM_BYTES)
        body = make_body(b"a=", complete=False)
        body.declared_bytes = FORM_BYTES + 1 if declared else None
        sending = asyncio.ensure_future(
            calls.send(b"POST", [FORM], door=jwt_door("form"), body=body)
        )
        await settle()
        assert sending.done() is declared
        body.feed(bytes(FORM_BYTES))
        return instance, await sending

    instance, reply = run_on_clock(main())
    assert refusal_of(reply) == (400, "InvalidArgument")
    message = msgspec.json.decode(reply.body)["Message"]
    assert message.startswith(f"the form is larger than {FORM_BYTES} bytes")
    assert instance.leased == []


def test_a_form_of_the_largest_size_is_looked_into(tmp_path: Path):
    body = b"token=" + TOKEN + b"&a="
    body += b"x" * (FORM_BYTES - len(body))
    settings: dict[str, Any] = {"function": WEB, "door": jwt_door("form"), "body": body}
    instance, reply = call(tmp_path, b"POST", [FORM], **settings)
    assert reply.response.status == 200
    assert instance.asked[0].body == body + b"&x-uid=7"


def test_a_form_with_more_fields_than_are_looked_into_is_refused(tmp_path: Path):
    body = b"a&" * FORM_FIELDS + b"token=" + TOKEN
    instance, reply = call(tmp_path, b"POST", [FORM], door=jwt_door("form"), body=body)
    assert refusal_of(reply) == (400, "InvalidArgument")
    assert instance.leased == []


def test_a_form_that_is_not_looked_into_has_no_other_limit_than_a_body(tmp_path: Path):
    body = b"a&" * (LIMIT_BYTES // 2)
    headers = [FORM, (b"token", TOKEN)]
    instance, _ = call(tmp_path, b"POST", headers, function=WEB, door=jwt_door("header"), body=body)
    assert instance.asked[0].body == body


@FUNCTIONS
def test_a_body_that_servers_read_in_several_ways_is_refused_where_a_claim_is_a_field(
    function, tmp_path: Path
):
    for header in ((b"content-encoding", b"deflate"), (b"content-type", b"multipart/form-data")):
        instance, reply = call(
            tmp_path, b"POST", [FORM, header], function=function, door=jwt_door("form"), body=b"a=1"
        )
        assert refusal_of(reply) == (400, "InvalidArgument")
        assert instance.leased == []


def test_a_token_in_the_query_is_looked_for_where_the_client_wrote_it(tmp_path: Path):
    """The address that was asked for counts, not what it is rewritten to."""
    access = Jwt(keys=(KEY,), lookups=(Lookup(position="query", name="token"),))
    door = make_door(access=access, target=b"/?token=" + TOKEN)
    _, reply = call(tmp_path, door=door)
    assert refusal_of(reply) == (401, "AccessDenied")


# --- what is added to answers --------------------------------------------------------------------


@FUNCTIONS
@pytest.mark.parametrize(("concurrency", "shown"), [(1, True), (2, False)])
def test_the_log_comes_to_who_asks_if_it_is_one_requests(
    function, concurrency, shown, tmp_path: Path
):
    function = replace(function, instance_concurrency=concurrency)
    _, reply = call(tmp_path, headers=[TAIL], function=function)
    expected = b64encode(b"log").decode() if shown else None
    assert reply.headers.get("x-fc-log-result") == expected
    _, reply = call(tmp_path, function=function)
    assert "x-fc-log-result" not in reply.headers


@FUNCTIONS
def test_pages_of_other_origins_may_read_answers(function, tmp_path: Path):
    _, reply = call(tmp_path, headers=[ORIGIN], function=function)
    assert reply.headers["access-control-allow-origin"] == "https://a.example"
    assert reply.headers["access-control-allow-credentials"] == "true"


def test_pages_of_other_origins_may_read_why_they_were_refused(tmp_path: Path):
    _, reply = call(tmp_path, b"PUT", [ORIGIN])
    assert refusal_of(reply) == (403, "AccessDenied")
    assert reply.headers["access-control-allow-origin"] == "https://a.example"
    cors = Cors(origins=("https://b.example",))
    _, reply = call(tmp_path, b"PUT", [ORIGIN], door=make_door(cors=cors))
    assert "access-control-allow-origin" not in reply.headers


PREFLIGHT = [ORIGIN, (b"access-control-request-method", b"PUT")]


def test_a_preflight_is_answered_without_the_function(tmp_path: Path):
    instance, reply = call(tmp_path, b"OPTIONS", PREFLIGHT)
    assert reply.response.status == 200
    assert reply.headers["x-fc-request-id"] == ID
    assert reply.headers["access-control-allow-methods"] == "PUT"
    assert instance.leased == []


def test_a_preflight_is_the_functions_if_its_trigger_takes_options(tmp_path: Path):
    instance, _ = call(tmp_path, b"OPTIONS", PREFLIGHT, door=make_door(methods=("OPTIONS",)))
    event = msgspec.json.decode(instance.payload)
    assert event["requestContext"]["http"]["method"] == "OPTIONS"


CORS = Cors(origins=("https://a.example",), methods=("PUT",))


def test_with_settings_a_preflight_that_is_permitted_is_not_for_the_function(tmp_path: Path):
    instance, reply = call(tmp_path, b"OPTIONS", PREFLIGHT, door=make_door(cors=CORS))
    assert reply.response.status == 204
    assert instance.leased == []


@FUNCTIONS
def test_with_settings_a_preflight_that_is_not_permitted_is_the_functions(function, tmp_path: Path):
    preflight = [ORIGIN, (b"access-control-request-method", b"DELETE")]
    door = make_door(cors=CORS)
    instance, reply = call(tmp_path, b"OPTIONS", preflight, function=function, door=door)
    assert reply.response.status == 200
    assert len(instance.leased) == 1
    _, reply = call(tmp_path, b"OPTIONS", [ORIGIN], function=function, door=door)
    assert refusal_of(reply) == (403, "AccessDenied")  # it is no preflight


def test_a_door_with_a_problem_tells_pages_of_its_origins(tmp_path: Path):
    door = make_door(cors=CORS, problem=DomainRouteNotFound("h", "/"), https_only=True)
    instance, reply = call(tmp_path, b"GET", [ORIGIN], door=door)
    assert refusal_of(reply) == (404, "DomainRouteNotFound")
    assert reply.headers["access-control-allow-origin"] == "https://a.example"
    _, reply = call(tmp_path, b"GET", [(b"origin", b"https://b.example")], door=door)
    assert "access-control-allow-origin" not in reply.headers
    assert instance.leased == []


@pytest.mark.parametrize(("peer", "status"), [("10.0.0.1", 200), ("8.8.8.8", 403)])
def test_a_door_from_inside_is_for_peers_with_a_private_address(peer, status, tmp_path: Path):
    _, reply = call(tmp_path, door=make_door(inside_only=True), peer=peer)
    assert reply.response.status == status


# --- the domains of triggers ---------------------------------------------------------------------


@FUNCTIONS
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("default_domain", [True, False])
def test_in_strict_mode_what_comes_from_a_default_domain_is_to_be_saved(
    function, strict, default_domain, tmp_path: Path
):
    door = make_door(attachment=default_domain)
    _, reply = call(tmp_path, function=function, strict=strict, door=door)
    shown = reply.headers.get("content-disposition")
    assert shown == ("attachment" if strict and default_domain else None)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        (b"PUT", [], 403),
        (b"OPTIONS", PREFLIGHT, 200),
        (b"GET", [(b"x-fc-log-type", b"x")], 400),
        (b"GET", [], 502),
    ],
)
def test_in_strict_mode_so_are_the_gateways_own_answers(
    method, headers, status, strict, tmp_path: Path
):
    result = Returned(body=b'{"statusCode": 1}')
    door = make_door(attachment=True)
    _, reply = call(tmp_path, method, headers, result=result, strict=strict, door=door)
    assert reply.response.status == status
    assert reply.headers.get("content-disposition") == ("attachment" if strict else None)


@FUNCTIONS
@pytest.mark.parametrize("strict", [True, False])
def test_in_strict_mode_a_default_domain_does_not_redirect(function, strict, tmp_path: Path):
    result = None
    if function is EVENT:
        result = Returned(body=b'{"statusCode": 302, "headers": {"Location": "/x"}}')
    server = Server(status=302, headers=[(b"Location", b"/x")])
    _, reply = call(
        tmp_path,
        function=function,
        result=result,
        server=server,
        strict=strict,
        door=make_door(attachment=True),
    )
    if strict:
        assert refusal_of(reply) == (400, "ExternalRedirectForbidden")
    else:
        assert (reply.response.status, reply.headers["location"]) == (302, "/x")


# --- HTTPS ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("port", "place"), [(9443, "h:9443"), (443, "h")])
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"PUT"])
def test_a_domain_that_wants_https_sends_its_clients_there(method, port, place, tmp_path: Path):
    door = make_door(https_only=True)
    headers = [(b"host", b"H:80"), *PREFLIGHT]
    instance, reply = call(tmp_path, method, headers, door=door, https_port=port)
    assert reply.response.status == 301
    assert reply.headers == {"x-fc-request-id": ID, "location": f"https://{place}/asked?for"}
    assert instance.leased == []


def test_who_comes_by_https_is_let_in_and_the_server_is_told_so(tmp_path: Path):
    door = make_door(https_only=True)
    instance, reply = call(tmp_path, function=WEB, door=door, secure=True)
    assert reply.response.status == 200
    assert (b"x-forwarded-proto", b"https") in instance.asked[0].headers
