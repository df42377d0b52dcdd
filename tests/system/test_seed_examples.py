"""The documentation's examples of event functions, rewritten, through the official SDK."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from support import ServerProcess, invoke, read_log

RUNTIMES = ("python3", "python3.9", "python3.10", "python3.12")

PICK_KEY = """
# -*- coding: utf-8 -*-
import json


def pick(event, context):
    order = json.loads(event)
    return order["key"]
"""

LIST_FILES = """
import subprocess


def handler(event, context):
    return subprocess.check_output(["ls", "-l"])
"""

SAY_HELLO = """
import logging


def handler(event, context):
    print("printed")
    log = logging.getLogger()
    log.info("hello %s", "world")
    return "done"
"""

ECHO_BODY = """
# -*- coding: utf-8 -*-
import base64
import json
import logging


def handler(event, context):
    logging.getLogger().info("got %s", event)
    try:
        request = json.loads(event)
    except ValueError:
        return "The request did not come from an HTTP Trigger: not JSON, event: {}".format(event)
    if "body" not in request:
        return "The request did not come from an HTTP Trigger: no body, event: {}".format(event)
    text = request["body"]
    if request.get("isBase64Encoded"):
        text = base64.b64decode(text).decode("utf-8")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "text/plain"},
        "isBase64Encoded": False,
        "body": text,
    }
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_key_is_picked_out_of_json(runtime: str, sdk: Any, deploy: Callable[..., str]) -> None:
    name = deploy({"main.py": PICK_KEY}, handler="main.pick", runtime=runtime)
    headers, body = invoke(sdk, name, b'{"key": "value"}')
    assert body == b"value"
    assert "x-fc-error-type" not in headers


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_external_command_lists_the_code(
    runtime: str, sdk: Any, deploy: Callable[..., str]
) -> None:
    name = deploy({"index.py": LIST_FILES, "data/words.txt": "one\n"}, runtime=runtime)
    _, body = invoke(sdk, name)
    lines = body.decode().splitlines()
    assert lines[0].startswith("total ")
    assert {line.split()[-1] for line in lines[1:]} == {"data", "index.py"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_logged_is_in_the_log_of_the_request(
    runtime: str, server: ServerProcess, sdk: Any, deploy: Callable[..., str]
) -> None:
    name = deploy(SAY_HELLO, runtime=runtime)
    headers, body = invoke(sdk, name)
    assert body == b"done"
    request_id = headers["x-fc-request-id"]
    lines = read_log(server, name, request_id)
    assert lines[-3] == "printed"
    assert lines[-2].endswith(f"Z {request_id} [INFO] hello world")
    assert lines[-1] == f"FC Invoke End RequestId: {request_id}"


class TestHttpTriggerOrNot:
    """The example that answers HTTP triggers, called through the API."""

    @pytest.fixture
    def call(self, sdk: Any, deploy: Callable[..., str]) -> Callable[[bytes], bytes]:
        name = deploy(ECHO_BODY)
        return lambda event: invoke(sdk, name, event)[1]

    @pytest.mark.parametrize("event", [b"Hello, FC!", b""])
    def test_plain_text_did_not_come_from_a_trigger(
        self, call: Callable[[bytes], bytes], event: bytes
    ) -> None:
        message = f"The request did not come from an HTTP Trigger: not JSON, event: {event!r}"
        assert call(event).decode() == message

    def test_a_json_text_did_not_come_from_a_trigger(self, call: Callable[[bytes], bytes]) -> None:
        message = b"The request did not come from an HTTP Trigger: no body, event: "
        assert call(b'"Hello, FC!"').startswith(message)

    def test_what_looks_like_a_trigger_is_answered_as_json_without_http(
        self, call: Callable[[bytes], bytes]
    ) -> None:
        answer = call(b'{"body": "SGVsbG8gZmMzLjA=", "isBase64Encoded": true}')
        assert json.loads(answer) == {
            "body": "Hello fc3.0",
            "headers": {"Content-Type": "text/plain"},
            "isBase64Encoded": False,
            "statusCode": 200,
        }
