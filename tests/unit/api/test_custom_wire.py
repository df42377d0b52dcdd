"""Settings of custom runtimes: who may have them, what they become, how they are shown."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from anyfc.api.wire import RUNTIMES, make, merge, read_create, read_update, show
from anyfc.errors import InvalidArgument
from anyfc.model.function import Code, CustomRuntime, HealthCheck, Hook

NOW = datetime(2024, 1, 2, tzinfo=UTC)
CODE = Code(digest="d" * 64, checksum="1", size_bytes=22)
REQUIRED = {
    "functionName": "f",
    "runtime": "custom.debian10",
    "handler": "h",
    "code": {"zipFile": "UEsFBg=="},
}


def create(**fields):
    function = make(read_create({**REQUIRED, **fields}), function_id="id", now=NOW)
    return replace(function, code=CODE)


def update(old, **fields):
    return merge(old, read_update(fields), code=None, now=NOW)


def shown(function):
    return show(function, region="cn-test", account_id="1")


def test_settings_become_what_they_say_and_are_shown_as_they_were_sent():
    health = {
        "httpGetUrl": "/up?a=b",
        "initialDelaySeconds": 120,
        "periodSeconds": 1,
        "timeoutSeconds": 3,
        "failureThreshold": 9,
        "successThreshold": 8,
    }
    sent = {"command": ["./run"], "args": ["-v", ""], "port": 65535, "healthCheckConfig": health}
    function = create(customRuntimeConfig=sent)
    assert function.custom == CustomRuntime(
        command=("./run",),
        args=("-v", ""),
        port=65535,
        health_check=HealthCheck(
            path="/up?a=b",
            initial_delay_s=120,
            period_s=1,
            timeout_s=3,
            failure_threshold=9,
            success_threshold=8,
        ),
    )
    assert "customRuntimeConfig" not in function.kept
    assert shown(function)["customRuntimeConfig"] == sent


def test_what_was_not_sent_has_defaults():
    function = create(customRuntimeConfig={"healthCheckConfig": {"httpGetUrl": "/up"}})
    assert function.custom == CustomRuntime(health_check=HealthCheck(path="/up"))
    assert shown(function)["customRuntimeConfig"] == {
        "command": [],
        "args": [],
        "port": 9000,
        "healthCheckConfig": {
            "httpGetUrl": "/up",
            "initialDelaySeconds": 0,
            "periodSeconds": 3,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
            "successThreshold": 1,
        },
    }


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != "custom-container"])
def test_every_custom_runtime_has_settings_and_no_other_runtime_has(runtime):
    function = create(runtime=runtime)
    assert function.custom == (CustomRuntime() if runtime.startswith("custom") else None)
    assert ("customRuntimeConfig" in shown(function)) == runtime.startswith("custom")


@pytest.mark.parametrize("config", [{}, {"healthCheckConfig": {}}, {"command": []}])
def test_settings_that_say_nothing_are_no_reason_to_refuse(config):
    assert create(customRuntimeConfig=config).custom == CustomRuntime()
    assert create(runtime="python3.10", customRuntimeConfig=config).custom is None


def test_settings_of_another_runtime_are_refused():
    with pytest.raises(InvalidArgument, match=r"not allowed with runtime python3\.10"):
        create(runtime="python3.10", customRuntimeConfig={"command": ["x"]})
    with pytest.raises(InvalidArgument, match=r"not allowed with runtime python3\.10"):
        update(create(), runtime="python3.10", customRuntimeConfig={"port": 1})


def test_an_update_keeps_replaces_or_drops_the_settings():
    old = create(customRuntimeConfig={"command": ["a"], "port": 80})
    assert update(old, timeout=9).custom == old.custom
    new = update(old, customRuntimeConfig={"command": ["b"]})
    assert new.custom == CustomRuntime(command=("b",))
    assert new.generation == old.generation + 1
    assert update(old, runtime="python3.10").custom is None
    assert update(create(runtime="python3.10"), runtime="custom").custom == CustomRuntime()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"healthCheckConfig": {"httpGetUrl": "up"}}, "healthCheckConfig.httpGetUrl: 'up' must"),
        ({"healthCheckConfig": {"httpGetUrl": "/a b"}}, "must begin with / and hold only"),
        ({"command": ["a\0"]}, r"command\[0\]: 'a.*' holds a NUL character"),
        ({"args": [1]}, r"args\[0\]: 1 is not text"),
    ],
)
def test_settings_that_cannot_work_are_refused(config, message):
    with pytest.raises(InvalidArgument, match=message):
        create(customRuntimeConfig=config)


@pytest.mark.parametrize("handler", ["true", "x", "index.init"])
def test_any_handler_switches_a_hook_of_a_custom_runtime_on(handler):
    hooks = {"initializer": {"handler": handler}, "preStop": {"handler": handler, "timeout": 9}}
    function = create(instanceLifecycleConfig=hooks)
    assert function.initializer == Hook(handler=handler, timeout_s=3)
    assert function.pre_stop == Hook(handler=handler, timeout_s=9)
