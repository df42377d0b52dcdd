"""Services, their functions and triggers, in both versions of the API before 3.0."""

import base64
import hashlib
import json
import re

import pytest

from anyfc.api.older.operations import OPERATIONS
from anyfc.model.address import OLDER_VERSIONS as VERSIONS

OLD, NEW = VERSIONS
ROLE = "acs:ram::123456:role/r"
HTTP = {"methods": ["GET"], "authType": "anonymous"}


def path(*parts, version=NEW):
    return "/".join(("", version, *parts))


def check_error(answer, status, code):
    content = answer.json()
    assert (answer.status_code, content["ErrorCode"], content["Code"]) == (status, code, code)
    assert content["ErrorMessage"] == content["Message"]
    return content["ErrorMessage"]


@pytest.fixture
def older(api):
    """The API with a service `s` and a function `f` in it."""
    assert create_service(api).status_code == 200
    assert create_function(api).status_code == 200
    return api


def create_service(api, name="s", **fields):
    return api.send("POST", path("services"), {"serviceName": name, **fields})


def create_function(api, service="s", name="f", *, version=NEW, headers=None, **fields):
    body = {
        "functionName": name,
        "runtime": "python3.10",
        "handler": "index.handler",
        "code": {"zipFile": base64.b64encode(api.zip).decode()},
    }
    target = path("services", service, "functions", version=version)
    return api.send("POST", target, {**body, **fields}, headers=headers or {})


def create_trigger(api, name="t", *, version=NEW, config=HTTP, **fields):
    body = {"triggerName": name, "triggerType": "http", "triggerConfig": config, **fields}
    return api.send("POST", path("services/s/functions/f/triggers", version=version), body)


# --- operations ---


