import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from anyfc.instance.buffer import FOLLOWER_BYTES, RECORD_BYTES, Buffer, Follower
from anyfc.instance.lines import ENTRY_BYTES, KIB, Entry

# What the record of one line "x" counts.
ONE_BYTES = RECORD_BYTES + len(b"1000\tr\tc\tx\n")


def times(*seconds: float) -> Callable[[], float]:
    """A clock that shows these, one after the other."""
    left = iter(seconds)
    return lambda: next(left)


def with_buffer(
    scenario: Callable[[Buffer], Awaitable[Any]],
    *,
    limit_bytes: int = 1024 * KIB,
    clock: Callable[[], float] = lambda: 1.0,
) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            await scenario(Buffer(limit_bytes, clock))

    asyncio.run(run())


def write(buffer: Buffer, *lines: bytes, function: str = "f", request_id: bytes = b"r") -> None:
    buffer.write(function, request_id, b"c", list(lines))


def texts(buffer: Buffer) -> list[tuple[str, bytes]]:
    records, _ = buffer.take()
    return [(record.function, record.text) for record in records]


async def messages(follower: Follower) -> list[bytes]:
    return [entry.message for entry in await follower.wait_entries()]


def test_what_is_written_waits_in_the_form_of_the_files_until_it_is_taken() -> None:
    async def scenario(buffer: Buffer) -> None:
        write(buffer, b"one", b"two")
        write(buffer, b"other", function="g", request_id=b"s")
        assert texts(buffer) == [
            ("f", b"1000\tr\tc\tone\n1000\tr\tc\ttwo\n"),
            ("g", b"1000\ts\tc\tother\n"),
        ]
        assert texts(buffer) == []

    with_buffer(scenario)


def test_no_lines_are_nothing() -> None:
    async def scenario(buffer: Buffer) -> None:
        follower = Follower(None)
        buffer.follow("f", follower)
        write(buffer)
        assert texts(buffer) == []
        assert not buffer.some.is_set()
        follower.dismiss()
        assert await messages(follower) == []

    with_buffer(scenario)


@pytest.mark.parametrize(
    "seconds", [(0.0, 0.0004, 0.001), (1.0, 1.0009, 1.001), (2.0, 2.0, 1.0), (1.0, 2.0, 1.0)]
)
def test_each_line_has_the_millisecond_it_was_written_in(seconds: tuple[float, ...]) -> None:
    async def scenario(buffer: Buffer) -> None:
        for _ in seconds:
            write(buffer, b"x")
        assert texts(buffer) == [("f", b"%d\tr\tc\tx\n" % int(second * 1000)) for second in seconds]

    with_buffer(scenario, clock=times(*seconds))


def test_it_says_that_there_is_something_and_when_it_is_much() -> None:
    async def scenario(buffer: Buffer) -> None:
        said: list[tuple[bool, bool]] = []

        def look() -> None:
            said.append((buffer.some.is_set(), buffer.much.is_set()))

        look()
        for _ in range(3):
            write(buffer, b"x")
            look()
        buffer.take()
        look()
        assert said == [(False, False), (True, False), (True, False), (True, True), (False, False)]

    with_buffer(scenario, limit_bytes=8 * ONE_BYTES)


def test_when_it_is_full_the_oldest_lines_give_way_and_are_counted_once() -> None:
    async def scenario(buffer: Buffer) -> None:
        write(buffer, b"x", function="g")
        for n in range(5):
            write(buffer, b"%d" % n)
        records, dropped = buffer.take()
        assert [record.text[-2:-1] for record in records] == [b"2", b"3", b"4"]
        assert dropped == Counter(g=1, f=2)
        write(buffer, b"x")
        assert buffer.take()[1] == Counter()

    with_buffer(scenario, limit_bytes=3 * ONE_BYTES)


def test_every_line_of_a_record_that_gives_way_is_counted() -> None:
    async def scenario(buffer: Buffer) -> None:
        write(buffer, b"a", b"b", b"c")
        write(buffer, b"x" * 2 * ONE_BYTES)
        write(buffer, b"last")
        records, dropped = buffer.take()
        assert [record.text for record in records] == [b"1000\tr\tc\tlast\n"]
        assert dropped == Counter(f=4)

    with_buffer(scenario, limit_bytes=2 * ONE_BYTES)


def test_what_others_have_left_out_is_counted_with_what_gave_way_and_forgotten_with_it() -> None:
    async def scenario(buffer: Buffer) -> None:
        buffer.leave_out("f", 5)
        buffer.leave_out("g", 7)
        write(buffer, b"x")
        write(buffer, b"y")
        buffer.forget("g")
        assert buffer.take()[1] == Counter(f=6)

    with_buffer(scenario, limit_bytes=ONE_BYTES)


