"""InvokeFunction: from the headers of a request to an invocation."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from calls import Sent, make_body, make_request
from clock import run_on_clock
from fake_instances import make_function
from served import OneInstance, finish

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
from anyfc.gateway.guard import Guard
from anyfc.gateway.invoke import Invoke
from anyfc.gateway.runnable import Runnables
from anyfc.model.function import Code, Restriction
from anyfc.model.invocation import InitializationFailed, Invocation, Result
from anyfc.store.catalog import Catalog

ID = "1-65d71219-15d63510-fecf237c590c"
CODE = Code(digest="00", checksum="123", size_bytes=9)
FUNCTION = make_function("f", code=CODE)
SYNC_BYTES = 1024 * 1024
ASYNC_BYTES = 1024


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
    free: bool = False,
    **fields: bytes,
) -> tuple[OneInstance, Sent]:
    """Invoke; with `pieces` the body comes only after the head. `free`: nobody needs to wait."""

    async def main() -> tuple[OneInstance, Sent]:
        catalog = Catalog()
        catalog.put(function)
        scheduler = OneInstance(result, free=free)
        invoke = Invoke(
            catalog,
            Runnables(catalog, scheduler),  # type: ignore[arg-type]  # a small one
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
        guard = Guard(request, reply, ID)

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
            await finish(invoke.handle(request, reply, guard, name), reply)
        else:
            arriving = asyncio.ensure_future(arrive())
            try:
                await finish(invoke.handle(request, reply, guard, name), reply)
            finally:
                arriving.cancel()
        assert scheduler.leases == 0
        assert (reply.underway is not None) is (free and not pieces)
        return scheduler, reply

    return run_on_clock(main())


def test_the_body_is_the_event(tmp_path: Path):
    scheduler, reply = call(tmp_path)
    (invocation,) = scheduler.invocations
    assert invocation == Invocation(request_id=ID, payload=b"event", want_log_tail=False)
    assert reply.body == b"out"


def test_where_nobody_has_to_wait_the_answer_is_the_same(tmp_path: Path):
    scheduler, reply = call(tmp_path, free=True, x_fc_log_type=b"Tail")
    assert scheduler.forwarded == [(ID, True)]
    assert scheduler.payload == b"event"
    _, waited_for = call(tmp_path, x_fc_log_type=b"Tail")
    assert (reply.body, reply.headers) == (b"out", waited_for.headers)


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
    _, reply = call(tmp_path, result=InitializationFailed(body=b"{}"))
    assert reply.headers["x-fc-error-type"] == "InitializationError"
    assert reply.body == b"{}"


@pytest.mark.parametrize("query", [b"", b"qualifier=LATEST", b"qualifier=", b"a=b", b"a&&=;%"])
def test_without_a_qualifier_the_latest_state_runs(query: bytes, tmp_path: Path):
    assert call(tmp_path, query=query)[1].body == b"out"


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
    assert call(tmp_path, name=b"%66")[1].body == b"out"


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