def test_every_operation_has_a_path_of_its_own():
    assert len({(method, target) for _, method, target, _ in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("operation", "method", "target"),
    [(operation, method, target) for operation, method, target, end in OPERATIONS if not end],
)
def test_an_operation_that_is_not_built_names_itself(api, version, operation, method, target):
    answer = api.send(method, f"/{version}" + re.sub(r"\{\w+\}", "x", target))
    assert operation in check_error(answer, 501, "NotSupported")


@pytest.mark.parametrize("target", ["services/s/x", "functions/f", "proxy"])
def test_a_path_that_leads_nowhere_is_named(api, target):
    message = check_error(api.send("GET", path(target)), 400, "PathNotSupported")
    assert message == f"'GET' against '/{NEW}/{target}' is not supported"


def test_the_account_has_no_zones_and_no_role(api):
    answer = api.send("GET", path("account-settings"))
    assert answer.json() == {"availableAZs": [], "defaultRole": ""}


# --- services ---


@pytest.mark.parametrize("version", VERSIONS)
def test_a_service_is_shown_as_it_was_made(api, version):
    body = {
        "serviceName": "s",
        "description": "d",
        "role": ROLE,
        "logConfig": {"project": "p", "logstore": "l", "enableRequestMetrics": True},
        "internetAccess": False,
    }
    made = api.send("POST", path("services", version=version), body)
    assert made.json() == {
        **body,
        "serviceId": made.json()["serviceId"],
        "createdTime": "2024-01-02T03:04:05Z",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
        "useSLRAuthentication": False,
        "vpcConfig": {"vpcId": "", "vSwitchIds": [], "securityGroupId": ""},
        "nasConfig": {"userId": 0, "groupId": 0, "mountPoints": []},
        "ossMountConfig": {"mountPoints": []},
        "tracingConfig": {},
        "logConfig": {
            "project": "p",
            "logstore": "l",
            "enableRequestMetrics": True,
            "enableInstanceMetrics": False,
            "logBeginRule": "None",
        },
    }
    seen = api.send("GET", path("services/s", version=version))
    assert (seen.json(), seen.headers["etag"]) == (made.json(), made.headers["etag"])


@pytest.mark.parametrize("name", ["", "1a", "a.b", "a$b", "ä", "a" * 129, None])
def test_a_service_must_have_a_name_of_the_form_that_functions_have(api, name):
    assert "serviceName" in check_error(create_service(api, name), 400, "InvalidArgument")


def test_a_second_service_of_a_name_is_refused(older):
    message = check_error(create_service(older), 409, "ServiceAlreadyExists")
    assert message == "service 's' already exists"


def test_an_update_changes_what_it_sends_and_the_functions_of_the_service(older):
    older.pass_time(seconds=5)
    answer = older.send("PUT", path("services/s"), {"role": ROLE, "logConfig": {"project": "p"}})
    assert answer.json()["role"] == ROLE
    assert answer.json()["lastModifiedTime"] == "2024-01-02T03:04:10Z"
    function = older.get("s$f")
    assert (function["role"], function["logConfig"]["project"]) == (ROLE, "p")
    answer = older.send("PUT", path("services/s"), {"description": "d"})
    assert (answer.json()["role"], answer.json()["description"]) == (ROLE, "d")


def test_a_new_function_has_the_settings_of_its_service(api):
    create_service(api, role=ROLE, logConfig={"project": "p", "logstore": "l"})
    create_function(api)
    function = api.get("s$f")
    assert function["role"] == ROLE
    assert function["logConfig"]["logstore"] == "l"


APART = {
    "role": {"role": ROLE + "2"},
    "logConfig": {"logConfig": {"project": "p", "logstore": "other"}},
    "vpcConfig": {"vpcConfig": {"vpcId": "v"}},
    "internetAccess": {"internetAccess": False},
}


@pytest.mark.parametrize(("field", "fields"), APART.items())
def test_a_function_of_a_service_cannot_be_set_apart_through_3_0(api, field, fields):
    create_service(api, role=ROLE, logConfig={"project": "p", "logstore": "l"})
    create_function(api)
    before = api.get("s$f")
    message = check_error(api.update("s$f", timeout=9, **fields), 400, "InvalidArgument")
    assert message.startswith(f"{field}: service 's' has one for all of its functions")
    assert api.get("s$f") == before


def test_a_function_of_a_service_can_be_sent_back_as_3_0_shows_it(api):
    create_service(api, role=ROLE, logConfig={"project": "p"}, vpcConfig={"vpcId": "v"})
    create_function(api)
    shown = api.get("s$f")
    answer = api.update("s$f", **{**shown, "timeout": 9})
    assert (answer.status_code, answer.json()["timeout"]) == (200, 9)


def test_services_are_listed_by_name_and_in_pages(api):
    for name in ("b", "a1", "a2", "c"):
        create_service(api, name)

    def listed(query):
        page = api.send("GET", path("services") + query).json()
        return [service["serviceName"] for service in page["services"]], page.get("nextToken")

    assert listed("") == (["a1", "a2", "b", "c"], None)
    assert listed("?limit=2") == (["a1", "a2"], "b")
    assert listed("?limit=2&nextToken=b") == (["b", "c"], None)
    assert listed("?prefix=a") == (["a1", "a2"], None)
    assert listed("?startKey=b") == (["b", "c"], None)
    answer = api.send("GET", path("services", version=OLD) + "?tag_k=v")
    check_error(answer, 501, "NotSupported")


def test_a_service_goes_when_it_is_empty(older):
    message = check_error(older.send("DELETE", path("services/s")), 409, "ServiceNotEmpty")
    assert message == "service 's' has functions"
    assert older.send("DELETE", path("services/s/functions/f")).status_code == 204
    answer = older.send("DELETE", path("services/s"))
    assert (answer.status_code, answer.content) == (204, b"")
    check_error(older.send("DELETE", path("services/s")), 404, "ServiceNotFound")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "services/no"),
        ("PUT", "services/no"),
        ("POST", "services/no/functions"),
        ("GET", "services/no/functions"),
        ("GET", "services/no/functions/f"),
        ("POST", "services/no/functions/f/triggers"),
    ],
)
def test_a_service_that_does_not_exist_is_named(older, method, target):
    message = check_error(older.send(method, path(target)), 404, "ServiceNotFound")
    assert message == "service 'no' does not exist"


# --- qualifiers ---


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "target",
    [
        "services/s.LATEST/functions/f",
        "services/s%2ELATEST/functions/f",
        "services/s/functions/f?qualifier=LATEST",
        "services/s./functions/f?qualifier=",
    ],
)
def test_the_latest_version_may_be_named_in_the_path_or_in_the_query(older, version, target):
    answer = older.send("GET", path(target, version=version))
    assert answer.json()["functionName"] == "f"


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("services/s.7", "VersionNotFound", "version '7' of service 's' does not exist"),
        ("services/s?qualifier=p", "AliasNotFound", "alias 'p' of service 's' does not exist"),
        ("services/s.p/functions/f", "AliasNotFound", "alias 'p' of service 's' does not exist"),
    ],
)
def test_other_versions_and_aliases_do_not_exist(older, target, code, message):
    assert check_error(older.send("GET", path(target)), 404, code) == message


