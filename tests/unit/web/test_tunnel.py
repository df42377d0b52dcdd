"""Two connections that are joined: what one side says is what the other side hears."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from clock import run_on_clock, settle
from transport import FakeTransport

from anyfc.web.tunnel import HALF_OPEN_S, End, join


class Side:
    """One end of a tunnel, and the transport beneath it."""

    def __init__(self, early: bytes = b"", *, secure: bool = False) -> None:
        self.lost = 0
        self.wire = FakeTransport(asyncio.Protocol(), secure=secure)
        self.wire.pause_reading()
        self.end = End(self.wire, early, self._lose)

    def _lose(self) -> None:
        self.lost += 1


@asynccontextmanager
async def joined(a: Side, b: Side) -> AsyncIterator[asyncio.Task[None]]:
    """Join two sides; at the end of the block the tunnel must be over."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(join(a.end, b.end))
        await settle()
        yield task
        await settle()
        assert task.done()
        assert a.wire.closing
        assert b.wire.closing


def test_bytes_are_carried_both_ways_and_what_was_read_before_comes_first():
    async def main() -> None:
        a, b = Side(b"early "), Side()
        b.wire.deliver(b"before ")
        assert b.wire.written == a.wire.written == b""
        async with joined(a, b):
            a.wire.deliver(b"there")
            b.wire.deliver(b"back")
            assert b.wire.written == b"early there"
            assert a.wire.written == b"before back"
            a.wire.lose()
        assert (a.lost, b.lost) == (1, 1)

    run_on_clock(main())


def test_who_does_not_read_makes_the_other_side_wait():
    async def main() -> None:
        a, b = Side(), Side()
        async with joined(a, b):
            b.wire.full = True
            a.wire.deliver(b"one")
            assert not a.wire.reading
            assert b.wire.reading
            a.wire.deliver(b"two")
            assert b.wire.written == b"one"
            b.wire.drain()
            await settle()
            assert b.wire.written == b"onetwo"
            a.wire.lose()

    run_on_clock(main())


def test_what_was_read_before_waits_for_a_slow_reader_too():
    async def main() -> None:
        a, b = Side(b"early"), Side()
        b.wire.full = True
        async with joined(a, b):
            assert not a.wire.reading
            b.wire.drain()
            assert a.wire.reading
            b.wire.lose()

    run_on_clock(main())


@pytest.mark.parametrize("who", [0, 1])
def test_a_side_that_is_lost_ends_the_other(who):
    async def main() -> None:
        sides = Side(), Side()
        async with joined(*sides):
            sides[who].wire.lose(ConnectionResetError())
        assert not sides[1 - who].wire.aborted

    run_on_clock(main())


@pytest.mark.parametrize("who", [0, 1])
def test_a_side_that_was_lost_before_ends_the_other_at_once(who):
    async def main() -> None:
        sides = Side(), Side()
        sides[who].wire.lose()
        async with joined(*sides):
            pass

    run_on_clock(main())


def test_one_side_may_end_before_the_other():
    async def main() -> None:
        a, b = Side(), Side()
        async with joined(a, b) as task:
            a.wire.deliver(b"question")
            a.wire.deliver_eof()
            assert b.wire.eof_written
            for _ in range(10):
                await asyncio.sleep(0.9 * HALF_OPEN_S)
                b.wire.deliver(b"answer ")
            assert not task.done()
            assert not a.wire.eof_written
            b.wire.deliver_eof()
        assert a.wire.written == b"answer " * 10

    run_on_clock(main())


def test_a_side_that_reads_slowly_after_its_end_has_time_as_long_as_it_reads():
    async def main() -> None:
        a, b = Side(), Side()
        async with joined(a, b) as task:
            a.wire.deliver_eof()
            a.wire.full = True
            b.wire.deliver(b"x" * 100)
            for left in (50, 20, 10):
                await asyncio.sleep(0.9 * HALF_OPEN_S)
                a.wire.unsent_bytes = left
            assert not task.done()
            await asyncio.sleep(2 * HALF_OPEN_S)
            assert task.done()
            a.wire.drain()

    run_on_clock(main())


def test_a_side_whose_system_takes_something_in_after_its_end_has_time_too(monkeypatch):
    taken = 0
    monkeypatch.setattr("anyfc.web.tunnel.taken_bytes", lambda transport: taken)

    async def main() -> None:
        nonlocal taken
        a, b = Side(), Side()
        async with joined(a, b) as task:
            a.wire.deliver_eof()
            a.wire.full = True
            b.wire.deliver(b"x" * 100)
            for _ in range(3):
                await asyncio.sleep(0.9 * HALF_OPEN_S)
                taken += 1
            assert not task.done()
            await asyncio.sleep(2 * HALF_OPEN_S)
            assert task.done()
            a.wire.drain()

    run_on_clock(main())


def test_what_comes_when_the_other_side_is_gone_is_not_written(monkeypatch):
    async def main() -> None:
        a, b = Side(), Side()
        async with joined(a, b):
            b.wire.lose()
            monkeypatch.setattr(b.wire, "write", pytest.fail)
            a.wire.deliver(b"late")

    run_on_clock(main())


def test_when_one_side_has_ended_silence_is_the_end():
    async def main() -> None:
        a, b = Side(), Side()
        async with joined(a, b) as task:
            b.wire.deliver_eof()
            await asyncio.sleep(0.9 * HALF_OPEN_S)
            assert not task.done()
            await asyncio.sleep(0.2 * HALF_OPEN_S)

    run_on_clock(main())


@pytest.mark.parametrize("who", [0, 1])
def test_tls_has_no_half_of_an_end(who):
    async def main() -> None:
        sides = Side(secure=True), Side()
        async with joined(*sides):
            sides[who].wire.deliver_eof()
            await settle()

    run_on_clock(main())


def test_whoever_cancels_a_tunnel_ends_both_sides():
    async def main() -> None:
        a, b = Side(), Side()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await join(a.end, b.end)
        assert a.wire.closing
        assert b.wire.closing
        await settle()
        assert (a.lost, b.lost) == (1, 1)

    run_on_clock(main())


def test_what_is_on_its_way_is_sent_at_the_end_but_not_for_ever():
    async def main() -> None:
        a, b = Side(), Side()
        async with joined(a, b):
            b.wire.full = True
            a.wire.deliver(b"last words")
            a.wire.lose()
        assert not b.wire.lost
        await asyncio.sleep(HALF_OPEN_S + 1)
        assert b.wire.aborted
        assert b.wire.written == b"last words"

    run_on_clock(main())
