"""Functions behind tokens on a real server: nobody gets around a token, or around its claims."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from alibabacloud_fc20230330 import models
from support import ServerProcess, create_function
from transport import Seen
from wire import Raw

SECRET = os.urandom(32)
KEY = {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
SHOW = """
import json
from http.cookies import SimpleCookie


def handler(event, context):
    call = json.loads(event)
    cookies = SimpleCookie(call["headers"].get("Cookie", ""))
    seen = {name: cookie.value for name, cookie in cookies.items()}
    return json.dumps([call["queryParameters"], call["headers"].get("X-User"), seen])
"""

Ask = Callable[..., Seen]


@pytest.fixture
def guard(sdk: Any, server: ServerProcess) -> Iterator[Callable[..., Ask]]:
    """Make a function that shows its callers, behind a trigger with some settings."""
    names: list[str] = []

    def make(**settings: Any) -> Ask:
        names.append(create_function(sdk, SHOW))
        settings = {
            "jwks": {"keys": [KEY]},
            "tokenLookup": "header:Authorization:Bearer",
        } | settings
        config = {"methods": ["GET", "POST"], "authType": "jwt", "authConfig": settings}
        trigger = models.CreateTriggerInput(
            trigger_name="web", trigger_type="http", trigger_config=json.dumps(config)
        )
        request = models.CreateTriggerRequest(body=trigger)
        made = sdk.create_trigger(names[-1], request).body
        host = urlsplit(made.http_trigger.url_internet).netloc

        def ask(target: bytes, *lines: str, claims: dict[str, str] | None = None) -> Seen:
            if claims is not None:
                lines += ("Authorization: Bearer " + jwt.encode(claims, SECRET, "HS256"),)
            method = b"POST" if any(line.startswith("Content-") for line in lines) else b"GET"
            head = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + host.encode()]
            head += [line.encode() for line in lines]
            with Raw(server) as raw:
                return raw.ask(b"\r\n".join([*head, b"", b""]))

        return ask

    yield make
    for name in names:
        sdk.delete_trigger(name, "web")
        sdk.delete_function(name)


def test_a_guarded_path_needs_a_token_however_it_is_spelled(guard: Callable[..., Ask]) -> None:
    ask = guard(blacklist=["/admin/*", "/secret"])
    assert ask(b"/open").status == 200
    for target in (
        b"/secret",
        b"/secret/",
        b"/SECRET",
        b"/secret%3f",
        b"/%2573ecret",
        b"//x/admin/a",
        b"/\\x/admin/a",
        b"/x/../admin//../a",
        b"/x%2f..%2fadmin/a",
    ):
        assert ask(target).status == 401, target
    for target in (b"/secret#", b"/x/../admin/a#/../../../open"):
        assert ask(target).status == 400, target
    assert ask(b"//x/admin/a", claims={}).status == 200


def test_no_claim_is_the_clients_own(guard: Callable[..., Ask]) -> None:
    ask = guard(claimPassBy="header:sub:x-user,query:sub:u_id,cookie:sub:u_id", whitelist="/open")
    query = b"?u.id=evil&[u_id]=evil&%20u_id=evil&u%5bid=evil&a=b"
    lines = ("X.User: evil", "X_User: evil", "Cookie: a=b u_id=evil; u_id[]=evil; c=d")
    for path, claims, own in (
        (b"/", {"sub": "7"}, {"u_id": "7"}),
        (b"/", {}, {}),
        (b"/open", None, {}),
    ):
        seen = json.loads(ask(path + query, *lines, claims=claims).body)
        assert seen == [{"a": "b", **own}, own.get("u_id"), {"a": "b", "c": "d", **own}]


def test_a_form_that_is_too_large_to_be_looked_into_is_refused_before_it_arrives(
    guard: Callable[..., Ask],
) -> None:
    ask = guard(tokenLookup="form:token")
    form = "Content-Type: application/x-www-form-urlencoded"
    refused = ask(b"/", form, f"Content-Length: {32 * 1024 * 1024}")
    assert refused.status == 400
    assert "the form is larger than 1048576 bytes" in json.loads(refused.body)["Message"]