# --- functions ---


@pytest.mark.parametrize("version", VERSIONS)
def test_a_function_is_shown_under_its_own_name(older, version):
    made = create_function(older, name="g", version=version, description="d")
    shown = made.json()
    assert (shown["functionName"], shown["description"]) == ("g", "d")
    assert shown["codeSize"] == len(older.zip)
    seen = older.send("GET", path("services/s/functions/g", version=version))
    assert (seen.json(), seen.headers["etag"]) == (shown, made.headers["etag"])
    assert re.fullmatch("[0-9a-f]{32}", made.headers["etag"])


def test_a_function_is_announced_and_its_code_is_there(older):
    (function,) = older.announced
    assert (function.name, function.service) == ("s$f", "s")
    answer = older.send("GET", path("services/s/functions/f/code")).json()
    assert answer["checksum"] == function.code.checksum
    assert older.send("GET", answer["url"]).content == older.zip


def test_version_3_0_has_the_function_under_both_names(older):
    listed = older.send("GET", "/2023-03-30/functions").json()["functions"]
    assert [function["functionName"] for function in listed] == ["s$f"]
    for name in ("s$f", "s%24f"):
        shown = older.get(name)
        assert shown["functionName"] == "s$f"
        assert shown["functionArn"] == "acs:fc:cn-test:123456:functions/s$f"
    assert older.update("s$f", description="from 3.0").status_code == 200
    shown = older.send("GET", path("services/s/functions/f")).json()
    assert shown["description"] == "from 3.0"
    for version, names in (("v2", ["s$f"]), ("v3", [])):
        listed = older.send("GET", f"/2023-03-30/functions?fcVersion={version}").json()
        assert [function["functionName"] for function in listed["functions"]] == names
    assert older.send("DELETE", "/2023-03-30/functions/s%24f").status_code == 204
    assert older.send("DELETE", path("services/s")).status_code == 204


def test_version_3_0_makes_no_function_in_a_service(older):
    assert "functionName" in check_error(older.create("s$g"), 400, "InvalidArgument")


def test_the_same_name_may_be_in_two_services_and_once_in_each(older):
    create_service(older, "t")
    assert create_function(older, "t").status_code == 200
    message = check_error(create_function(older, "t"), 409, "FunctionAlreadyExists")
    assert message == "function 'f' already exists in service 't'"


def test_functions_are_listed_by_service_and_in_pages(older):
    create_service(older, "s2")
    create_function(older, "s2", "other")
    older.create("s")
    for name in ("e", "g1", "g2"):
        create_function(older, name=name)

    def listed(query):
        page = older.send("GET", path("services/s/functions") + query).json()
        return [function["functionName"] for function in page["functions"]], page.get("nextToken")

    assert listed("") == (["e", "f", "g1", "g2"], None)
    assert listed("?limit=2") == (["e", "f"], "g1")
    assert listed("?limit=2&nextToken=g1") == (["g1", "g2"], None)
    assert listed("?prefix=g&startKey=g2") == (["g2"], None)


def test_an_update_changes_what_it_sends(older):
    target = path("services/s/functions/f")
    older.pass_time(seconds=5)
    shown = older.send("PUT", target, {"timeout": 7}).json()
    assert (shown["timeout"], shown["handler"]) == (7, "index.handler")
    assert shown["lastModifiedTime"] == "2024-01-02T03:04:10Z"
    code = {"zipFile": base64.b64encode(b"no package").decode()}
    check_error(older.send("PUT", target, {"timeout": 0}), 400, "InvalidArgument")
    check_error(older.send("PUT", target, {"code": code}), 400, "InvalidArgument")
    assert older.send("GET", target).json() == shown


def test_a_function_that_does_not_exist_is_named_with_its_service(older):
    for method in ("GET", "PUT", "DELETE"):
        answer = older.send(method, path("services/s/functions/no"))
        message = check_error(answer, 404, "FunctionNotFound")
        assert message == "function 'no' does not exist in service 's'"


def test_the_names_of_a_service_and_a_function_may_have_254_characters_together(api):
    create_service(api, "s" * 128)
    assert create_function(api, "s" * 128, "f" * 126).status_code == 200
    answer = create_function(api, "s" * 128, "f" * 127)
    assert "at most 254" in check_error(answer, 400, "InvalidArgument")


