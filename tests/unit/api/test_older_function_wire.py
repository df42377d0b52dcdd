"""The fields that functions have in the API before 3.0, and what becomes of them here."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from anyfc.api import wire
from anyfc.api.older.function_wire import make, merge, read_create, read_update, show
from anyfc.errors import InvalidArgument, NotSupported
from anyfc.model.function import Code, CustomRuntime, Function, HealthCheck, Hook

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
CODE = {"zipFile": base64.b64encode(b"zip").decode()}
CUSTOM = "custom.debian10"
CONTAINER = "custom-container"


def made(**fields) -> Function:
    body = {"functionName": "f", "runtime": "python3.10", "handler": "index.handler", "code": CODE}
    sent = read_create({name: value for name, value in (body | fields).items() if value})
    function = make(sent, name="s$f", service="s", function_id="id", now=NOW)
    if sent.package is None:
        return function
    return replace(function, code=Code(digest="0", checksum="12", size_bytes=3))


def changed(old: Function, **fields) -> Function:
    return merge(old, read_update(fields), code=None, now=NOW)


def test_what_is_not_sent_has_the_values_of_these_versions():
    function = made()
    assert (function.name, function.service) == ("s$f", "s")
    assert show(function) == {
        "functionId": "id",
        "functionName": "f",
        "description": "",
        "runtime": "python3.10",
        "handler": "index.handler",
        "timeout": 60,
        "memorySize": 256,
        "cpu": 0.25,
        "diskSize": 512,
        "instanceConcurrency": 1,
        "environmentVariables": {},
        "codeSize": 3,
        "codeChecksum": "12",
        "createdTime": "2024-01-02T03:04:05Z",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
        "initializer": "",
        "initializationTimeout": 3,
        "instanceLifecycleConfig": {
            "preFreeze": {"handler": "", "timeout": 3},
            "preStop": {"handler": "", "timeout": 3},
        },
        "instanceType": "e1",
        "layers": [],
        "layersArnV2": [],
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"description": "d", "timeout": 600, "memorySize": 1024, "cpu": 0.5, "diskSize": 10240},
        {"environmentVariables": {"A": "1"}},
        {"initializer": "index.init", "initializationTimeout": 30},
        {"initializationTimeout": 30},
        {"instanceType": "c1", "instanceSoftConcurrency": 5, "gpuMemorySize": 1024},
        {"customDNS": {"nameServers": ["192.0.2.1"]}},
        {"layers": ["acs:fc:r:1:layers/a/versions/1", "1#b#2"]},
        {"runtime": CUSTOM, "caPort": 8080, "customRuntimeConfig": {"command": ["a"], "args": []}},
        {
            "runtime": CONTAINER,
            "code": None,
            "customContainerConfig": {
                "image": "i",
                "command": '["/a"]',
                "args": '["-a","b"]',
                "accelerationType": "Default",
                "instanceID": "cri-1",
                "webServerMode": False,
            },
        },
    ],
)
def test_a_field_is_shown_as_it_was_sent(fields):
    shown = show(made(**fields))
    assert {name: shown[name] for name in fields if name != "code"} == {
        name: value for name, value in fields.items() if name != "code"
    }


def test_hooks_are_those_of_the_instance():
    function = made(
        initializer="index.init",
        instanceLifecycleConfig={
            "preFreeze": {"handler": "index.rest", "timeout": 5},
            "preStop": {"handler": "index.stop"},
        },
    )
    assert function.initializer == Hook(handler="index.init", timeout_s=3)
    assert function.pre_freeze == Hook(handler="index.rest", timeout_s=5)
    assert function.pre_stop == Hook(handler="index.stop", timeout_s=3)
    without = changed(function, initializer="", instanceLifecycleConfig={"preStop": {}})
    assert (without.initializer, without.pre_freeze, without.pre_stop) == (None, None, None)
    assert without.generation == 2


def test_the_timeout_of_an_initializer_stays_when_the_other_half_changes():
    function = changed(made(initializationTimeout=30), initializer="index.init")
    assert function.initializer == Hook(handler="index.init", timeout_s=30)
    function = changed(function, initializer="index.other")
    assert function.initializer == Hook(handler="index.other", timeout_s=30)
    function = changed(function, initializationTimeout=9)
    assert function.initializer == Hook(handler="index.other", timeout_s=9)


def test_hooks_are_known_to_version_3_0_too():
    function = made(
        initializer="index.init", instanceLifecycleConfig={"preFreeze": {"handler": "index.rest"}}
    )
    shown = wire.show(function, region="r", account_id="1")
    assert shown["instanceLifecycleConfig"] == {
        "initializer": {"handler": "index.init", "timeout": 3}
    }
    sent = wire.read_update({"instanceLifecycleConfig": {}})
    after = wire.merge(function, sent, code=None, now=NOW)
    assert (after.initializer, after.pre_freeze) == (None, function.pre_freeze)


def test_more_memory_brings_the_cores_that_it_needs():
    function = made(memorySize=128)
    assert changed(function, memorySize=256).cpu == function.cpu
    assert changed(function, memorySize=3072).cpu == 0.75
    assert changed(function, memorySize=1024, cpu=0.5).cpu == 0.5
    with pytest.raises(InvalidArgument, match="cpu, memorySize"):
        changed(function, memorySize=3072, cpu=0.1)


def test_cores_alone_bring_the_memory_that_they_need():
    assert made(cpu=1).memory_mib == 1024


def test_settings_of_a_custom_runtime_change_one_by_one():
    function = made(runtime=CUSTOM, caPort=8080, customRuntimeConfig={"command": ["./run"]})
    assert function.custom == CustomRuntime(command=("./run",), port=8080)
    function = changed(function, customHealthCheckConfig={"httpGetUrl": "/up"})
    assert function.custom == CustomRuntime(
        command=("./run",), port=8080, health_check=HealthCheck(path="/up")
    )
    assert show(function)["customHealthCheckConfig"]["httpGetUrl"] == "/up"
    function = changed(function, caPort=9001, customRuntimeConfig={"args": ["a"]})
    assert (function.custom.command, function.custom.args) == ((), ("a",))
    assert (function.custom.port, function.custom.health_check) == (9001, HealthCheck(path="/up"))
    assert changed(function, description="d").custom == function.custom


def test_a_custom_runtime_listens_on_9000_when_nothing_is_said():
    for port in (None, 0):
        assert made(runtime=CUSTOM, caPort=port).custom == CustomRuntime()
    assert show(made(runtime=CUSTOM))["caPort"] == 9000


def test_a_port_of_a_built_in_runtime_means_nothing_and_a_command_is_refused():
    assert made(caPort=9000).custom is None
    with pytest.raises(InvalidArgument, match="customRuntimeConfig"):
        made(customRuntimeConfig={"command": ["a"]})


def test_a_container_is_kept_in_the_shape_of_version_3_0():
    config = {"image": "i", "command": '["/a"]', "args": ["-b"], "instanceID": "cri-1"}
    function = made(runtime=CONTAINER, code=None, customContainerConfig=config)
    shown = wire.show(function, region="r", account_id="1")
    assert shown["customContainerConfig"] == {
        "image": "i",
        "entrypoint": ["/a"],
        "command": ["-b"],
        "acrInstanceId": "cri-1",
    }


@pytest.mark.parametrize("words", ["/a", '{"a": 1}', "[1]", "["])
def test_a_command_of_a_container_must_be_a_list_of_texts(words):
    config = {"image": "i", "command": words}
    with pytest.raises(InvalidArgument, match=r"customContainerConfig\.command"):
        made(runtime=CONTAINER, code=None, customContainerConfig=config)


def test_layers_are_objects_in_version_3_0():
    function = made(layers=["1#b#2"])
    shown = wire.show(function, region="r", account_id="1")
    assert shown["layers"] == [{"arn": "1#b#2", "size": 0}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"functionName": "a$b"}, "functionName"),
        ({"functionName": None}, "functionName: required"),
        ({"runtime": "cobol"}, "runtime"),
        ({"handler": None}, "handler: required"),
        ({"code": None}, "code"),
        ({"runtime": CONTAINER}, "code"),
        ({"runtime": CONTAINER, "code": None}, "customContainerConfig"),
        ({"timeout": 86401}, "timeout"),
        ({"memorySize": 100}, "memorySize"),
        ({"initializationTimeout": 301}, "initializationTimeout"),
        ({"instanceLifecycleConfig": {"preFreeze": {"timeout": 91}}}, "preFreeze.timeout"),
        ({"instanceConcurrency": 2}, "instanceConcurrency"),
        ({"environmentVariables": {"FC_A": "1"}}, "environmentVariables"),
        ({"layers": ["a"] * 6}, "layers"),
        ({"customContainerConfig": {"command": "[]"}}, "customContainerConfig.image"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(fields, message):
    with pytest.raises(InvalidArgument, match=message):
        made(**fields)


def test_code_in_object_storage_is_not_supported():
    with pytest.raises(NotSupported, match="ossBucketName"):
        made(code={"ossBucketName": "b", "ossObjectName": "o"})


def test_a_role_of_the_function_is_none_of_its_fields():
    assert made(role="acs:ram::1:role/r").role == ""
