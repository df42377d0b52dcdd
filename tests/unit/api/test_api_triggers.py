"""Triggers through the control API, on a real store."""

import json
import re
from dataclasses import fields, replace

import pytest
from alibabacloud_fc20230330 import models

from anyfc.api.parts import Parts
from anyfc.api.trigger_wire import CONFIGS, find_port, make_label
from anyfc.model.access import Anonymous, Cors, Signed
from anyfc.model.trigger import HttpSettings

FUNCTIONS = "/2023-03-30/functions"
TRIGGERS = f"{FUNCTIONS}/f/triggers"
HTTP = {"methods": ["GET", "POST"], "authType": "anonymous", "disableURLInternet": False}
CRON = '{"cronExpression":"@every 1m","payload":"p","enable":true}'
LIGHT = {
    "http": HTTP,
    "timer": {"cronExpression": "0 0 4 * * *"},
    "oss": {"events": ["oss:ObjectCreated:*"], "filter": {"key": {"prefix": "a", "suffix": "b"}}},
    "log": {"sourceConfig": {"logstore": "s"}, "jobConfig": {"maxRetryTime": 3}, "enable": True},
    "mns_topic": {"notifyContentFormat": "STREAM"},
    "cdn_events": {"eventName": "LogFileCreated", "filter": {"domain": ["a.com"]}},
    "tablestore": {},
    "eventbridge": {"triggerEnable": True, "eventSourceConfig": {"eventSourceType": "Default"}},
}


@pytest.fixture
def api(api):
    api.create("f")
    api.parts = replace(api.parts, new_letters=lambda: "qwertzuiop")
    return api


def create(api, name="t", kind="http", config=None, **fields):
    text = json.dumps(HTTP if config is None else config)
    body = {"triggerName": name, "triggerType": kind, "triggerConfig": text, **fields}
    return api.send("POST", TRIGGERS, body)


def code_of(answer):
    return answer.status_code, answer.json()["Code"]


def test_a_created_http_trigger_is_answered_stored_and_routed(api):
    answer = create(api, qualifier="LATEST", description="d", invocationRole="r")
    assert answer.status_code == 200
    shown = answer.json()
    assert re.fullmatch(r"[0-9a-f-]{36}", shown.pop("triggerId"))
    assert shown == {
        "triggerName": "t",
        "triggerType": "http",
        "triggerConfig": '{"methods":["GET","POST"],"authType":"anonymous",'
        '"disableURLInternet":false}',
        "qualifier": "LATEST",
        "sourceArn": "",
        "invocationRole": "r",
        "description": "d",
        "targetArn": "acs:fc:cn-test:123456:functions/f",
        "status": "OK",
        "createdTime": "2024-01-02T03:04:05Z",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
        "httpTrigger": {
            "urlInternet": "http://f-qwertzuiop.cn-test.fcapp.localhost:9000",
            "urlIntranet": "http://f-qwertzuiop.cn-test-vpc.fcapp.localhost:9000",
        },
    }
    assert api.send("GET", f"{TRIGGERS}/t").json() == answer.json()
    trigger = api.parts.routes.find_trigger_by_host_label("f-qwertzuiop")
    assert trigger is api.parts.routes.find_http_trigger("f", "LATEST")
    assert trigger.http == HttpSettings(methods=("GET", "POST"), access=Anonymous())


def test_the_address_has_the_port_of_the_host_header_or_else_of_the_server(api):
    create(api)
    for host, port in [("a.com", 9001), ("http://127.0.0.1:77", 77), ("[::1]:78", 78)]:
        shown = api.send("GET", f"{TRIGGERS}/t", headers={"host": host}).json()
        assert shown["httpTrigger"]["urlInternet"].endswith(f".localhost:{port}")


@pytest.mark.parametrize(
    ("host", "port"), [("[::1]", None), ("::1", 1), ("a:80/", 80), ("", None), ("a:", None)]
)
def test_a_port_is_found_in_a_host(host, port):
    assert find_port(host) == port


@pytest.mark.parametrize(
    ("function", "label"),
    [
        ("Hello_World", "hello-world-x"),
        ("_f", "f-x"),
        ("___", "x"),
        ("a" * 39 + "-b", "a" * 39 + "-x"),
        ("a--b", "a-b-x"),
        ("service$f", "service-f-x"),
    ],
)
def test_a_label_is_part_of_a_host_name(function, label):
    assert make_label(function, "x") == label


