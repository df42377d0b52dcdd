"""Requests to the API before 3.0: two signatures, and functions called by their service."""

import asyncio
import hashlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from calls import Sent, make_body, make_request
from clock import run_on_clock
from fake_instances import make_function
from older import sign_older
from served import OneInstance, finish

from anyfc.errors import (
    AliasNotFound,
    FunctionNotFound,
    ServiceNotFound,
    SignatureNotMatch,
    VersionNotFound,
)
from anyfc.gateway.app import Gateway
from anyfc.gateway.guard import Guard
from anyfc.gateway.invoke import Invoke
from anyfc.gateway.older import Invoked, find_invoked
from anyfc.gateway.runnable import Runnables
from anyfc.identity.key import AccessKey, Caller
from anyfc.identity.signature import format_date, sign
from anyfc.model.function import Code, Service
from anyfc.store.catalog import Catalog
from anyfc.web.message import Response

NOW = 1_750_000_000.0
KEY = ("key", "secret")
ROLE_KEY = ("of-a-role", "secret")
VERSIONS = ("2016-08-15", "2021-04-06")
UNSIGNED = b"x-anyfc-unsigned-body"
DIGEST = hashlib.sha256(b"event").hexdigest()


class Keys:
    def find(self, access_key_id: str, security_token: str, now: float) -> AccessKey:
        role = "reader" if access_key_id == ROLE_KEY[0] else None
        return AccessKey(Caller("1", access_key_id, role), b"secret")


def signed(scheme, method, target, *, key=KEY, headers=(), body=b"event"):
    """A request that is signed in one of the two schemes."""
    if scheme == "FC":
        given = {"host": "h", "content-type": "application/json", **dict(headers)}
        sent = sign_older(method, target, given, key=key, now=NOW)
        lines = [(name.encode(), value.encode()) for name, value in sent.items()]
    else:
        digest = hashlib.sha256(body).hexdigest()
        given = {"x-acs-content-sha256": digest, **dict(headers)}
        given |= {"host": "h", "x-acs-date": format_date(NOW)}
        lines = [(name.encode(), value.encode()) for name, value in given.items()]
        value = sign(
            method.encode(),
            target.encode(),
            lines,
            access_key_id=key[0],
            access_key_secret=key[1],
        )
        lines.append((b"authorization", value))
    return make_request(method.encode(), target.encode(), lines, body=body)


# --- which door ---


class Behind:
    """What is behind the gateway: keeps what came through."""

    def __init__(self) -> None:
        self.invoked: list[tuple[Invoked, bool]] = []
        self.forwarded: list[tuple[bytes, list[tuple[bytes, bytes]]]] = []
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = make_body(b"ok", declared_bytes=2)

    def find(self, host: bytes, target: bytes, invocation_target: bytes | None) -> None:
        return None

    def handle_older(
        self, request: Any, reply: Any, guard: Guard, invoked: Invoked, *, body_signed: bool
    ) -> Any:
        self.invoked.append((invoked, body_signed))
        return reply.send(Response(status=200))

    @asynccontextmanager
    async def ask(self, method: bytes, target: bytes, headers: Any, body: Any) -> Any:
        self.forwarded.append((target, headers))
        yield self


def through(request):
    """Send a request through a gateway; return what came out at its back, and the reply."""

    async def main():
        behind: Any = Behind()
        reply = Sent()
        gateway = Gateway(behind, behind, behind, behind, Keys(), now=lambda: NOW)
        await finish(gateway.handle(request, reply), reply)
        return behind, reply

    return run_on_clock(main())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", ["FC", "ACS3"])
def test_an_invocation_is_told_by_its_path_in_both_versions_and_signatures(version, scheme):
    target = f"/{version}/services/s.prod/functions/f/invocations?qualifier=x"
    behind, reply = through(signed(scheme, "POST", target))
    assert reply.response.status == 200
    assert behind.invoked == [(Invoked("s", "f", "prod"), scheme == "ACS3")]
    assert behind.forwarded == []


@pytest.mark.parametrize(
    ("path", "invoked"),
    [
        ("/2016-08-15/services/s/functions/f/invocations", Invoked("s", "f", "")),
        ("/2021-04-06/services/s%2E1/functions/%66/invocations", Invoked("s", "f", "1")),
        ("/2021-04-06/services/s/functions/f/invocations/", None),
        ("/2021-04-06/services/s/functions//invocations", None),
        ("/2021-04-06/services/s/functions/a/b/invocations", None),
        ("/2021-04-06/services/s/functions/f", None),
    ],
)
def test_only_a_whole_path_is_an_invocation(path, invoked):
    assert find_invoked(make_request(b"POST", path.encode())) == invoked
    assert find_invoked(make_request(b"GET", path.encode())) is None


@pytest.mark.parametrize(("scheme", "told"), [("FC", [b"true"]), ("ACS3", [])])
def test_the_control_api_is_told_whether_the_signature_covers_the_body(scheme, told):
    behind, _ = through(signed(scheme, "POST", "/2016-08-15/services"))
    ((target, headers),) = behind.forwarded
    assert target == b"/2016-08-15/services"
    assert [value for name, value in headers if name == UNSIGNED] == told


