import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from anyfc.instance.buffer import FOLLOWER_BYTES
from anyfc.instance.lines import ENTRY_BYTES, KIB, Entry
from anyfc.instance.logs import Logs, open_logs

LIMIT_BYTES = 4096 * KIB
DEADLINE_S = 10


def with_logs(folder: Path, scenario: Callable[[Logs], Awaitable[Any]], **settings: Any) -> None:
    async def run() -> None:
        async with (
            asyncio.timeout(DEADLINE_S),
            open_logs(folder, limit_bytes=LIMIT_BYTES, **settings) as logs,
        ):
            await scenario(logs)

    asyncio.run(run())


async def messages(entries: AsyncIterator[Entry]) -> list[bytes]:
    return [entry.message async for entry in entries]


async def take(entries: AsyncIterator[Entry], count: int) -> list[bytes]:
    return [(await anext(entries)).message for _ in range(count)]


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*.log")))


def test_what_was_just_written_can_be_read(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"one", b"two"])
        logs.buffer.write("g", b"1-b", b"c-2", [b"other"])
        assert await messages(logs.read("f")) == [b"one", b"two"]
        logs.buffer.write("f", b"1-c", b"c-1", [b"three"])
        assert await messages(logs.read("f")) == [b"one", b"two", b"three"]

    with_logs(tmp_path, scenario)


def test_an_entry_says_when_and_where_it_was_written(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"hello"])
        assert [entry async for entry in logs.read("f")] == [
            Entry(time=1735689600.123, request_id="1-a", instance_id="c-1", message=b"hello")
        ]

    with_logs(tmp_path, scenario, clock=lambda: 1735689600.12399)


def test_reading_can_be_limited_to_a_time_and_to_a_request(tmp_path: Path) -> None:
    times = iter([10.0, 20.0, 30.0])

    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"one"])
        logs.buffer.write("f", b"1-b", b"c-1", [b"two"])
        logs.buffer.write("f", b"1-a", b"c-1", [b"three"])
        assert await messages(logs.read("f", since=20.0)) == [b"two", b"three"]
        assert await messages(logs.read("f", request_id="1-a")) == [b"one", b"three"]
        assert await messages(logs.read("f", since=20.0, request_id="1-a")) == [b"three"]

    with_logs(tmp_path, scenario, clock=lambda: next(times))


def test_lines_reach_the_files_without_being_asked_for(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"hello"])
        while not stored(tmp_path).endswith(b"\thello\n"):  # noqa: ASYNC110 (files tell nobody)
            await asyncio.sleep(0)

    with_logs(tmp_path, scenario)


def test_closing_writes_what_is_left(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"last words"])

    with_logs(tmp_path, scenario, clock=lambda: 1.0)
    assert stored(tmp_path) == b"1000\t1-a\tc-1\tlast words\n"


def test_being_cancelled_writes_what_is_left(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"last words"])
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        with_logs(tmp_path, scenario, clock=lambda: 1.0)
    assert stored(tmp_path) == b"1000\t1-a\tc-1\tlast words\n"