def test_letters_are_random():
    (new_letters,) = (field.default for field in fields(Parts) if field.name == "new_letters")
    assert re.fullmatch(r"[a-z]{10}", new_letters())
    assert new_letters() != new_letters()


def test_the_model_of_the_sdk_loads_every_field_that_is_returned(api):
    answer = create(api, sourceArn="arn").json()
    loaded = models.Trigger().from_map(answer)
    assert loaded.to_map() == answer
    assert all(value is not None for value in vars(loaded).values())


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_type_is_stored_and_returned_with_the_keys_that_were_sent(api, kind):
    config = {**LIGHT[kind], "zzz": {"own": [1, None]}, "Aaa": 1.0}
    answer = create(api, kind=kind, config=config)
    assert answer.status_code == 200
    assert answer.json()["triggerConfig"] == json.dumps(config, separators=(",", ":"))
    assert ("httpTrigger" in answer.json()) == (kind == "http")
    assert answer.json()["triggerType"] == kind


def test_settings_may_be_an_object_and_empty_text_is_nothing(api):
    answer = create(api, triggerConfig=HTTP)
    assert json.loads(answer.json()["triggerConfig"]) == HTTP
    answer = create(api, "o", "tablestore", triggerConfig="")
    assert answer.json()["triggerConfig"] == ""


def test_everything_an_http_trigger_says_is_understood(api):
    config = {
        "Methods": ["get", "GET", "options"],
        "AuthType": "Function",
        "authConfig": None,
        "disableURLInternet": "true",
        "corsConfig": {"allowOrigins": ["*"]},
    }
    create(api, config=config)
    assert api.parts.routes.get_trigger("f", "t").http == HttpSettings(
        methods=("GET", "OPTIONS"), access=Signed(), cors=Cors(origins=("*",)), closed=True
    )


def test_who_signs_may_call_when_nothing_else_is_said(api):
    create(api, config={"methods": ["GET"]})
    assert api.parts.routes.get_trigger("f", "t").http.access == Signed()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"triggerName": "1a"}, "triggerName: '1a' must begin with"),
        ({"triggerName": "a" * 129}, "triggerName: 'a"),
        ({"triggerName": None}, "triggerName: required"),
        ({"triggerType": "ftp"}, "triggerType: 'ftp' is not one of http"),
        ({"triggerType": None}, "triggerType: required"),
        ({"triggerConfig": None}, "triggerConfig: required"),
        ({"triggerConfig": "{"}, "triggerConfig: the value is not JSON"),
        ({"triggerConfig": "[]"}, "triggerConfig: the value is not an object"),
        ({"triggerConfig": "{}"}, "triggerConfig.methods: required"),
        ({"triggerConfig": '{"methods":[]}'}, "triggerConfig.methods: at least one"),
        ({"triggerConfig": '{"methods":["BREW"]}'}, "triggerConfig.methods[0]: 'BREW' is not"),
        (
            {"triggerConfig": '{"methods":["GET"],"authType":"oauth"}'},
            "triggerConfig.authType: 'oauth' is not one of function, anonymous, jwt",
        ),
        (
            {"triggerConfig": '{"methods":["GET"],"authType":"jwt"}'},
            "triggerConfig.authConfig.jwks: required",
        ),
        ({"triggerConfig": {"methods": ["GET"], "x": "y" * 70_000}}, "triggerConfig: "),
        ({"triggerType": "timer"}, "triggerConfig.cronExpression: required"),
        ({"triggerType": "oss"}, "triggerConfig.events: required"),
        ({"sourceArn": "a" * 301}, "sourceArn: "),
        ({"invocationRole": "a" * 301}, "invocationRole: "),
        ({"description": "a" * 257}, "description: "),
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused(api, fields, message):
    answer = create(api, **fields)
    assert code_of(answer) == (400, "InvalidArgument")
    assert answer.json()["Message"].startswith(message)
    assert api.send("GET", TRIGGERS).json() == {"triggers": []}