def test_what_is_forgotten_is_gone_and_makes_room() -> None:
    async def scenario(buffer: Buffer) -> None:
        for _ in range(2):
            write(buffer, b"x", function="g")
        for _ in range(2):
            write(buffer, b"x")
        buffer.forget("g")
        write(buffer, b"x", function="h")
        records, dropped = buffer.take()
        assert [record.function for record in records] == ["f", "f", "h"]
        assert dropped == Counter()

    with_buffer(scenario, limit_bytes=3 * ONE_BYTES)


def test_a_follower_gets_what_is_written_from_then_on_until_it_leaves() -> None:
    async def scenario(buffer: Buffer) -> None:
        follower = Follower(None)
        write(buffer, b"before")
        buffer.follow("f", follower)
        write(buffer, b"one", b"two")
        write(buffer, b"of another", function="g")
        assert await messages(follower) == [b"one", b"two"]
        write(buffer, b"three")
        buffer.leave("f", follower)
        write(buffer, b"after")
        assert await messages(follower) == [b"three"]

    with_buffer(scenario)


def test_a_follower_of_a_request_gets_only_what_is_that_requests() -> None:
    async def scenario(buffer: Buffer) -> None:
        follower = Follower("1-ü")
        buffer.follow("f", follower)
        write(buffer, b"other")
        write(buffer, b"x" * (ENTRY_BYTES + 1), request_id="1-ü".encode())
        assert await follower.wait_entries() == [
            Entry(time=1.0, request_id="1-ü", instance_id="c", message=b"x" * ENTRY_BYTES)
        ]

    with_buffer(scenario)


def test_who_leaves_takes_no_other_follower_along_and_may_not_be_one_yet() -> None:
    async def scenario(buffer: Buffer) -> None:
        stays, leaves, stranger = (Follower(None) for _ in range(3))
        buffer.leave("f", stranger)
        buffer.follow("f", stays)
        buffer.follow("f", leaves)
        buffer.leave("f", stranger)
        buffer.leave("f", leaves)
        buffer.leave("f", leaves)
        write(buffer, b"one")
        assert await messages(stays) == [b"one"]
        buffer.leave("f", stays)
        assert not buffer._followers

    with_buffer(scenario)


def test_followers_get_lines_that_are_dropped_or_forgotten_before_they_are_taken() -> None:
    async def scenario(buffer: Buffer) -> None:
        follower = Follower(None)
        buffer.follow("f", follower)
        for n in range(3):
            write(buffer, b"%d" % n)
        buffer.forget("f")
        assert await messages(follower) == [b"0", b"1", b"2"]

    with_buffer(scenario, limit_bytes=ONE_BYTES)


def test_a_dismissed_follower_gets_what_came_before_and_then_nothing() -> None:
    async def scenario(buffer: Buffer) -> None:
        followers = {name: Follower(None) for name in ("f", "g")}
        for name, follower in followers.items():
            buffer.follow(name, follower)
        write(buffer, b"one")
        buffer.dismiss_followers()
        assert await messages(followers["f"]) == [b"one"]
        assert await messages(followers["f"]) == []
        assert await messages(followers["g"]) == []

    with_buffer(scenario)


def test_a_follower_that_does_not_read_is_told_how_much_it_missed() -> None:
    async def scenario(buffer: Buffer) -> None:
        follower = Follower(None)
        buffer.follow("f", follower)
        for _ in range(FOLLOWER_BYTES // ENTRY_BYTES + 1):
            write(buffer, b"x" * ENTRY_BYTES)
        write(buffer, b"short", b"but out of order")
        *entries, notice = await follower.wait_entries()
        kept = len(entries)
        assert 0 < kept < FOLLOWER_BYTES // ENTRY_BYTES + 1
        missed = FOLLOWER_BYTES // ENTRY_BYTES + 1 - kept + 2
        assert notice.message.endswith(b"faster than they were read: %d" % missed)
        assert notice.request_id == notice.instance_id == ""
        write(buffer, b"again")
        assert await messages(follower) == [b"again"]

    with_buffer(scenario)


def test_a_follower_that_waits_gets_even_what_is_longer_than_it_keeps() -> None:
    async def scenario(buffer: Buffer) -> None:
        follower = Follower(None)
        buffer.follow("f", follower)
        lines = [b"x" * ENTRY_BYTES] * (FOLLOWER_BYTES // ENTRY_BYTES + 1)
        write(buffer, *lines)
        assert await messages(follower) == lines

    with_buffer(scenario)
