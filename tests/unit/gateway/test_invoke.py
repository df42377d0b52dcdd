"""InvokeFunction: from headers to an invocation, and from a result to headers."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from calls import Sent, make_body, make_request
from clock import run_on_clock
from fake_instances import make_function
from transport import read_responses

from anyfc.errors import (
    AccessDenied,
    AliasNotFound,
    EntityTooLarge,
    FunctionNotFound,
    InvalidArgument,
    NotSupported,
    SignatureNotMatch,
    VersionNotFound,
)
from anyfc.gateway.invoke import Invoke, present
from anyfc.model.function import Code, Restriction
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Invocation,
    Raised,
    Report,
    Result,
    Returned,
    TimedOut,
)
from anyfc.store.catalog import Catalog
from anyfc.web.message import Response

ID = "1-65d71219-15d63510-fecf237c590c"
CODE = Code(digest="00", checksum="123", size_bytes=9)
FUNCTION = make_function("f", code=CODE)
SYNC_BYTES = 1024 * 1024
ASYNC_BYTES = 1024


class OneInstance:
    """A scheduler with one instance, which gives one result."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self.invocations: list[Invocation] = []
        self.payload = b""
        self.leases = 0

    @asynccontextmanager
    async def lease(self, function: Any, version: Any) -> AsyncIterator[Any]:
        self.leases += 1
        yield self._result if isinstance(self._result, InitializationFailed) else self
        self.leases -= 1

    async def run(self, invocation: Invocation) -> Report:
        self.invocations.append(invocation)
        event = invocation.payload
        self.payload = event if isinstance(event, bytes) else b"".join(event.pieces())
        return make_report(self._result)


def make_report(result: Result, **settings: Any) -> Report:
    usual = {"duration_ms": 1.234, "peak_memory_mib": 9.5, "instance_id": "c-1", "cold": False}
    return Report(result=result, **(usual | settings))


def call(
    folder: Path,
    payload: bytes = b"event",
    *,
    name: bytes = b"f",
    query: bytes = b"",
    function: Any = FUNCTION,
    result: Result | None = None,
    pieces: int = 0,
    digest: bytes = b"",
    **fields: bytes,
) -> tuple[OneInstance, Response]:
    """Invoke; with `pieces` the body comes only after the head."""

    async def main() -> tuple[OneInstance, Response]:
        catalog = Catalog()
        catalog.put(function)
        scheduler = OneInstance(result or Returned(body=b"out"))
        invoke = Invoke(
            catalog,
            scheduler,  # type: ignore[arg-type]  # what Invoke sees of it
            spool_folder=folder,
            sync_body_bytes=SYNC_BYTES,
            async_body_bytes=ASYNC_BYTES,
        )
        body = make_body(complete=False, declared_bytes=None if pieces else len(payload))
        claimed = digest or hashlib.sha256(payload).hexdigest().encode()
        headers = [(b"x-acs-content-sha256", claimed)]
        headers += [(key.replace("_", "-").encode(), value) for key, value in fields.items()]
        target = b"/" + name + (b"?" + query if query else b"")
        request = make_request(b"POST", target, headers, body=body)
        reply = Sent()

        async def arrive() -> None:
            for n in range(pieces):
                await asyncio.sleep(1)
                piece = payload[len(payload) * n // pieces : len(payload) * (n + 1) // pieces]
                if piece:
                    body.feed(piece)
            body.end()

        if not pieces:
            body.feed(payload)
            body.end()
            await invoke.handle(request, reply, ID, name)
        else:
            arriving = asyncio.ensure_future(arrive())
            try:
                await invoke.handle(request, reply, ID, name)
            finally:
                arriving.cancel()
        assert scheduler.leases == 0
        return scheduler, reply.response

    return run_on_clock(main())


def headers_of(response: Response) -> dict[bytes, bytes]:
    wire = b"HTTP/1.1 200 OK\r\n" + response.head + b"Content-Length: 0\r\n\r\n"
    headers = read_responses(wire)[0].headers
    del headers[b"content-length"]
    return headers


def shown(result: Result, **settings: Any) -> tuple[dict[bytes, bytes], Any]:
    want_log_tail = settings.pop("want_log_tail", False)
    invocation = Invocation(
        request_id=ID,
        function="f",
        qualifier="LATEST",
        payload=b"",
        want_log_tail=want_log_tail,
    )
    response = present(make_report(result, **settings), invocation, FUNCTION)
    assert response.status == 200
    return headers_of(response), response.body


# --- a result becomes a response ----------------------------------------------------------------


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
    invocation = Invocation(request_id=ID, function="f", qualifier="LATEST", payload=b"")
    response = present(make_report(kind(body=Stream())), invocation, FUNCTION)
    assert response.length_bytes == 5
    assert isinstance(response.body, Stream)


# --- a request becomes an invocation ------------------------------------------------------------


def test_the_body_is_the_event(tmp_path: Path):
    scheduler, response = call(tmp_path)
    (invocation,) = scheduler.invocations
    assert invocation == Invocation(
        request_id=ID, function="f", qualifier="LATEST", payload=b"event", want_log_tail=False
    )
    assert response.body == b"out"


@pytest.mark.parametrize("payload", [b"", b"event", bytes(500_000), bytes(SYNC_BYTES)])
def test_an_event_that_comes_slowly_is_the_same(payload: bytes, tmp_path: Path):
    scheduler, _ = call(tmp_path, payload, pieces=7)
    assert scheduler.payload == payload
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pieces", [0, 3])
def test_a_body_that_is_not_the_signed_one_is_refused(pieces: int, tmp_path: Path):
    with pytest.raises(SignatureNotMatch):
        call(tmp_path, pieces=pieces, digest=b"0" * 64)


@pytest.mark.parametrize("pieces", [0, 3])
def test_a_body_above_the_limit_is_refused(pieces: int, tmp_path: Path):
    with pytest.raises(EntityTooLarge):
        call(tmp_path, bytes(SYNC_BYTES + 1), pieces=pieces)


def test_the_failure_of_an_initializer_is_shown_like_a_result(tmp_path: Path):
    _, response = call(tmp_path, result=InitializationFailed(body=b"{}"))
    assert headers_of(response)[b"x-fc-error-type"] == b"InitializationError"
    assert response.body == b"{}"


@pytest.mark.parametrize("query", [b"", b"qualifier=LATEST", b"qualifier=", b"a=b", b"a&&=;%"])
def test_without_a_qualifier_the_latest_state_runs(query: bytes, tmp_path: Path):
    assert call(tmp_path, query=query)[0].invocations[0].qualifier == "LATEST"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (b"qualifier=1", VersionNotFound),
        (b"a=b&qualifier=%31", VersionNotFound),
        (b"qualifier=prod", AliasNotFound),
        (b"qualifier=latest", AliasNotFound),
        (b"qualifier=%ff", AliasNotFound),
    ],
)
def test_a_qualifier_that_leads_nowhere_is_said_so(query, error, tmp_path: Path):
    with pytest.raises(error):
        call(tmp_path, query=query)


