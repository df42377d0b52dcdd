import asyncio

import pytest
from clock import run_on_clock

from anyfc.runtime.deadlines import Deadlines


async def take(deadlines, within_s, needs_s):
    """Return when, and whether its time was up."""
    task = deadlines.begin(within_s)
    timed_out = False
    try:
        await asyncio.sleep(needs_s)
    except asyncio.CancelledError:
        timed_out = deadlines.end(task)
        if not timed_out:
            raise
    finally:
        deadlines.end(task)
    return asyncio.get_running_loop().time(), timed_out


def play(body):
    async def main():
        deadlines = Deadlines()
        try:
            return await body(deadlines, asyncio.get_running_loop().time())
        finally:
            deadlines.close()

    return run_on_clock(main())


def test_what_takes_too_long_is_cancelled_in_time_and_what_does_not_is_left_alone():
    async def body(deadlines, began):
        async with asyncio.TaskGroup() as group:
            short, late = (group.create_task(take(deadlines, 3, needs_s)) for needs_s in (2.9, 60))
        assert short.result() == (pytest.approx(began + 2.9), False)
        assert late.result() == (pytest.approx(began + 3), True)
        assert late.cancelling() == 0

    play(body)


@pytest.mark.parametrize("limits", [(1, 2, 3), (3, 2, 1), (2, 1, 3)])
def test_each_has_its_own_time_in_whatever_order_they_begin(limits):
    async def body(deadlines, began):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(take(deadlines, limit, 60)) for limit in limits]
        assert [task.result() for task in tasks] == [
            (pytest.approx(began + limit), True) for limit in limits
        ]

    play(body)


def test_one_that_begins_later_has_all_of_its_time():
    async def body(deadlines, began):
        await take(deadlines, 3, 2)
        assert await take(deadlines, 3, 60) == (pytest.approx(began + 5), True)

    play(body)


def test_a_cancellation_that_is_not_ours_is_passed_on():
    async def body(deadlines, began):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(take(deadlines, 3, 60))
            await asyncio.sleep(1)
            task.cancel()
        assert task.cancelled()

    play(body)
