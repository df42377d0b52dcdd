import json

import pytest

from anyfc.cli.logs import parse_age_s, render_json, render_line
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
