"""Functions through the control API, on a real store."""

import base64
import hashlib
from urllib.parse import parse_qsl, quote, urlsplit

import fastcrc
import pytest
from alibabacloud_fc20230330 import models

from anyfc.api.pages import LIMIT
from anyfc.model.function import Hook

FUNCTIONS = "/2023-03-30/functions"
EVERYTHING = {
    "runtime": "custom",
    "description": "d",
    "idleTimeout": 60,
    "disableInjectCredentials": "All",
    "enableLongLiving": False,
    "resourceGroupId": "rg",
    "sessionAffinity": "HEADER_FIELD",
    "sessionAffinityConfig": '{"affinityHeaderFieldName": "session"}',
    "layers": ["acs:fc:cn-test:123456:layers/my-layer/versions/1"],
    "polarFsConfig": {"userId": 1, "groupId": 1, "mountPoints": []},
    "juiceFsConfig": {"envs": {}, "mountPoints": []},
    "tracingConfig": {"type": "Jaeger", "params": {"endpoint": "e"}},
    "customDNS": {"nameServers": ["1.1.1.1"], "searches": [], "dnsOptions": []},
    "gpuConfig": {"gpuType": "fc.gpu.tesla.1", "gpuMemorySize": 1024},
    "customRuntimeConfig": {"command": ["./run"], "port": 9000},
    "customContainerConfig": {"image": "i"},
    "microSandboxConfig": {"image": "i"},
    "instanceLifecycleConfig": {"initializer": {"handler": "index.init", "timeout": 3}},
    "tags": [{"Key": "k", "Value": "v"}],
}


