"""What handlers of built-in runtimes answer to HTTP calls, where it is odd: on a real server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from alibabacloud_fc20230330 import models
from services import ServiceApi
from support import ServerProcess, create_function, invoke, read_log

EVENT = """
import json


def handler(event, context):
    if event == b"set":
        return {"a": {1, 2}}
    call = json.loads(event)
    if call["rawPath"] == "/status":
        return {"statusCode": "secret"}
    name = json.loads(call["body"])["name"]
    return {"statusCode": 403, "headers": {"Set-Cookie": "a=b"}, "body": "Hello " + name}
"""
APP = """
class Page:
    def __iter__(self):
        yield b"a page of 20 letters"

    def close(self):
        raise KeyError("shut")


def handler(environ, start_response):
    start_response("200 OK", [("Content-Length", "20")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else Page()
"""


class Called:
    """A function that is called by HTTP at the host of its trigger."""

    def __init__(self, server: ServerProcess, name: str, host: str) -> None:
        self.server = server
        self.name = name
        self._http = httpx.Client(
            base_url=server.endpoint, headers={"host": host}, timeout=30.0, trust_env=False
        )

    def ask(self, method: str, path: str = "/", **settings: Any) -> httpx.Response:
        return self._http.request(method, path, **settings)

    def log_of(self, answer: httpx.Response) -> list[str]:
        return read_log(self.server, self.name, answer.headers["x-fc-request-id"])

    def close(self) -> None:
        self._http.close()


@contextmanager
def calling(server: ServerProcess, name: str, host: str) -> Iterator[Called]:
    called = Called(server, name, host)
    yield called
    called.close()


@pytest.fixture(scope="module")
def event(server: ServerProcess, sdk: Any) -> Iterator[Called]:
    name = create_function(sdk, EVENT)
    config = json.dumps({"methods": ["GET", "POST"], "authType": "anonymous"})
    body = models.CreateTriggerInput(trigger_name="t", trigger_type="http", trigger_config=config)
    made = sdk.create_trigger(name, models.CreateTriggerRequest(body=body)).body
    host = made.http_trigger.url_internet.removeprefix("http://")
    with calling(server, name, host) as called:
        yield called
    sdk.delete_trigger(name, "t")
    sdk.delete_function(name)


@pytest.fixture(scope="module")
def app(server: ServerProcess) -> Iterator[Called]:
    api = ServiceApi(server, "2016-08-15", "FC")
    with (
        api.service("answers"),
        api.function("answers", "app", {"index.py": APP}) as host,
        calling(server, "answers$app", host) as called,
    ):
        yield called
    api.http.close()


def test_half_a_character_that_comes_back_leaves_status_and_headers_as_they_are(
    event: Called,
) -> None:
    sent = {"content": rb'{"name": "\ud83d"}', "headers": {"content-type": "application/json"}}
    answer = event.ask("POST", "/hello", **sent)
    assert (answer.status_code, answer.headers["set-cookie"]) == (403, "a=b")
    assert answer.content == "Hello \ufffd".encode()


def test_what_http_does_not_have_is_told_to_the_log_and_not_to_the_client(event: Called) -> None:
    answer = event.ask("GET", "/status")
    assert (answer.status_code, answer.text) == (502, "Internal Server Error")
    assert "FC Invoke End" in event.log_of(answer)[-1]
    assert ", Error: " in event.log_of(answer)[-1]


def test_a_result_that_json_cannot_hold_has_no_stack(event: Called, sdk: Any) -> None:
    headers, body = invoke(sdk, event.name, b"set")
    assert headers["x-fc-error-type"] == "UnhandledInvocationError"
    description = json.loads(body)
    assert description.keys() == {"errorMessage", "errorType"}
    assert description["errorType"] == "TypeError"


def test_head_is_answered_with_the_length_that_the_app_gives(app: Called) -> None:
    for _ in range(2):  # on one connection
        answer = app.ask("HEAD")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == "20"
    assert app.ask("GET").text == "a page of 20 letters"


def test_an_answer_that_cannot_be_closed_is_sent_and_the_log_says_why(app: Called) -> None:
    answer = app.ask("GET")
    assert (answer.status_code, answer.text) == (200, "a page of 20 letters")
    log = "\n".join(app.log_of(answer))
    assert "[ERROR] The response could not be closed: {" in log
    assert 'raise KeyError(\\"shut\\")' in log
    assert log.endswith(f"FC Invoke End RequestId: {answer.headers['x-fc-request-id']}")


def test_an_answer_without_a_type_is_json(app: Called) -> None:
    for method in ("GET", "HEAD"):
        assert app.ask(method).headers["content-type"] == "application/json"
