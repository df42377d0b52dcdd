"""Bodies: held back, limited, failed and thrown away."""

import asyncio
from collections.abc import Callable

import pytest
from clock import run_on_clock, settle

from anyfc.errors import EntityTooLarge, RequestTimeout
from anyfc.web.message import HIGH_WATER_BYTES, Body, PeerLost


class Counter:
    """A valve that counts."""

    def __init__(self) -> None:
        self.paused = 0

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self) -> None:
        self.paused -= 1


def new_body(
    declared_bytes: int | None = None, on_first_read: Callable[[], None] | None = None
) -> tuple[Body, Counter]:
    valve = Counter()
    return Body(valve, declared_bytes, on_first_read), valve


async def read_all(body: Body) -> bytes:
    return b"".join([piece async for piece in body])


def test_a_whole_body_is_there_at_once():
    body, _ = new_body(10)
    body.feed(b"hello")
    assert body.read_nowait() is None
    body.feed(b"world")
    body.end()
    assert body.read_nowait() == b"helloworld"
    assert body.spent


def test_a_body_that_was_read_is_empty():
    body, _ = new_body(1)
    body.feed(b"x")
    body.end()
    body.read_nowait()
    assert body.read_nowait() == b""


def test_pieces_come_in_order_as_they_arrive():
    async def main() -> bytes:
        body, _ = new_body()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_all(body))
            for piece in (b"a", b"b", b"c"):
                await settle()
                body.feed(piece)
            body.end()
        return reading.result()

    assert run_on_clock(main()) == b"abc"


def test_the_sender_waits_while_nobody_reads_and_goes_on_when_all_is_read():
    async def main() -> None:
        body, valve = new_body()
        body.feed(bytes(HIGH_WATER_BYTES))
        assert valve.paused == 0
        body.feed(b"x")
        body.feed(b"y")
        assert valve.paused == 1
        await body.read()
        await body.read()
        assert valve.paused == 1
        await body.read()
        assert valve.paused == 0

    run_on_clock(main())


@pytest.mark.parametrize("take", [Body.read_nowait, Body.discard])
def test_taking_or_throwing_away_all_lets_the_sender_go_on(take):
    body, valve = new_body()
    body.feed(bytes(HIGH_WATER_BYTES + 1))
    body.end()
    take(body)
    assert valve.paused == 0
    assert body.spent


def test_a_body_of_exactly_the_limit_is_taken():
    body, _ = new_body(5)
    body.set_limit(5)
    body.feed(b"12345")
    body.end()
    assert body.read_nowait() == b"12345"


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes():
    body, _ = new_body(6)
    with pytest.raises(EntityTooLarge):
        body.set_limit(5)


def test_a_body_that_grows_too_large_is_refused_as_it_comes():
    body, _ = new_body()
    body.set_limit(5)
    body.feed(b"123456")
    body.end()
    assert body.read_nowait() is None
    with pytest.raises(EntityTooLarge):
        run_on_clock(body.read())


@pytest.mark.parametrize("failure", [PeerLost(), RequestTimeout()])
def test_a_failure_reaches_the_reader_after_what_came_before_it(failure):
    async def main() -> None:
        body, _ = new_body()
        body.feed(b"a")
        body.fail(failure)
        body.fail(PeerLost("a later one"))
        assert await body.read() == b"a"
        with pytest.raises(type(failure)) as caught:
            await body.read()
        assert caught.value is failure

    run_on_clock(main())


def test_a_failure_reaches_a_reader_who_waits():
    async def main() -> None:
        body, _ = new_body()
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(body))
            await settle()
            body.fail(PeerLost())

    async def fails(body: Body) -> None:
        with pytest.raises(PeerLost):
            await body.read()

    run_on_clock(main())


def test_a_complete_body_cannot_fail_any_more():
    async def main() -> bytes:
        body, _ = new_body()
        body.feed(b"a")
        body.end()
        body.fail(PeerLost())
        return await read_all(body)

    assert run_on_clock(main()) == b"a"


def test_for_a_reader_a_discarded_body_ends():
    async def main() -> bytes:
        body, valve = new_body()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_all(body))
            await settle()
            body.discard()
        body.feed(bytes(2 * HIGH_WATER_BYTES))
        assert valve.paused == 0
        assert not body.complete
        return reading.result()

    assert run_on_clock(main()) == b""


