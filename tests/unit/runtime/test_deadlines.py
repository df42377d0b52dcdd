import asyncio

import pytest
from clock import run_on_clock

from anyfc.runtime.deadlines import Deadlines


class Request:
    """One that remembers when its time was up."""

    def __init__(self, deadlines, within_s):
        self.expired_at = []
        self.deadline = deadlines.begin(within_s, lambda: self.expired_at.append(now()))


def now():
    return asyncio.get_running_loop().time()


def play(body):
    async def main():
        deadlines = Deadlines()
        try:
            return await body(deadlines, now())
        finally:
            deadlines.close()

    return run_on_clock(main())


def test_what_takes_too_long_is_called_for_in_time_and_what_does_not_is_left_alone():
    async def body(deadlines, began):
        short, late = Request(deadlines, 3), Request(deadlines, 3)
        await asyncio.sleep(2.9)
        deadlines.end(short.deadline)
        await asyncio.sleep(60)
        assert (short.expired_at, short.deadline.expired) == ([], False)
        assert (late.expired_at, late.deadline.expired) == ([pytest.approx(began + 3)], True)

    play(body)


def test_a_deadline_has_not_expired_before_its_time_and_says_how_long_that_is():
    async def body(deadlines, began):
        deadline = Request(deadlines, 3).deadline
        await asyncio.sleep(2.9)
        assert (deadline.expired, deadline.within_s) == (False, 3)
        await asyncio.sleep(0.2)
        assert deadline.expired

    play(body)


@pytest.mark.parametrize("limits", [(1, 2, 3), (3, 2, 1), (2, 1, 3)])
def test_each_has_its_own_time_in_whatever_order_they_begin(limits):
    async def body(deadlines, began):
        requests = [Request(deadlines, limit) for limit in limits]
        await asyncio.sleep(60)
        assert [request.expired_at for request in requests] == [
            [pytest.approx(began + limit)] for limit in limits
        ]

    play(body)


def test_one_that_begins_later_has_all_of_its_time():
    async def body(deadlines, began):
        first = Request(deadlines, 3)
        await asyncio.sleep(2)
        deadlines.end(first.deadline)
        second = Request(deadlines, 3)
        await asyncio.sleep(60)
        assert second.expired_at == [pytest.approx(began + 5)]

    play(body)


def test_one_that_begins_when_another_expires_has_all_of_its_time():
    async def body(deadlines, began):
        begun = []
        deadlines.begin(3, lambda: begun.append(Request(deadlines, 3)))
        await asyncio.sleep(60)
        assert begun[0].expired_at == [pytest.approx(began + 6)]

    play(body)


@pytest.mark.parametrize("needs_s", [1, 4])
def test_a_deadline_that_has_ended_leads_nowhere(needs_s):
    async def body(deadlines, began):
        request = Request(deadlines, 3)
        await asyncio.sleep(needs_s)
        for _ in range(2):
            deadlines.end(request.deadline)
        assert request.deadline.expire is None
        assert request.deadline.expired is (needs_s > 3)

    play(body)


def test_a_deadline_that_has_nobody_to_call_expires_all_the_same():
    async def body(deadlines, began):
        deadline = deadlines.begin(3, None)
        await asyncio.sleep(4)
        assert deadline.expired

    play(body)


def test_who_is_to_be_called_may_change_while_the_time_runs():
    async def body(deadlines, began):
        request, called = Request(deadlines, 3), []
        await asyncio.sleep(1)
        request.deadline.expire = lambda: called.append(now())
        await asyncio.sleep(60)
        assert (request.expired_at, called) == ([], [pytest.approx(began + 3)])

    play(body)


def test_nobody_is_called_after_the_close():
    async def body(deadlines, began):
        request = Request(deadlines, 3)
        deadlines.close()
        await asyncio.sleep(60)
        assert request.expired_at == []

    play(body)
