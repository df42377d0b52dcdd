import base64

import httpx
import pytest
from typer.testing import CliRunner

import anyfc.client
from anyfc.cli.main import app

SUCCESS = {"X-Fc-Request-Id": "1-a", "X-Fc-Invocation-Duration": "1.5"}
FAILURE = {**SUCCESS, "X-Fc-Error-Type": "UnhandledInvocationError"}


@pytest.fixture
def answers(monkeypatch, tmp_path):
    """What the server answers, and the requests it got."""
    answers, requests, real = [], [], anyfc.client.Client

    def serve(request):
        requests.append(request)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(
        anyfc.client,
        "Client",
        lambda *place, **keys: real(*place, **keys, transport=httpx.MockTransport(serve)),
    )
    monkeypatch.delenv("ANYFC_ENDPOINT", raising=False)
    monkeypatch.setenv("ANYFC_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("ANYFC_ACCESS_KEY_SECRET", "secret")
    monkeypatch.setenv("ANYFC_DATA_DIR", str(tmp_path))
    return answers, requests


def run(*words, stdin=None):
    return CliRunner().invoke(app, ["invoke", *map(str, words)], input=stdin)


def test_the_body_goes_to_stdout_as_it_is_and_the_rest_to_stderr(answers):
    answers[0].append(httpx.Response(200, content=b"\x00\xff", headers=SUCCESS))
    result = run("f")
    assert result.exit_code == 0
    assert result.stdout_bytes == b"\x00\xff"
    assert result.stderr == "ok · status 200 · 1.50 ms · 1-a\n"


def test_a_function_that_fails_ends_with_1(answers):
    log = base64.b64encode(b"line one\nline two\n").decode()
    answers[0].append(
        httpx.Response(200, content=b"{}", headers={**FAILURE, "X-Fc-Log-Result": log})
    )
    result = run("f", "--tail")
    assert result.exit_code == 1
    assert result.stdout == "{}"
    assert "UnhandledInvocationError" in result.stderr
    assert result.stderr.endswith("--- log\nline one\nline two\n")
    assert answers[1][0].headers["x-fc-log-type"] == "Tail"


def test_a_request_that_is_refused_ends_with_2(answers):
    error = {"Code": "FunctionNotFound", "Message": "no f", "RequestId": "1-a"}
    answers[0].append(httpx.Response(404, json=error))
    result = run("f")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "could not invoke f" in result.stderr
    assert "FunctionNotFound (404): no f" in result.stderr
    assert "request id: 1-a" in result.stderr
    assert "anyfc list" in result.stderr


def test_the_event_comes_from_the_argument_a_file_or_stdin(answers, tmp_path):
    path = tmp_path / "event.bin"
    path.write_bytes(b"\xff\x00")
    for words, stdin, event in (
        (["f", "héllo"], None, "héllo".encode()),
        (["f", "--file", path], None, b"\xff\x00"),
        (["f", "-"], b"piped\xff", b"piped\xff"),
        (["f"], b"not asked for", b""),
    ):
        answers[0].append(httpx.Response(200, headers=SUCCESS))
        assert run(*words, stdin=stdin).exit_code == 0
        assert answers[1][-1].content == event


def test_a_terminal_cannot_be_controlled_by_the_log(answers, monkeypatch):
    log = base64.b64encode(b"red \x1b[31m\tand\x9b\n").decode()
    monkeypatch.setattr("anyfc.cli.invoke.is_terminal", lambda stream: True)
    answers[0].append(httpx.Response(200, headers={**SUCCESS, "X-Fc-Log-Result": log}))
    assert run("f", "--tail").stderr.endswith("red \\x1b[31m\tand\ufffd\n")


def test_a_name_that_is_not_utf_8_is_refused(answers):
    result = run("\udcff")
    assert (result.exit_code, answers[1]) == (2, [])
    assert "InvalidText: not UTF-8: '\\udcff'" in result.stderr


def test_an_event_that_is_given_twice_or_missing_is_refused(answers, tmp_path):
    twice = run("f", "text", "--file", tmp_path / "x")
    assert (twice.exit_code, answers[1]) == (2, [])
    assert "given twice" in twice.stderr
    gone = run("f", "--file", tmp_path / "x")
    assert (gone.exit_code, answers[1]) == (2, [])
    assert "No such file" in gone.stderr


def test_a_server_that_is_not_there_comes_with_advice(answers):
    answers[0].append(httpx.ConnectError("Connection refused"))
    result = run("f")
    assert result.exit_code == 2
    assert "cannot connect to http://127.0.0.1:9000: Connection refused" in result.stderr
    assert "Is the server running? Start it with `anyfc serve`" in result.stderr