@pytest.mark.parametrize(
    ("qualifier", "code"), [("7", "VersionNotFound"), ("prod", "AliasNotFound")]
)
def test_a_qualifier_that_does_not_exist_is_not_found(api, qualifier, code):
    assert code_of(create(api, qualifier=qualifier)) == (404, code)
    create(api)
    answer = api.send("PUT", f"{TRIGGERS}/t", {"qualifier": qualifier})
    assert code_of(answer) == (404, code)
    assert api.send("PUT", f"{TRIGGERS}/t", {"qualifier": ""}).json()["qualifier"] == "LATEST"


def test_a_second_http_trigger_and_a_name_that_is_taken_are_refused(api):
    create(api)
    for name, kind in [("t", "timer"), ("t2", "http")]:
        config = LIGHT[kind]
        assert code_of(create(api, name, kind, config)) == (409, "TriggerAlreadyExists")
    assert create(api, "t2", "timer", LIGHT["timer"]).status_code == 200


def test_an_update_replaces_what_it_sends_and_keeps_the_rest(api):
    before = create(api, description="old", invocationRole="r").json()
    api.pass_time(seconds=10)
    closed = '{"methods":["PUT"],"authType":"function","disableURLInternet":true}'
    body = {"triggerConfig": closed, "triggerName": "other", "triggerType": "oss"}
    answer = api.send("PUT", f"{TRIGGERS}/t", body).json()
    assert answer == {
        **before,
        "triggerConfig": closed,
        "lastModifiedTime": "2024-01-02T03:04:15Z",
    }
    assert answer == api.send("GET", f"{TRIGGERS}/t").json()
    http = api.parts.routes.find_trigger_by_host_label("f-qwertzuiop").http
    assert http == HttpSettings(methods=("PUT",), access=Signed(), closed=True)


def test_an_update_that_is_refused_changes_nothing(api):
    before = create(api, kind="timer", config=LIGHT["timer"]).json()
    answer = api.send("PUT", f"{TRIGGERS}/t", {"triggerConfig": "{}", "description": "new"})
    assert code_of(answer) == (400, "InvalidArgument")
    assert api.send("GET", f"{TRIGGERS}/t").json() == before


def test_a_deleted_trigger_is_gone_and_so_may_its_function_be(api):
    create(api)
    answer = api.send("DELETE", f"{FUNCTIONS}/f")
    assert code_of(answer) == (409, "FunctionNotEmpty")
    assert answer.json()["Message"] == "function 'f' has active triggers"
    answer = api.send("DELETE", f"{TRIGGERS}/t")
    assert (answer.status_code, answer.content) == (204, b"")
    assert code_of(api.send("DELETE", f"{TRIGGERS}/t")) == (404, "TriggerNotFound")
    assert api.send("DELETE", f"{FUNCTIONS}/f").status_code == 204


def test_a_list_goes_on_at_the_name_of_the_next_trigger(api):
    for name in ("c", "a", "b", "ab"):
        create(api, name, "timer", LIGHT["timer"])
    first = api.send("GET", f"{TRIGGERS}?prefix=a&limit=1&nextToken=").json()
    assert [trigger["triggerName"] for trigger in first["triggers"]] == ["a"]
    last = api.send("GET", f"{TRIGGERS}?prefix=a&limit=1&nextToken={first['nextToken']}").json()
    assert [trigger["triggerName"] for trigger in last["triggers"]] == ["ab"]
    assert "nextToken" not in last
    assert code_of(api.send("GET", f"{TRIGGERS}?limit=0")) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", f"{FUNCTIONS}/g/triggers", "FunctionNotFound"),
        ("GET", f"{FUNCTIONS}/g/triggers", "FunctionNotFound"),
        ("GET", f"{FUNCTIONS}/g/triggers/t", "FunctionNotFound"),
        ("PUT", f"{FUNCTIONS}/g/triggers/t", "FunctionNotFound"),
        ("DELETE", f"{FUNCTIONS}/g/triggers/t", "FunctionNotFound"),
        ("GET", f"{TRIGGERS}/t", "TriggerNotFound"),
        ("PUT", f"{TRIGGERS}/t", "TriggerNotFound"),
        ("DELETE", f"{TRIGGERS}/t", "TriggerNotFound"),
    ],
)
def test_what_is_not_there_is_not_found(api, method, path, code):
    assert code_of(api.send(method, path)) == (404, code)