def test_a_checksum_in_the_header_is_compared_with_the_code(older):
    wrong = {"X-Fc-Code-Checksum": "1"}
    answer = create_function(older, name="g", headers=wrong)
    assert "checksum" in check_error(answer, 400, "InvalidArgument")
    right = {"X-Fc-Code-Checksum": older.announced[0].code.checksum}
    assert create_function(older, name="g", headers=right).status_code == 200


def test_a_body_that_the_gateway_calls_unsigned_needs_no_digest(older):
    headers = {"x-acs-content-sha256": None, "x-anyfc-unsigned-body": "true"}
    assert create_function(older, name="g", headers=headers).status_code == 200
    headers = {"x-acs-content-sha256": hashlib.sha256(b"").hexdigest()}
    check_error(create_function(older, name="h", headers=headers), 403, "SignatureNotMatch")


# --- triggers ---


def test_a_trigger_says_its_settings_in_the_way_of_its_version(older):
    new = create_trigger(older, config=json.dumps(HTTP)).json()
    assert json.loads(new["triggerConfig"]) == HTTP
    target = "services/s/functions/f/triggers/t"
    old = older.send("GET", path(target, version=OLD)).json()
    assert old["triggerConfig"] == HTTP
    assert old == {**new, "triggerConfig": HTTP}
    assert new["targetArn"] == "acs:fc:cn-test:123456:services/s/functions/f"
    label = older.parts.routes.get_trigger("s$f", "t").label
    assert label.startswith("s-f-")
    assert new["domainName"] == f"{label}.cn-test.fcapp.localhost"
    assert new["urlInternet"] == f"http://{new['domainName']}:9000"
    assert "-vpc." in new["urlIntranet"]
    listed = older.send("GET", path("services/s/functions/f/triggers")).json()
    assert listed == {"triggers": [new]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("config", [HTTP, json.dumps(HTTP)])
def test_the_settings_of_a_trigger_may_be_sent_in_either_way(older, version, config):
    target = path("services/s/functions/f/triggers/t", version=version)
    assert create_trigger(older, version=version, config=config).status_code == 200
    changed = {**HTTP, "methods": ["PUT"]}
    sent = changed if isinstance(config, dict) else json.dumps(changed)
    assert older.send("PUT", target, {"triggerConfig": sent}).status_code == 200
    trigger = older.parts.routes.find_http_trigger("s$f", "LATEST")
    assert trigger.http.methods == ("PUT",)
    check_error(older.send("DELETE", path("services/s/functions/f")), 409, "FunctionNotEmpty")
    assert older.send("DELETE", target).status_code == 204
    message = check_error(older.send("GET", target), 404, "TriggerNotFound")
    assert message == "trigger 't' does not exist in service 's' and function 'f'"


def test_a_trigger_of_another_type_has_no_address(older):
    config = {"cronExpression": "@every 1m"}
    shown = create_trigger(older, config=config, triggerType="timer").json()
    assert {"domainName", "urlInternet", "httpTrigger"}.isdisjoint(shown)


# --- changes that are wanted in one state only ---


@pytest.mark.parametrize("target", ["services/s", "services/s/functions/f"])
def test_a_change_is_refused_when_the_resource_has_changed_meanwhile(older, target):
    seen = older.send("GET", path(target)).headers["etag"]
    older.send("PUT", path(target), {"description": "by another"})
    for method in ("PUT", "DELETE"):
        answer = older.send(method, path(target), {"description": "x"}, headers={"If-Match": seen})
        check_error(answer, 412, "PreconditionFailed")
    now = older.send("GET", path(target))
    assert now.json()["description"] == "by another"
    for mark in (now.headers["etag"], f'"{now.headers["etag"]}"', "*"):
        answer = older.send("PUT", path(target), {}, headers={"If-Match": mark})
        assert answer.status_code == 200


def test_a_trigger_that_has_changed_meanwhile_is_not_changed(older):
    seen = create_trigger(older).headers["etag"]
    target = path("services/s/functions/f/triggers/t")
    assert older.send("GET", target).headers["etag"] == seen
    older.send("PUT", target, {"description": "by another"})
    for method in ("PUT", "DELETE"):
        answer = older.send(method, target, {"description": "x"}, headers={"If-Match": seen})
        check_error(answer, 412, "PreconditionFailed")