@pytest.mark.parametrize("name", [b"g", b"", b"%66%2F", b"%ff", b"f/g"])
def test_a_function_that_is_not_there_is_said_so(name: bytes, tmp_path: Path):
    with pytest.raises(FunctionNotFound):
        call(tmp_path, name=name)


def test_an_escaped_name_is_the_same_name(tmp_path: Path):
    assert call(tmp_path, name=b"%66")[0].invocations[0].function == "f"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(b"Tail", True), (b"tail ", True), (b"None", False), (b"NONE", False)],
)
def test_the_log_type_is_tail_or_none(value: bytes, wanted: bool, tmp_path: Path):
    scheduler, _ = call(tmp_path, x_fc_log_type=value)
    assert scheduler.invocations[0].want_log_tail is wanted


@pytest.mark.parametrize("field", ["x_fc_log_type", "x_fc_invocation_type"])
@pytest.mark.parametrize("value", [b"", b"all", b"\xff"])
def test_a_control_header_with_another_value_is_refused(field, value, tmp_path: Path):
    with pytest.raises(InvalidArgument):
        call(tmp_path, **{field: value})


@pytest.mark.parametrize("value", [b"Sync", b"sync "])
def test_a_synchronous_invocation_may_say_so(value: bytes, tmp_path: Path):
    assert call(tmp_path, x_fc_invocation_type=value)[1].body == b"out"


def test_an_asynchronous_invocation_is_refused_and_has_its_own_limit(tmp_path: Path):
    with pytest.raises(NotSupported, match="X-Fc-Invocation-Type"):
        call(tmp_path, x_fc_invocation_type=b"Async")
    with pytest.raises(EntityTooLarge):
        call(tmp_path, bytes(ASYNC_BYTES + 1), x_fc_invocation_type=b"Async")


def test_a_runtime_that_cannot_be_run_is_said_so(tmp_path: Path):
    with pytest.raises(NotSupported, match=r"runtime 'nodejs20' of function 'f'"):
        call(tmp_path, function=replace(FUNCTION, runtime="nodejs20"))


def test_a_function_whose_invocations_are_disabled_does_not_run(tmp_path: Path):
    stopped = Restriction(reason="too dear", since=datetime(2025, 1, 1, tzinfo=UTC))
    with pytest.raises(AccessDenied, match="too dear"):
        call(tmp_path, function=replace(FUNCTION, restriction=stopped))