def code_of(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["Code"]


def names(api, **query: str) -> list[str]:
    answer = api.send(
        "GET", f"{FUNCTIONS}?" + "&".join(f"{k}={quote(v)}" for k, v in query.items())
    )
    return [function["functionName"] for function in answer.json()["functions"]]


def test_a_created_function_is_answered_stored_and_announced(api):
    answer = api.create("my-func", timeout=60, environmentVariables={"K": "v"})
    function = answer.json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert function["codeSize"] == len(api.zip)
    assert function["codeChecksum"] == str(fastcrc.crc64.xz(api.zip))
    assert function["createdTime"] == "2024-01-02T03:04:05Z"
    assert function == api.get("my-func")
    assert api.announced == [api.parts.catalog.get("my-func")]


def test_the_model_of_the_sdk_loads_every_field_that_is_returned(api):
    api.create(**EVERYTHING)
    api.send("POST", f"{FUNCTIONS}/f/invoke/disable", {"reason": "why"})
    answer = api.get()
    loaded = models.Function().from_map(answer)
    empty = {name for name, value in vars(loaded).items() if value is None}
    assert loaded.to_map() == answer
    assert empty == {"lock_info"}


def test_a_function_that_the_sdk_describes_is_created(api):
    described = models.CreateFunctionInput(
        function_name="my-func",
        runtime="python3.10",
        handler="index.handler",
        cpu=0.35,
        memory_size=512,
        disk_size=512,
        timeout=60,
        code=models.InputCodeLocation(zip_file=base64.b64encode(api.zip).decode()),
        environment_variables={"K": "v"},
        instance_lifecycle_config=models.InstanceLifecycleConfig(
            initializer=models.LifecycleHook(handler="index.init", timeout=9)
        ),
        nas_config=models.NASConfig(user_id=0, group_id=0),
    )
    answer = api.send("POST", FUNCTIONS, described.to_map())
    assert answer.status_code == 200
    assert api.parts.catalog.get("my-func").initializer == Hook(handler="index.init", timeout_s=9)


def test_a_name_that_is_taken_is_refused(api):
    api.create()
    answer = api.create(handler="index.other")
    assert code_of(answer) == (409, "FunctionAlreadyExists")
    assert api.get()["handler"] == "index.handler"
    assert len(api.announced) == 1


def test_of_two_creates_of_one_name_at_a_time_one_wins(api, monkeypatch):
    monkeypatch.setattr("anyfc.api.functions.refuse_taken", lambda name, parts: None)
    api.create()
    assert code_of(api.create()) == (409, "FunctionAlreadyExists")


def test_a_create_that_is_refused_leaves_no_code_behind(api):
    answer = api.create(cpu=1, memorySize=512)
    assert code_of(answer) == (400, "InvalidArgument")
    assert list(api.parts.code_path("x").parent.iterdir()) == []
    assert api.announced == []


def test_an_update_that_is_refused_leaves_no_code_behind(api, make_zip):
    api.create()
    code = {"zipFile": base64.b64encode(make_zip("other")).decode()}
    assert code_of(api.update(code=code, memorySize=8192)) == (400, "InvalidArgument")
    assert len(list(api.parts.code_path("x").parent.iterdir())) == 1


def test_bytes_that_are_not_a_zip_are_refused(api):
    assert code_of(api.create(code={"zipFile": "bm90IGEgemlw"})) == (400, "InvalidArgument")


def test_a_checksum_that_does_not_fit_is_refused(api):
    zip_file = base64.b64encode(api.zip).decode()
    answer = api.create(code={"zipFile": zip_file, "checksum": "1"})
    assert code_of(answer) == (400, "InvalidArgument")
    right = {"zipFile": zip_file, "checksum": str(fastcrc.crc64.xz(api.zip))}
    assert api.create(code=right).status_code == 200


def test_an_update_keeps_what_it_does_not_send(api):
    api.create(timeout=60, description="old")
    api.pass_time(seconds=10)
    answer = api.update(description="new")
    assert answer.json() == api.get()
    assert answer.json()["timeout"] == 60
    assert answer.json()["description"] == "new"
    assert answer.json()["createdTime"] == "2024-01-02T03:04:05Z"
    assert answer.json()["lastModifiedTime"] == "2024-01-02T03:04:15Z"
    assert [function.generation for function in api.announced] == [1, 1]


def test_an_update_of_the_code_makes_a_new_generation(api, make_zip):
    api.create()
    other = make_zip("def handler(event, context): return 'other'")
    answer = api.update(code={"zipFile": base64.b64encode(other).decode()})
    assert answer.json()["codeSize"] == len(other)
    assert answer.json()["codeChecksum"] == str(fastcrc.crc64.xz(other))
    assert api.announced[-1].generation == 2
    assert (api.parts.packages.folder(api.announced[-1].code) / "index.py").exists()


def test_an_update_of_a_function_that_is_not_there_is_refused(api):
    assert code_of(api.update("g", timeout=5)) == (404, "FunctionNotFound")


def test_a_deleted_function_is_gone(api):
    api.create()
    answer = api.send("DELETE", f"{FUNCTIONS}/f")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get()["Code"] == "FunctionNotFound"
    assert code_of(api.send("DELETE", f"{FUNCTIONS}/f")) == (404, "FunctionNotFound")


def test_a_function_made_again_has_another_id(api):
    first = api.create().json()["functionId"]
    api.send("DELETE", f"{FUNCTIONS}/f")
    assert api.create().json()["functionId"] != first


@pytest.mark.parametrize(
    ("qualifier", "code"),
    [("", None), ("LATEST", None), ("7", "VersionNotFound"), ("prod", "AliasNotFound")],
)
def test_a_qualifier_leads_to_the_latest_state_or_nowhere(api, qualifier, code):
    api.create()
    for path in (f"{FUNCTIONS}/f", f"{FUNCTIONS}/f/code"):
        answer = api.send("GET", f"{path}?qualifier={qualifier}")
        assert answer.json().get("Code") == code
        assert answer.status_code == (404 if code else 200)


def test_a_list_goes_on_at_the_name_of_the_next_function(api):
    for name in ("c", "a", "b", "ab", "aa"):
        api.create(name)
    first = api.send("GET", f"{FUNCTIONS}?prefix=a&limit=2&nextToken=").json()
    assert [function["functionName"] for function in first["functions"]] == ["a", "aa"]
    assert first["nextToken"] == "ab"
    last = api.send("GET", f"{FUNCTIONS}?prefix=a&limit=2&nextToken=ab").json()
    assert [function["functionName"] for function in last["functions"]] == ["ab"]
    assert "nextToken" not in last
    assert "state" not in last["functions"][0]


def test_an_empty_list_is_a_list(api):
    assert api.send("GET", FUNCTIONS).json() == {"functions": []}


def test_a_list_has_twenty_functions_unless_told_otherwise(api):
    for n in range(21):
        api.create(f"f{n:02}")
    assert len(names(api)) == 20
    assert len(names(api, limit="100")) == 21


@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", "1.5"])
def test_a_limit_outside_its_range_is_refused(api, limit):
    answer = api.send("GET", f"{FUNCTIONS}?limit={limit}")
    assert code_of(answer) == (400, "InvalidArgument")
    assert "limit: " in answer.json()["Message"]
    assert (LIMIT.least, LIMIT.most) == (1, 100)


def test_a_list_is_filtered_by_everything_that_is_asked_for(api):
    api.create("a", description="sends mail", tags=[{"Key": "team", "Value": "x"}])
    api.create("b", runtime="python3.12", resourceGroupId="rg")
    api.create("c", gpuConfig={"gpuType": "fc.gpu.ada.1"})
    assert names(api, runtime="python3.12") == ["b"]
    assert names(api, functionName="c") == ["c"]
    assert names(api, description="mail") == ["a"]
    assert names(api, resourceGroupId="rg") == ["b"]
    assert names(api, gpuType="fc.gpu.ada.1") == ["c"]
    assert names(api, tags='[{"Key":"team","Value":"x"}]') == ["a"]
    assert names(api, tags='[{"Key":"team","Value":"y"}]') == []
    assert names(api, fcVersion="v3") == ["a", "b", "c"]
    assert names(api, fcVersion="v2") == []
    assert names(api, runtime="python3.10", functionName="b") == []
    assert names(api, unknown="x", runtime="") == ["a", "b", "c"]


@pytest.mark.parametrize("tags", ["team", "{}", '[{"Value":"v"}]', "[" * 5000])
def test_tags_that_are_not_a_list_of_pairs_are_refused(api, tags):
    answer = api.send("GET", f"{FUNCTIONS}?tags={quote(tags)}")
    assert code_of(answer) == (400, "InvalidArgument")


def test_the_code_can_be_fetched_without_a_signature_for_a_while(api):
    checksum = api.create().json()["codeChecksum"]
    answer = api.send("GET", f"{FUNCTIONS}/f/code").json()
    assert answer["checksum"] == checksum
    url = urlsplit(answer["url"])
    assert (url.scheme, url.netloc) == ("http", "127.0.0.1:9000")
    path = f"{url.path}?{url.query}"
    fetched = api.send("GET", path, headers={"x-acs-content-sha256": ""})
    assert (fetched.status_code, fetched.content) == (200, api.zip)
    assert fetched.headers["content-type"] == "application/zip"
    api.pass_time(seconds=601)
    assert code_of(api.send("GET", path)) == (404, "CodeNotFound")


def test_the_address_of_code_keeps_a_host_that_has_a_scheme(api):
    api.create()
    answer = api.send("GET", f"{FUNCTIONS}/f/code", headers={"host": "https://fc.example"}).json()
    assert answer["url"].startswith("https://fc.example/anyfc/code/")


def test_an_address_of_code_that_was_changed_is_refused(api):
    api.create()
    url = urlsplit(api.send("GET", f"{FUNCTIONS}/f/code").json()["url"])
    expires, signature = (value for _, value in parse_qsl(url.query))
    other = "/anyfc/code/" + "0" * 64
    for path in (
        f"{other}?expires={expires}&signature={signature}",
        f"{url.path}?expires={int(expires) + 1}&signature={signature}",
        f"{url.path}?expires={expires}&signature=%C3%A4",
        f"{url.path}?expires={expires}",
        url.path,
    ):
        assert code_of(api.send("GET", path)) == (404, "CodeNotFound")


def test_code_that_is_gone_from_the_disk_is_not_found(api):
    api.create()
    url = urlsplit(api.send("GET", f"{FUNCTIONS}/f/code").json()["url"])
    api.parts.code_path(api.parts.catalog.get("f").code.digest).unlink()
    assert code_of(api.send("GET", f"{url.path}?{url.query}")) == (404, "CodeNotFound")


def test_a_function_that_brings_an_image_has_no_code_to_fetch(api):
    container = {"runtime": "custom-container", "customContainerConfig": {"image": "i"}}
    assert api.create(code=None, **container).status_code == 200
    assert code_of(api.send("GET", f"{FUNCTIONS}/f/code")) == (404, "CodeNotFound")


def test_invocation_is_disabled_and_enabled(api):
    api.create()
    answer = api.send("POST", f"{FUNCTIONS}/f/invoke/disable", {"reason": "cost"})
    assert answer.json() == {"success": True}
    assert api.get()["invocationRestriction"] == {
        "disable": True,
        "reason": "cost",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
    }
    assert api.parts.catalog.get("f").generation == 1
    assert api.aborted == []
    assert api.send("POST", f"{FUNCTIONS}/f/invoke/enable").json() == {"success": True}
    assert "invocationRestriction" not in api.get()


def test_running_requests_are_aborted_when_that_is_asked_for(api):
    api.create()
    api.send("POST", f"{FUNCTIONS}/f/invoke/disable", {"abortOngoingRequest": True})
    assert api.aborted == ["f"]


@pytest.mark.parametrize("action", ["disable", "enable"])
def test_a_function_that_is_not_there_cannot_be_switched(api, action):
    answer = api.send("POST", f"{FUNCTIONS}/g/invoke/{action}", {"abortOngoingRequest": True})
    assert code_of(answer) == (404, "FunctionNotFound")
    assert api.aborted == []


def test_updates_at_the_same_time_all_count(api):
    api.create()
    answers = api.send_all(
        ("PUT", f"{FUNCTIONS}/f", {field: value})
        for field, value in [("timeout", 9), ("description", "d"), ("handler", "a.b")]
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert {"timeout": 9, "description": "d", "handler": "a.b"}.items() <= api.get().items()


def test_a_signed_body_that_no_operation_reads_is_compared_all_the_same(api):
    api.create("my-func")
    api.send("POST", f"{FUNCTIONS}/my-func/invoke/disable", {"reason": "why"})
    signed = {"x-acs-content-sha256": hashlib.sha256(b"").hexdigest()}
    for method, path in (("POST", "/invoke/enable"), ("DELETE", "")):
        answer = api.send(method, f"{FUNCTIONS}/my-func{path}", b"x", headers=signed)
        assert (answer.status_code, answer.json()["Code"]) == (403, "SignatureNotMatch")
    assert api.get("my-func")["invocationRestriction"]["disable"]