def test_a_reader_that_goes_away_takes_no_lines_with_it(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        wrote = []
        for n in range(50):
            logs.buffer.write("f", b"1-a", b"c-1", [b"%d" % n])
            wrote.append(b"%d" % n)
            reader = asyncio.ensure_future(messages(logs.read("f")))
            for _ in range(n % 5):
                await asyncio.sleep(0)
            reader.cancel()
            await asyncio.wait([reader])
        assert await messages(logs.read("f")) == wrote

    with_logs(tmp_path, scenario)


def test_a_full_buffer_drops_the_oldest_lines_and_says_how_many(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("quiet", b"1-b", b"c-2", [b"early"])
        for n in range(500):
            logs.buffer.write("f", b"1-a", b"c-1", [b"%d" % n, b"%d+" % n])
        notice, *kept = [entry async for entry in logs.read("f")]
        dropped = 1000 - len(kept)
        assert 0 < len(kept) < 1000
        assert notice.message == (
            b"lines left out here because they could not be written: %d" % dropped
        )
        assert notice.request_id == notice.instance_id == ""
        assert [entry.message for entry in kept[::2]] == [b"%d" % n for n in range(500)][
            dropped // 2 :
        ]
        logs.buffer.write("f", b"1-a", b"c-1", [b"after"])
        assert (await messages(logs.read("f")))[-1] == b"after"
        logs.buffer.write("quiet", b"1-b", b"c-2", [b"late"])
        assert await messages(logs.read("quiet")) == [
            b"lines left out here because they could not be written: 1",
            b"late",
        ]

    with_logs(tmp_path, scenario, buffer_bytes=16 * KIB)


def test_lines_that_a_disk_refuses_are_counted_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(logs: Logs) -> None:
        obstacle = tmp_path / "f"
        obstacle.write_bytes(b"a file where the folder should be")
        for _ in range(3):
            logs.buffer.write("f", b"1-a", b"c-1", [b"lost", b"too"])
            logs.buffer.write("g", b"1-b", b"c-2", [b"kept"])
            await messages(logs.read("g"))
        obstacle.unlink()
        logs.buffer.write("f", b"1-a", b"c-1", [b"again"])
        assert await messages(logs.read("f")) == [
            b"lines left out here because they could not be written: 6",
            b"again",
        ]
        assert await messages(logs.read("g")) == [b"kept"] * 3

    with caplog.at_level(logging.ERROR):
        with_logs(tmp_path, scenario)
    assert [record.message for record in caplog.records] == ["function log not written"]


def test_a_removed_log_is_gone_with_what_was_not_yet_written(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"in the file"])
        await messages(logs.read("f"))
        logs.buffer.write("f", b"1-a", b"c-1", [b"in the buffer"])
        logs.buffer.write("g", b"1-b", b"c-2", [b"other"])
        await logs.remove("f")
        assert await messages(logs.read("f")) == []
        assert await messages(logs.read("g")) == [b"other"]

    with_logs(tmp_path, scenario)
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


class Owners:
    """Which function has which name."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}

    def __call__(self, name: str) -> str | None:
        return self.ids.get(name)


def test_what_an_earlier_function_of_a_name_writes_is_left_out(tmp_path: Path) -> None:
    owner = Owners()

    async def scenario(logs: Logs) -> None:
        owner.ids = {"f": "1", "g": "2"}
        old, other = logs.key("f", "1"), logs.key("g", "2")
        logs.buffer.write(old, b"1-a", b"c-1", [b"handled"])
        assert await messages(logs.read("f")) == [b"handled"]
        del owner.ids["f"]
        logs.buffer.write(old, b"1-b", b"c-1", [b"deleted"])
        await logs.sweep({"g"})
        owner.ids["f"] = "3"
        logs.buffer.write(old, b"1-b", b"c-1", [b"created anew"])
        await logs.remove("f")
        logs.buffer.write(logs.key("f", "3"), b"1-c", b"c-3", [b"new"])
        logs.buffer.write(old, b"1-b", b"c-1", [b"stopped"])
        logs.buffer.write(other, b"1-d", b"c-2", [b"other"])
        assert await messages(logs.read("f")) == [b"new"]
        assert await messages(logs.read("g")) == [b"other"]

    with_logs(tmp_path, scenario, owner=owner)
    assert b"stopped" not in stored(tmp_path)


def test_lines_of_an_earlier_function_are_not_missed_either(tmp_path: Path) -> None:
    owner = Owners()

    async def scenario(logs: Logs) -> None:
        owner.ids = {"f": "2"}
        for n in range(500):
            logs.buffer.write(logs.key("f", "1"), b"1-a", b"c-1", [b"%d" % n])
        logs.buffer.write(logs.key("f", "2"), b"1-b", b"c-2", [b"new"])
        assert await messages(logs.read("f")) == [b"new"]

    with_logs(tmp_path, scenario, owner=owner, buffer_bytes=16 * KIB)


def test_a_follower_goes_on_with_the_function_that_is_created_anew(tmp_path: Path) -> None:
    owner = Owners()

    async def scenario(logs: Logs) -> None:
        owner.ids = {"f": "1", "g": "1"}
        old = logs.key("f", "1")
        async with aclosing(logs.follow("f")) as entries, aclosing(logs.follow("g")) as others:
            for key in (old, logs.key("g", "1")):
                logs.buffer.write(key, b"1-a", b"c-1", [b"one"])
            assert [await take(lines, 1) for lines in (entries, others)] == [[b"one"], [b"one"]]
            owner.ids["f"] = "2"
            await logs.remove("f")
            logs.buffer.write(old, b"1-a", b"c-1", [b"stopped"])
            logs.buffer.write(logs.key("f", "2"), b"1-b", b"c-2", [b"two"])
            logs.buffer.write(logs.key("g", "1"), b"1-c", b"c-3", [b"two"])
            assert [await take(lines, 1) for lines in (entries, others)] == [[b"two"], [b"two"]]
        assert not logs.buffer._followers

    with_logs(tmp_path, scenario, owner=owner)


def test_following_begins_with_what_is_there_and_goes_on(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"one", b"two"])
        async with aclosing(logs.follow("f")) as entries:
            assert await take(entries, 2) == [b"one", b"two"]
            logs.buffer.write("f", b"1-b", b"c-1", [b"three"])
            logs.buffer.write("g", b"1-c", b"c-2", [b"other"])
            logs.buffer.write("f", b"1-d", b"c-1", [b"four"])
            assert await take(entries, 2) == [b"three", b"four"]

    with_logs(tmp_path, scenario)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 50])
def test_following_neither_loses_nor_repeats_a_line_at_the_seam(tmp_path: Path, steps: int) -> None:
    async def scenario(logs: Logs) -> None:
        async def write() -> None:
            for n in range(2000):
                logs.buffer.write("f", f"1-{n % 2}".encode(), b"c-1", [b"%d" % n])
                if n % 20 == 0:
                    await asyncio.sleep(0)
                if n == 1000:
                    await messages(logs.read("f"))

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(steps):
                await asyncio.sleep(0)
            everything = group.create_task(take(logs.follow("f"), 2000))
            half = group.create_task(take(logs.follow("f", request_id="1-1"), 1000))
        assert everything.result() == [b"%d" % n for n in range(2000)]
        assert half.result() == [b"%d" % n for n in range(1, 2000, 2)]

    with_logs(tmp_path, scenario)


def test_a_follower_sees_an_entry_as_a_reader_does(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"history"])
        async with aclosing(logs.follow("f")) as entries:
            followed = [await anext(entries)]
            logs.buffer.write("f", "1-ü".encode(), b"c-1", [b"x" * (ENTRY_BYTES + 1), b"\xff\r"])
            followed += [await anext(entries), await anext(entries)]
        assert followed == [entry async for entry in logs.read("f")]

    with_logs(tmp_path, scenario, clock=lambda: 1735689600.9999)


def test_a_follower_that_is_too_slow_is_told_what_it_missed(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"start"])
        async with aclosing(logs.follow("f")) as entries:
            assert await take(entries, 1) == [b"start"]
            line = b"x" * KIB
            for _ in range(2000):
                logs.buffer.write("f", b"1-a", b"c-1", [line])
            logs.buffer.write("f", b"1-a", b"c-1", [b"short enough to fit, but out of order"])
            kept = 0
            while (message := (await anext(entries)).message) == line:
                kept += 1
            assert FOLLOWER_BYTES // 2 < kept * KIB <= FOLLOWER_BYTES
            missed = b"lines left out here because they came faster than they were read: %d"
            assert message == missed % (2001 - kept)
            logs.buffer.write("f", b"1-a", b"c-1", [b"again"])
            assert await take(entries, 1) == [b"again"]
        assert len(await messages(logs.read("f"))) == 2003

    with_logs(tmp_path, scenario)


def test_a_follower_that_is_dismissed_gets_what_was_written_before(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        logs.buffer.write("f", b"1-a", b"c-1", [b"one"])
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(messages(logs.follow("f"))) for _ in range(2)]
            while len(logs.buffer._followers.get("f", [])) < 2:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0)
            logs.buffer.write("f", b"1-a", b"c-1", [b"two"])
            logs.dismiss_followers()
        assert [task.result() for task in following] == [[b"one", b"two"]] * 2
        assert not logs.buffer._followers

    with_logs(tmp_path, scenario)


def test_a_follower_that_is_cancelled_is_forgotten(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        for steps in range(20):
            task = asyncio.ensure_future(messages(logs.follow("f")))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert not logs.buffer._followers

    with_logs(tmp_path, scenario)


def test_a_thousand_functions_keep_their_logs_apart(tmp_path: Path) -> None:
    async def scenario(logs: Logs) -> None:
        for round_number in range(3):
            for n in range(1000):
                logs.buffer.write(f"f{n}", b"1-a", b"c-1", [b"%d %d" % (n, round_number)])
            await messages(logs.read("f0"))
        for n in range(0, 1000, 97):
            assert await messages(logs.read(f"f{n}")) == [b"%d %d" % (n, r) for r in range(3)]

    with_logs(tmp_path, scenario)


def test_a_sweep_deletes_the_logs_of_functions_that_are_not_kept(tmp_path):
    async def run():
        async with open_logs(tmp_path, limit_bytes=LIMIT_BYTES) as logs:
            for name in ("kept", "gone"):
                logs.buffer.write(name, b"r", b"i", [b"line"])
            await logs.sweep({"kept"})
            return [len([entry async for entry in logs.read(name)]) for name in ("kept", "gone")]

    assert asyncio.run(run()) == [1, 0]