def test_the_sender_is_told_to_go_on_when_somebody_reads_and_only_once():
    async def main() -> list[str]:
        said: list[str] = []
        body, _ = new_body(2, lambda: said.append("go on"))
        assert body.held_back
        async with asyncio.TaskGroup() as group:
            group.create_task(read_all(body))
            await settle()
            assert not body.held_back
            body.feed(b"a")
            await settle()
            body.feed(b"b")
            body.end()
        return said

    assert run_on_clock(main()) == ["go on"]


def test_a_sender_that_did_not_wait_is_told_nothing():
    async def main() -> None:
        body, _ = new_body(2, lambda: pytest.fail("said something"))
        body.feed(b"ab")
        assert not body.held_back
        body.end()
        await read_all(body)

    run_on_clock(main())


def test_a_reader_that_is_cancelled_leaves_the_body_to_the_next():
    async def main() -> bytes:
        body, _ = new_body()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await body.read()
        body.feed(b"a")
        body.end()
        return await read_all(body)

    assert run_on_clock(main()) == b"a"


# --- poured ------------------------------------------------------------------------------------


class Bucket:
    """A sink that keeps what it takes, and holds the body after so many pieces."""

    def __init__(self, body: Body, room: int = 1000) -> None:
        self.taken: list[bytes] = []
        self.ends = 0
        self.failure: Exception | None = None
        self.room = room
        self._body = body

    def take(self, piece: bytes) -> None:
        self.taken.append(piece)
        self.room -= 1
        if not self.room:
            self._body.hold()

    def take_end(self) -> None:
        self.ends += 1

    def take_failure(self, failure: Exception) -> None:
        self.failure = failure


def test_a_body_is_poured_as_it_comes_up_to_its_end():
    told: list[bool] = []
    body, _ = new_body(None, lambda: told.append(True))
    bucket = Bucket(body)
    body.pour(bucket)
    assert told == [True]
    body.feed(b"a")
    body.feed(b"b")
    assert (bucket.taken, bucket.ends) == ([b"a", b"b"], 0)
    body.end()
    assert bucket.ends == 1
    assert body.spent


def test_what_came_before_the_pouring_comes_first():
    body, _ = new_body()
    body.feed(b"a")
    body.feed(b"b")
    body.end()
    bucket = Bucket(body)
    body.pour(bucket)
    assert (bucket.taken, bucket.ends) == ([b"a", b"b"], 1)


def test_a_sink_that_is_full_makes_the_sender_wait():
    body, valve = new_body()
    bucket = Bucket(body, room=1)
    body.pour(bucket)
    for piece in (b"a", b"b", bytes(HIGH_WATER_BYTES)):
        body.feed(piece)
    assert bucket.taken == [b"a"]
    assert valve.paused == 1
    body.end()
    bucket.room = 1
    body.flow()
    assert bucket.taken == [b"a", b"b"]
    assert bucket.ends == 0
    body.flow()
    assert len(bucket.taken) == 3
    assert bucket.ends == 1
    assert valve.paused == 0


def test_a_body_that_was_put_on_hold_before_is_not_poured_before_it_may_flow():
    body, _ = new_body()
    bucket = Bucket(body)
    body.feed(b"a")
    body.hold()
    body.pour(bucket)
    assert bucket.taken == []
    body.flow()
    assert bucket.taken == [b"a"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sink_is_told_of_a_failure(when):
    body, _ = new_body()
    bucket = Bucket(body)
    for step in ("before", "pour", "after"):
        if step == when:
            body.fail(PeerLost())
        elif step == "pour":
            body.pour(bucket)
    assert isinstance(bucket.failure, PeerLost)


def test_a_sink_is_told_of_a_body_that_grows_too_large_and_gets_no_more():
    body, _ = new_body()
    bucket = Bucket(body)
    body.set_limit(3)
    body.pour(bucket)
    for piece in (b"ab", b"cd", b"ef"):
        body.feed(piece)
    body.end()
    assert isinstance(bucket.failure, EntityTooLarge)
    assert (bucket.taken, bucket.ends) == ([b"ab"], 0)


def test_a_sink_may_throw_the_rest_away():
    body, _ = new_body()
    bucket = Bucket(body)
    body.pour(bucket)
    body.feed(b"a")
    body.discard()
    body.feed(b"b")
    body.end()
    assert (bucket.taken, bucket.ends) == ([b"a"], 0)
