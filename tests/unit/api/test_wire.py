"""What creates and updates make of a function as a whole, and how it is shown."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from anyfc.api.wire import (
    RUNTIMES,
    Sent,
    make,
    merge,
    read_create,
    read_update,
    show,
    show_in_list,
)
from anyfc.errors import InvalidArgument, NotSupported
from anyfc.model.function import Code, Function, Hook, Restriction

NOW = datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
LATER = datetime(2024, 1, 2, 4, 4, 5, tzinfo=UTC)
CODE = Code(digest="d" * 64, checksum="2220831586920633690", size_bytes=22)
REQUIRED = {
    "functionName": "my-func",
    "runtime": "python3.10",
    "handler": "index.handler",
    "code": {"zipFile": "UEsFBg=="},
}
ARN = "acs:fc:cn-test:123456:layers/my-layer/versions/1"


def create(**fields) -> Function:
    sent = read_create({**REQUIRED, **fields})
    return replace(make(sent, function_id="id", now=NOW), code=CODE)


def shown(function: Function) -> dict:
    return show(function, region="cn-test", account_id="123456")


def update(old: Function, code: Code | None = None, **fields) -> Function:
    package = {"code": REQUIRED["code"]} if code else {}
    return merge(old, read_update({**fields, **package}), code=code, now=LATER)


@pytest.mark.parametrize("field", ["functionName", "runtime", "handler", "code"])
def test_a_required_field_that_is_left_out_is_named(field):
    with pytest.raises(InvalidArgument, match=f"{field}: "):
        create(**{field: None})


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != "custom-container"])
def test_every_runtime_of_the_documentation_is_accepted(runtime):
    assert create(runtime=runtime).runtime == runtime


def test_what_is_left_out_gets_the_documented_defaults():
    function = create()
    assert (function.timeout_s, function.memory_mib, function.cpu) == (3, 512, 0.35)
    assert (function.disk_mib, function.instance_concurrency) == (512, 1)
    assert shown(function) == {
        "functionName": "my-func",
        "functionArn": "acs:fc:cn-test:123456:functions/my-func",
        "functionId": "id",
        "description": "",
        "runtime": "python3.10",
        "handler": "index.handler",
        "cpu": 0.35,
        "memorySize": 512,
        "diskSize": 512,
        "timeout": 3,
        "instanceConcurrency": 1,
        "internetAccess": True,
        "codeSize": 22,
        "codeChecksum": "2220831586920633690",
        "environmentVariables": {},
        "layers": [],
        "role": "",
        "vpcConfig": {"vpcId": "", "vSwitchIds": [], "securityGroupId": ""},
        "nasConfig": {"userId": 0, "groupId": 0, "mountPoints": []},
        "ossMountConfig": {"mountPoints": []},
        "tracingConfig": {},
        "disableOndemand": False,
        "logConfig": {
            "project": "",
            "logstore": "",
            "enableRequestMetrics": False,
            "enableInstanceMetrics": False,
            "logBeginRule": "None",
        },
        "instanceIsolationMode": "SHARE",
        "sessionAffinity": "NONE",
        "tags": [],
        "state": "Active",
        "stateReason": "",
        "stateReasonCode": "",
        "lastUpdateStatus": "Successful",
        "lastUpdateStatusReason": "",
        "lastUpdateStatusReasonCode": "",
        "createdTime": "2024-01-02T03:04:05Z",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
    }


def test_a_function_in_a_list_is_shown_without_its_state():
    listed = show_in_list(create(), region="cn-test", account_id="123456")
    whole = shown(create())
    assert {name: whole[name] for name in listed} == listed
    assert all(name.startswith(("state", "lastUpdateStatus")) for name in whole.keys() - listed)


@pytest.mark.parametrize(
    ("sent", "cpu", "memory"),
    [
        ({}, 0.35, 512),
        ({"memorySize": 128}, 0.1, 128),
        ({"memorySize": 1024}, 0.35, 1024),
        ({"memorySize": 2048}, 0.5, 2048),
        ({"memorySize": 32768}, 8, 32768),
        ({"cpu": 0.05}, 0.05, 192),
        ({"cpu": 0.5}, 0.5, 512),
        ({"cpu": 1}, 1, 1024),
        ({"cpu": 16}, 16, 16384),
        ({"cpu": 0.35, "memorySize": 512}, 0.35, 512),
        ({"cpu": "1", "memorySize": "4096"}, 1, 4096),
    ],
)
def test_the_size_that_is_left_out_fits_the_one_that_is_sent(sent, cpu, memory):
    function = create(**sent)
    assert (function.cpu, function.memory_mib) == (cpu, memory)


def test_any_cpu_or_memory_alone_is_a_legal_size():
    for steps in range(1, 321):
        assert create(cpu=steps / 20).cpu == steps / 20
    for memory_mib in range(128, 32769, 64):
        assert create(memorySize=memory_mib).memory_mib == memory_mib


@pytest.mark.parametrize(("cpu", "memory"), [(1, 960), (1, 4160), (0.05, 256), (16, 512)])
def test_cpu_and_memory_that_do_not_fit_are_refused(cpu, memory):
    with pytest.raises(InvalidArgument, match=r"cpu, memorySize: .* between 1:1 and 1:4"):
        create(cpu=cpu, memorySize=memory)


def test_keys_are_found_whatever_their_case_and_nulls_are_nothing():
    function = create(Timeout=60, TAGS=[{"key": "k", "value": "v"}], memorySize=None, extra=1)
    assert function.timeout_s == 60
    assert function.memory_mib == 512
    assert function.kept["tags"] == [{"Key": "k", "Value": "v"}]


def test_layers_are_sent_as_names_and_returned_as_objects():
    assert shown(create(layers=[ARN]))["layers"] == [{"arn": ARN, "size": 0}]


def test_an_official_layer_is_accepted():
    arn = "acs:fc:cn-hangzhou:official:layers/Python3-Flask2x/versions/2"
    assert shown(create(layers=[arn]))["layers"] == [{"arn": arn, "size": 0}]


def test_a_hook_without_a_timeout_gets_three_seconds():
    function = create(instanceLifecycleConfig={"preStop": {"handler": "index.stop"}})
    assert function.pre_stop == Hook(handler="index.stop", timeout_s=3)


@pytest.mark.parametrize("hook", [{"handler": ""}, {"handler": "", "timeout": 5}, {}, None])
def test_an_empty_handler_switches_a_hook_off(hook):
    old = create(instanceLifecycleConfig={"initializer": {"handler": "index.init"}})
    new = update(old, instanceLifecycleConfig={"initializer": hook})
    assert new.initializer is None
    assert "instanceLifecycleConfig" not in shown(new)


def test_a_hook_by_command_is_kept_beside_one_by_handler():
    hooks = {
        "initializer": {"command": ["a"], "timeout": 9},
        "preStop": {"handler": "h.s", "timeout": 2},
    }
    function = create(instanceLifecycleConfig=hooks)
    assert function.initializer is None
    assert function.pre_stop == Hook(handler="h.s", timeout_s=2)
    assert shown(function)["instanceLifecycleConfig"] == hooks


def test_the_empty_lists_of_the_python_sdk_are_nothing():
    hooks = {"initializer": {"command": [], "handler": "index.init"}}
    function = create(tags=[], layers=[], instanceLifecycleConfig=hooks)
    assert function.initializer == Hook(handler="index.init", timeout_s=3)


def test_a_block_that_is_sent_in_part_is_returned_whole():
    assert shown(create(vpcConfig={"vpcId": "v"}))["vpcConfig"] == {
        "vpcId": "v",
        "vSwitchIds": [],
        "securityGroupId": "",
    }


@pytest.mark.parametrize(
    "code",
    [
        {},
        {"zipFile": ""},
        {"checksum": "1"},
        {"ossBucketName": "bucket"},
        {"ossObjectName": "object"},
        {"zipFile": "QQ==", "ossBucketName": "bucket", "ossObjectName": "object"},
    ],
)
def test_code_in_neither_or_both_places_is_refused(code):
    for read in (lambda: create(code=code), lambda: read_update({"code": code})):
        with pytest.raises(InvalidArgument, match=r"code: .*ossBucketName"):
            read()


def test_code_from_object_storage_is_not_supported():
    with pytest.raises(NotSupported, match="send the package"):
        create(code={"ossBucketName": "bucket", "ossObjectName": "object"})


@pytest.mark.parametrize("checksum", ["-1", "0x1", "1" * 21])
def test_a_checksum_that_is_no_decimal_number_is_refused(checksum):
    with pytest.raises(InvalidArgument, match=r"code\.checksum: "):
        create(code={"zipFile": "QQ==", "checksum": checksum})


def test_a_package_and_its_checksum_are_handed_on():
    package = read_create({**REQUIRED, "code": {"zipFile": "QUI=", "checksum": "7"}}).package
    assert package is not None
    assert (package.data, package.checksum) == (b"AB", "7")


def make_container(**fields) -> Function:
    body = {**REQUIRED, "runtime": "custom-container", **fields}
    del body["code"]
    return make(read_create(body), function_id="id", now=NOW)


def test_a_container_has_an_image_in_place_of_code():
    function = make_container(customContainerConfig={"image": "i"}, instanceConcurrency=200)
    assert (shown(function)["codeSize"], shown(function)["codeChecksum"]) == (0, "")


def test_a_container_without_an_image_is_refused():
    with pytest.raises(InvalidArgument, match="customContainerConfig: required with runtime"):
        make_container()


def test_a_container_with_code_is_refused():
    with pytest.raises(InvalidArgument, match="code: needed with every runtime but"):
        create(runtime="custom-container", customContainerConfig={"image": "i"})
    with pytest.raises(InvalidArgument, match="code: not allowed with runtime custom-container"):
        update(make_container(customContainerConfig={"image": "i"}), code=CODE)


def test_a_container_cannot_become_a_runtime_without_its_code():
    old = make_container(customContainerConfig={"image": "i"})
    with pytest.raises(InvalidArgument, match=r"code: required with runtime python3\.9"):
        update(old, runtime="python3.9")
    assert update(old, CODE, runtime="python3.9").code == CODE


def test_a_function_that_becomes_a_container_loses_its_code():
    new = update(create(), runtime="custom-container", customContainerConfig={"image": "i"})
    assert new.code is None


def test_a_custom_runtime_may_serve_many_requests_at_once():
    function = create(runtime="custom", instanceConcurrency=200)
    with pytest.raises(InvalidArgument, match="instanceConcurrency: 200 is not 1"):
        update(function, runtime="python3.10")


def test_an_exclusive_instance_needs_two_cpus_and_one_request():
    create(cpu=2, memorySize=2048, instanceIsolationMode="SESSION_EXCLUSIVE")
    with pytest.raises(InvalidArgument, match="instanceIsolationMode REQUEST_EXCLUSIVE allows"):
        create(
            runtime="custom",
            cpu=2,
            memorySize=2048,
            instanceConcurrency=2,
            instanceIsolationMode="REQUEST_EXCLUSIVE",
        )


def test_an_update_changes_what_is_sent_and_nothing_else():
    old = create(timeout=60, environmentVariables={"A": "1", "B": "2"}, description="old")
    new = update(old, environmentVariables={"C": "3"}, vpcConfig={"vpcId": "v"})
    assert new == replace(
        old,
        environment={"C": "3"},
        kept={"vpcConfig": {"vpcId": "v"}},
        modified_at=LATER,
        generation=2,
    )


def test_an_update_of_the_name_or_the_tags_is_ignored():
    old = create(tags=[{"Key": "k", "Value": "v"}], resourceGroupId="rg")
    assert update(old, functionName="g", tags=[], resourceGroupId="other") == replace(
        old, modified_at=LATER
    )


def test_an_update_that_does_not_fit_the_rest_is_refused():
    with pytest.raises(InvalidArgument, match="cpu, memorySize"):
        update(create(), memorySize=4096)


def test_an_idle_timeout_of_minus_one_clears_it():
    old = create(idleTimeout=60)
    assert "idleTimeout" not in shown(update(old, idleTimeout=-1))


SEEN = [
    {"handler": "index.other"},
    {"runtime": "python3.12"},
    {"timeout": 4},
    {"memorySize": 1024},
    {"cpu": 0.5},
    {"diskSize": 10240},
    {"environmentVariables": {"A": "1"}},
    {"role": "acs:ram::1:role/r"},
    {"instanceLifecycleConfig": {"preStop": {"handler": "index.stop"}}},
    {"logConfig": {"project": "p"}},
    {"layers": [ARN]},
    {"customDNS": {"nameServers": ["1.1.1.1"]}},
]
UNSEEN = [
    {},
    {"description": "new"},
    {"idleTimeout": 9},
    {"timeout": 3},
    {"handler": "index.handler"},
]


@pytest.mark.parametrize("fields", SEEN, ids=str)
def test_what_instances_must_see_makes_a_new_generation(fields):
    assert update(create(), **fields).generation == 2


@pytest.mark.parametrize("fields", UNSEEN, ids=str)
def test_what_instances_need_not_see_keeps_the_generation(fields):
    new = update(create(), **fields)
    assert (new.generation, new.modified_at) == (1, LATER)


def test_new_code_makes_a_new_generation_and_the_same_code_does_not():
    assert update(create(), replace(CODE, digest="e" * 64)).generation == 2
    assert update(create(), CODE).generation == 1


def test_a_restriction_is_shown():
    function = replace(create(), restriction=Restriction(reason="why", since=NOW))
    assert shown(function)["invocationRestriction"] == {
        "disable": True,
        "reason": "why",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
    }


def test_reading_leaves_out_what_was_not_sent():
    assert read_update({}) == Sent(values={}, kept={}, package=None)