@pytest.mark.parametrize(
    ("scheme", "target"),
    [
        ("FC", "/2016-08-15/services"),
        ("ACS3", "/2016-08-15/services"),
        ("ACS3", "/2023-03-30/functions"),
    ],
)
def test_a_client_cannot_say_itself_that_its_body_needs_no_signature(scheme, target):
    request = signed(scheme, "POST", target, headers=[("x-anyfc-unsigned-body", "forged")])
    behind, _ = through(request)
    ((_, headers),) = behind.forwarded
    assert (UNSIGNED, b"forged") not in headers


def test_the_older_signature_does_not_open_version_3_0():
    behind, reply = through(signed("FC", "POST", "/2023-03-30/functions"))
    assert reply.response.status == 403
    assert behind.forwarded == []


@pytest.mark.parametrize("scheme", ["FC", "ACS3"])
@pytest.mark.parametrize(
    ("method", "path", "passes"),
    [
        ("POST", "/services/s/functions/f/invocations", True),
        ("GET", "/services", True),
        ("POST", "/services", False),
        ("DELETE", "/services/s", False),
    ],
)
def test_a_functions_role_may_invoke_and_look_and_change_nothing(scheme, method, path, passes):
    request = signed(scheme, method, "/2021-04-06" + path, key=ROLE_KEY)
    behind, reply = through(request)
    assert bool(behind.invoked or behind.forwarded) is passes
    assert (reply.response.status == 200) is passes


@pytest.mark.parametrize("scheme", ["FC", "ACS3"])
def test_a_wrong_key_opens_nothing(scheme):
    target = "/2016-08-15/services/s/functions/f/invocations"
    behind, reply = through(signed(scheme, "POST", target, key=("key", "wrong")))
    assert msgspec.json.decode(reply.body)["ErrorCode"] == "SignatureNotMatch"
    assert behind.invoked == []


# --- invocations ---

FUNCTION = make_function("s$f", service="s", code=Code(digest="0", checksum="12", size_bytes=1))
SERVICE = Service(
    id="1",
    name="s",
    created_at=datetime(2025, 3, 1, tzinfo=UTC),
    modified_at=datetime(2025, 3, 1, tzinfo=UTC),
)


def invoke(folder, invoked, *, digest="", query="", late=False, free=False):
    """Invoke with the event `event`; `late`: it comes after the head. `digest`: it is signed.

    `free`: an instance is, and nobody needs to wait.
    """

    async def main():
        catalog = Catalog()
        catalog.put(FUNCTION)
        catalog.put_service(SERVICE)
        instance = OneInstance(free=free)
        made = Invoke(
            catalog,
            Runnables(catalog, instance),  # type: ignore[arg-type]  # a small scheduler
            spool_folder=folder,
            sync_body_bytes=1000,
            async_body_bytes=1000,
        )
        body = make_body(complete=False)

        def arrive() -> None:
            body.feed(b"event")
            body.end()

        if late:
            asyncio.get_running_loop().call_later(1, arrive)
        else:
            arrive()
        headers = [(b"x-acs-content-sha256", digest.encode())] if digest else []
        request = make_request(b"POST", b"/x?" + query.encode(), headers, body=body)
        reply = Sent()
        guard = Guard(request, reply, "id")
        rest = made.handle_older(request, reply, guard, invoked, body_signed=bool(digest))
        await finish(rest, reply)
        assert (reply.underway is not None) is (free and not late)
        return instance, reply

    return run_on_clock(main())


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("digest", ["", DIGEST])
def test_a_function_is_found_in_its_service_whether_its_body_is_signed_or_not(
    tmp_path, late, digest, free
):
    instance, reply = invoke(tmp_path, Invoked("s", "f", ""), digest=digest, late=late, free=free)
    assert (instance.payload, reply.body) == (b"event", b"out")
    assert [function.name for function in instance.leased] == ["s$f"]
    assert reply.headers["x-fc-code-checksum"] == "12"


@pytest.mark.parametrize("late", [False, True])
def test_a_body_that_is_not_the_signed_one_is_refused(tmp_path, late):
    with pytest.raises(SignatureNotMatch):
        invoke(tmp_path, Invoked("s", "f", ""), digest="0" * 64, late=late)


def test_the_version_in_the_answer_is_that_of_the_service(tmp_path):
    _, reply = invoke(tmp_path, Invoked("s", "f", "LATEST"))
    headers = reply.headers
    assert headers["x-fc-invocation-service-version"] == "LATEST"
    assert "x-fc-invocation-function-version" not in headers


@pytest.mark.parametrize(
    ("invoked", "query", "error", "message"),
    [
        (Invoked("no", "f", ""), "", ServiceNotFound, "service 'no' does not exist"),
        (Invoked("s", "no", ""), "", FunctionNotFound, "'no' does not exist in service 's'"),
        (Invoked("s", "f", "prod"), "", AliasNotFound, "alias 'prod' of service 's'"),
        (Invoked("s", "f", ""), "qualifier=7", VersionNotFound, "version '7' of service 's'"),
        (Invoked("s", "f", "prod"), "qualifier=7", AliasNotFound, "alias 'prod' of service 's'"),
    ],
)
def test_what_does_not_exist_is_named_as_these_versions_name_it(
    tmp_path, invoked, query, error, message
):
    with pytest.raises(error, match=message):
        invoke(tmp_path, invoked, query=query)
