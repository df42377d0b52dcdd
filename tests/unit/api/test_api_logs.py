"""A function's log through the control API, on real log files."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from anyfc.api.app import build_app
from anyfc.api.logs import PIECE_BYTES
from anyfc.instance.lines import Entry

LOGS = "/anyfc/functions/f/logs"


def scope(query: bytes) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": LOGS,
        "raw_path": LOGS.encode(),
        "query_string": query,
        "headers": [],
        "asgi": {"spec_version": "2.3"},
    }


def write(api, *lines: bytes, request_id: str = "1-a") -> None:
    async def write_now() -> None:
        api.parts.logs.buffer.write("f", request_id.encode(), b"c-1", list(lines))

    api.runner.run(write_now())


def read(api, query: str = "") -> list[dict[str, Any]]:
    answer = api.send("GET", f"{LOGS}?{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_log_is_one_json_object_for_each_line(api):
    api.create()
    write(api, b"first", b"\xff\xc3\xa4")
    lines = read(api)
    assert [line["message"] for line in lines] == ["first", "\ufffdä"]
    assert lines[0].keys() == {"time", "requestId", "instanceId", "message"}
    assert (lines[0]["requestId"], lines[0]["instanceId"]) == ("1-a", "c-1")


def test_a_log_without_lines_is_empty(api):
    api.create()
    assert read(api) == []


def test_a_log_larger_than_a_piece_comes_whole(api):
    api.create()
    write(api, *(b"%06d" % n for n in range(5000)))
    lines = read(api)
    assert [int(line["message"]) for line in lines] == list(range(5000))
    assert len(json.dumps(lines)) > 2 * PIECE_BYTES


def test_a_log_is_filtered_by_request_and_time(api):
    api.create()
    write(api, b"one", request_id="1-a")
    write(api, b"two", request_id="1-b")
    assert [line["message"] for line in read(api, "requestId=1-b")] == ["two"]
    assert len(read(api, "since=0&follow=false&requestId=")) == 2
    assert read(api, "since=99999999999.5") == []


@pytest.mark.parametrize("query", ["since=yesterday", "since=nan", "since=inf", "follow=maybe"])
def test_a_filter_that_cannot_be_understood_is_refused(api, query):
    api.create()
    answer = api.send("GET", f"{LOGS}?{query}")
    assert (answer.status_code, answer.json()["Code"]) == (400, "InvalidArgument")


def test_the_log_of_a_function_that_is_not_there_is_refused(api):
    for query in ("", "follow=true"):
        answer = api.send("GET", f"{LOGS}?{query}")
        assert (answer.status_code, answer.json()["Code"]) == (404, "FunctionNotFound")


def test_a_followed_log_goes_on_until_the_reader_leaves(api):
    api.create()
    write(api, b"before")

    async def follow() -> list[str]:
        sent: asyncio.Queue[bytes] = asyncio.Queue()
        gone = asyncio.Event()

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                sent.put_nowait(message["body"])

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            task = group.create_task(build_app(api.parts)(scope(b"follow=True"), receive, send))
            pieces = [await sent.get()]
            api.parts.logs.buffer.write("f", b"1-b", b"c-1", [b"after"])
            pieces.append(await sent.get())
            gone.set()
            await task
        return [json.loads(piece)["message"] for piece in pieces]

    assert api.runner.run(follow()) == ["before", "after"]


def test_an_answer_that_fails_on_the_way_is_broken_off_and_logged_once(api, caplog):
    class Failing:
        async def read(self, function: str, **filters: object) -> AsyncIterator[Entry]:
            yield Entry(time=0, request_id="", instance_id="", message=b"x" * PIECE_BYTES)
            raise ZeroDivisionError

    async def receive() -> dict[str, str]:
        return await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    api.create()
    messages: list[dict[str, Any]] = []
    app = build_app(replace(api.parts, logs=Failing()))
    api.runner.run(app(scope(b""), receive, send))
    assert [message["type"] for message in messages] == [
        "http.response.start",
        "http.response.body",
    ]
    assert messages[-1]["more_body"] is True
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
