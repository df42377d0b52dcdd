import json
from dataclasses import replace

import httpx
import pytest
from typer.testing import CliRunner

import anyfc.client
from anyfc.cli.logs import parse_age_s, render_json, render_line, tell_of_end
from anyfc.cli.main import app
from anyfc.client import LogLine

LINE = LogLine(time=1704164645.0789, request_id="1-a", instance_id="c-1", message="héllo \x1b[1m\n")


@pytest.mark.parametrize(
    ("text", "age_s"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("45", 45),
        ("1.5m", 90),
        (" 5m ", 300),
    ],
)
def test_an_age_has_a_unit(text, age_s):
    assert parse_age_s(text) == age_s


@pytest.mark.parametrize("text", ["", "m", "-5m", "5 m", "5w", "5m30s", "1e3", "nan", "\uff15m"])
def test_an_age_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="is not an age such as 30s"):
        parse_age_s(text)


def test_a_line_begins_with_its_time_in_utc():
    assert render_line(LINE) == "2024-01-02 03:04:05.078  héllo \x1b[1m"


def test_a_line_as_json_has_the_names_of_the_api():
    assert json.loads(render_json(LINE)) == {
        "time": 1704164645.0789,
        "requestId": "1-a",
        "instanceId": "c-1",
        "message": "héllo \x1b[1m\n",
    }


@pytest.fixture
def answers(monkeypatch, tmp_path):
    """What the server answers, one after the other."""
    answers, real = [], anyfc.client.Client
    monkeypatch.setattr(
        anyfc.client,
        "Client",
        lambda *place, **keys: real(
            *place, **keys, transport=httpx.MockTransport(lambda request: answers.pop(0))
        ),
    )
    monkeypatch.setenv("ANYFC_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("ANYFC_ACCESS_KEY_SECRET", "secret")
    monkeypatch.setenv("ANYFC_DATA_DIR", str(tmp_path))
    return answers


def test_a_pipe_gets_what_was_printed_and_a_terminal_cannot_be_controlled(answers, monkeypatch):
    rung = render_json(replace(LINE, message="bell \x07\n"))
    answers += [httpx.Response(200, text=rung) for _ in range(2)]
    assert "bell \x07\n" in CliRunner().invoke(app, ["logs", "f"]).stdout
    monkeypatch.setattr("anyfc.cli.logs.is_terminal", lambda stream: True)
    assert "bell \\x07\n" in CliRunner().invoke(app, ["logs", "f"]).stdout


def test_the_end_of_a_function_is_told_once_for_each(api, capsys):
    moments = iter([api.kept.clear, lambda: None, lambda: api.kept.update(there), api.kept.clear])
    there = {"/functions/f": {}}
    api.kept.update(there)

    def wait(_):
        moment = next(moments, None)
        return moment is None or bool(moment())

    with anyfc.client.Client("http://h", access_key_id="i", access_key_secret="s") as client:
        tell_of_end(client, "f", wait)
        assert capsys.readouterr().err == TOLD * 2
        api.refuse["GET", "functions"] = "AccessDenied"
        tell_of_end(client, "f", lambda _: False)  # it ends by itself
    assert capsys.readouterr().err == ""


TOLD = "f was deleted; a new function of this name would go on here\n"


def test_a_log_that_is_followed_ends_with_its_server_and_says_so(answers):
    gone = httpx.Response(404, json={"Code": "FunctionNotFound", "Message": "no f"})
    answers += [httpx.Response(200, text=render_json(LINE)), gone]
    result = CliRunner().invoke(app, ["logs", "f", "--follow"])
    assert result.exit_code == 2
    assert "héllo" in result.stdout
    assert "could not read the log of f" in result.stderr
    assert "FunctionNotFound (404): no f" in result.stderr
