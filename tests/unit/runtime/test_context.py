import json

import pytest
from fake_instances import make_function

from anyfc.identity.key import Credentials
from anyfc.model.function import Hook
from anyfc.runtime.context import Place, build_program
from anyfc.runtime.preinstalled import NAMES
from anyfc.sandbox.box import Box

KEYS = Credentials(access_key_id="id", access_key_secret="secret", security_token="token")
PLACE = Place(region="cn-hangzhou", account_id="123456789012345")


def program_of(function, *, credentials=KEYS, **box):
    seen = Box(hostname="c-1", code="/host/code", **box).seen()
    return build_program(function, PLACE, credentials, instance_id="c-1", seen=seen)


def test_a_program_can_be_sent_to_the_sandbox():
    function = make_function(
        initializer=Hook(handler="index.init", timeout_s=3),
        pre_stop=Hook(handler="index.stop", timeout_s=3),
    )
    program = program_of(function, modules="/host/modules")
    assert json.loads(json.dumps(program)) == program
    handlers = {"handler": "index.handler", "initializer": "index.init"}
    handlers |= {"pre_freeze": "", "pre_stop": "index.stop"}
    assert {name: program[name] for name in handlers} == handlers
    assert program["modules"] == "/var/fc/modules"


def test_the_program_knows_what_the_cloud_would_bring():
    assert program_of(make_function())["preinstalled"] == NAMES["python3.10"]


def test_what_the_user_set_wins_over_the_system():
    environment = program_of(make_function(environment={"PATH": "/mine", "OWN": "1"}))[
        "environment"
    ]
    assert (environment["PATH"], environment["OWN"]) == ("/mine", "1")


def test_where_there_is_no_private_tmp_programs_are_told_another_one():
    inside = program_of(make_function())["environment"]
    outside = program_of(make_function(), scratch="/d")["environment"]
    assert "TMPDIR" not in inside
    assert (outside["TMPDIR"], outside["HOME"]) == ("/d/tmp", "/d/tmp")
    assert (inside["FC_FUNC_CODE_PATH"], outside["FC_FUNC_CODE_PATH"]) == ("/code", "/d/code")


def test_modules_are_seen_where_they_are_if_there_are_no_walls():
    assert program_of(make_function())["modules"] is None
    assert program_of(make_function(), modules="/m", scratch="/d")["modules"] == "/m"


@pytest.mark.parametrize("field", ["access_key_id", "access_key_secret", "security_token"])
def test_a_function_without_a_role_gets_empty_texts_as_credentials(field):
    program = program_of(make_function(), credentials=Credentials())
    assert program["context"]["credentials"][field] == ""
