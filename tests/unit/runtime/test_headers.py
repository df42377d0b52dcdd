"""What every request to a function's own server says."""

from datetime import UTC, datetime

import pytest

from anyfc.identity.key import Credentials
from anyfc.model.function import Function, Hook
from anyfc.runtime.context import Place
from anyfc.runtime.headers import common_head

PLACE = Place(region="cn-hangzhou", account_id="123456")
KEYS = Credentials(access_key_id="STS.id", access_key_secret="secret", security_token="token")
# Documented for every request, but for the two that each request adds.
DOCUMENTED = {
    "x-fc-access-key-id", "x-fc-access-key-secret", "x-fc-security-token", "x-fc-function-name",
    "x-fc-function-handler", "x-fc-function-memory", "x-fc-region", "x-fc-account-id",
    "x-fc-qualifier", "x-fc-version-id", "x-fc-service-logproject", "x-fc-service-logstore",
}  # fmt: skip


def make_function(**settings):
    now = datetime(2025, 1, 1, tzinfo=UTC)
    usual = {"id": "1", "name": "f", "runtime": "custom", "handler": "index.handler", "code": None}
    return Function(**(usual | settings), created_at=now, modified_at=now)


def head(*, credentials=KEYS, version="LATEST", **settings):
    function = make_function(**settings)
    return common_head(
        function, place=PLACE, credentials=credentials, instance_id="c-1", version=version
    )


def said(**settings):
    lines = head(**settings).decode().split("\r\n")
    assert lines.pop() == ""
    pairs = [line.split(": ", 1) for line in lines]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_a_server_is_told_about_its_function_its_keys_and_its_place():
    headers = said(memory_mib=1024, timeout_s=60, log_project="p", log_store="s")
    assert headers.keys() >= DOCUMENTED
    assert headers["x-fc-access-key-id"] == "STS.id"
    assert headers["x-fc-access-key-secret"] == "secret"
    assert headers["x-fc-security-token"] == "token"
    assert headers["x-fc-function-name"] == "f"
    assert headers["x-fc-function-handler"] == "index.handler"
    assert headers["x-fc-function-memory"] == "1024"
    assert headers["x-fc-function-timeout"] == "60"
    assert headers["x-fc-region"] == "cn-hangzhou"
    assert headers["x-fc-account-id"] == "123456"
    assert headers["x-fc-service-logproject"] == "p"
    assert headers["x-fc-service-logstore"] == "s"
    assert headers["x-fc-instance-id"] == "c-1"
    assert headers["x-fc-retry-count"] == "0"


def test_what_is_not_configured_is_there_and_empty():
    headers = said(credentials=Credentials())
    assert headers.keys() >= DOCUMENTED
    for name in (
        "access-key-id", "access-key-secret", "security-token", "version-id", "service-name",
        "service-logproject", "service-logstore", "client-ip",
    ):  # fmt: skip
        assert headers[f"x-fc-{name}"] == ""


@pytest.mark.parametrize("runtime", ["custom.debian11", "custom.debian12"])
def test_newer_images_find_the_token_in_the_environment_only(runtime):
    headers = said(runtime=runtime)
    assert DOCUMENTED - headers.keys() == {"x-fc-security-token"}
    assert headers["x-fc-access-key-id"] == "STS.id"


@pytest.mark.parametrize("runtime", ["custom", "custom.debian10", "custom-container"])
def test_other_images_are_told_the_token(runtime):
    assert said(runtime=runtime)["x-fc-security-token"] == "token"


def test_latest_is_a_qualifier_but_no_version():
    assert said()["x-fc-qualifier"] == "LATEST"
    assert said(version="3")["x-fc-qualifier"] == "3"
    assert said(version="3")["x-fc-version-id"] == "3"


def test_a_function_of_a_service_is_told_both_names():
    headers = said(name="s$f", service="s")
    assert headers["x-fc-service-name"] == "s"
    assert headers["x-fc-function-name"] == "f"


def test_hooks_are_named_only_where_they_are_configured():
    hooks = ("function-initializer", "initialization-timeout", "instance-lifecycle")
    assert not [name for name in said() if any(hook in name for hook in hooks)]
    headers = said(
        initializer=Hook(handler="i", timeout_s=9), pre_stop=Hook(handler="p", timeout_s=5)
    )
    assert headers["x-fc-function-initializer"] == "i"
    assert headers["x-fc-initialization-timeout"] == "9"
    assert headers["x-fc-instance-lifecycle-pre-stop-handler"] == "p"
    assert "x-fc-instance-lifecycle-pre-freeze-handler" not in headers


def test_no_value_can_begin_another_header():
    assert b"x-fc-function-handler: a  x-evil: 1\r\n" in head(handler="a\r\nx-evil: 1")
