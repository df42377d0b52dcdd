import asyncio

import pytest
from clock import run_on_clock, settle
from fake_instances import FakeInstance, make_function, version_of

from anyfc.errors import ResourceExhausted, ServerStopping
from anyfc.model.invocation import InitializationFailed
from anyfc.scheduler.pool import Pool

FUNCTION = make_function()
FAILURE = InitializationFailed(body=b"{}")


class Owner:
    """What a pool is told, and asks."""

    def __init__(self):
        self.grown = 0
        self.idled = 0
        self.saturated = True

    def pool(self, *, max_waiting=10, wait_s=3.0, function=FUNCTION):
        return Pool(
            function,
            version_of(function),
            grow=self._grow,
            idled=self._idle,
            saturated=lambda pool: self.saturated,
            max_waiting=max_waiting,
            wait_s=wait_s,
        )

    def _grow(self, pool):
        self.grown += 1

    def _idle(self):
        self.idled += 1


def add(pool):
    return pool.add(FakeInstance(FUNCTION))


def scenario(body):
    """Run a test with an owner and a pool, on a clock of its own."""

    def run():
        async def main():
            owner = Owner()
            await body(owner, owner.pool())

        run_on_clock(main())

    run.__name__ = body.__name__
    return run


@scenario
async def test_the_instance_used_last_is_given_out_first(owner, pool):
    first, second, third = add(pool), add(pool), add(pool)
    assert pool.take_nowait() is third
    assert pool.take_nowait() is second
    pool.give_back(third)
    pool.give_back(second)
    assert [pool.take_nowait() for _ in range(4)] == [second, third, first, None]


@scenario
async def test_an_instance_that_crashed_is_never_given_out_again(owner, pool):
    healthy, crashed = add(pool), add(pool)
    crashed.instance.crash()
    assert pool.take_nowait() is healthy
    assert crashed.retired.done()
    assert pool.take_nowait() is None


@scenario
async def test_an_instance_that_has_been_sent_away_is_not_given_out_in_the_last_moment(owner, pool):
    slot = add(pool)
    slot.retire()
    assert pool.take_nowait() is None


@scenario
async def test_an_instance_that_has_been_sent_away_is_not_passed_on(owner, pool):
    slot = add(pool)
    pool.take_nowait()
    waiter = asyncio.create_task(pool.take())
    await settle()
    slot.retire()
    pool.give_back(slot)
    await settle()
    assert not waiter.done()
    waiter.cancel()


@scenario
async def test_a_caller_who_finds_no_instance_asks_for_more_and_gets_the_next_free_one(owner, pool):
    taken = asyncio.create_task(pool.take())
    await settle()
    assert (owner.grown, taken.done()) == (1, False)
    slot = add(pool)
    assert await taken is slot
    assert slot.in_use == 1
    assert not pool.idle


@scenario
async def test_who_came_first_is_served_first(owner, pool):
    callers = [asyncio.create_task(pool.take()) for _ in range(3)]
    await settle()
    slots = [add(pool) for _ in range(3)]
    assert [await caller for caller in callers] == slots


@scenario
async def test_what_is_given_back_goes_to_who_waits_and_not_to_the_idle_ones(owner, pool):
    slot = add(pool)
    pool.take_nowait()
    caller = asyncio.create_task(pool.take())
    await settle()
    pool.give_back(slot)
    assert not pool.idle
    assert await caller is slot


@scenario
async def test_a_caller_is_turned_away_when_too_many_wait(owner, pool):
    callers = [asyncio.create_task(pool.take()) for _ in range(10)]
    await settle()
    with pytest.raises(ResourceExhausted, match="10 callers are already waiting"):
        await pool.take()
    for caller in callers:
        caller.cancel()
    await settle()
    assert pool.empty


@scenario
async def test_a_caller_is_turned_away_when_nothing_becomes_free_in_time(owner, pool):
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ResourceExhausted, match="none became free within 3 s"):
        await pool.take()
    assert loop.time() - began == 3.0
    assert pool.empty


@scenario
async def test_a_caller_waits_on_as_long_as_an_instance_is_to_come(owner, pool):
    owner.saturated = False
    caller = asyncio.create_task(pool.take())
    await asyncio.sleep(100)
    assert not caller.done()
    owner.saturated = True
    await asyncio.sleep(3)
    with pytest.raises(ResourceExhausted):
        await caller


@scenario
async def test_a_caller_who_hangs_up_is_no_longer_waited_for(owner, pool):
    first, second = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await settle()
    first.cancel()
    await settle()
    slot = add(pool)
    assert await second is slot


@scenario
async def test_what_a_caller_won_in_the_moment_of_hanging_up_goes_to_the_next(owner, pool):
    first, second = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await settle()
    slot = add(pool)  # first has won, and does not know yet
    first.cancel()
    assert await second is slot
    assert first.cancelled()


@scenario
async def test_what_a_caller_won_in_the_moment_of_hanging_up_is_idle_if_nobody_waits(owner, pool):
    caller = asyncio.create_task(pool.take())
    await settle()
    slot = add(pool)
    caller.cancel()
    await settle()
    assert pool.take_nowait() is slot


@scenario
async def test_a_failure_won_in_the_moment_of_hanging_up_is_nobodys(owner, pool):
    first, second = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await settle()
    pool.fail(FAILURE)
    first.cancel()
    await settle()
    assert not second.done()
    pool.fail(FAILURE)
    assert await second is FAILURE


@scenario
async def test_a_failure_reaches_one_caller_who_waits(owner, pool):
    callers = [asyncio.create_task(pool.take()) for _ in range(2)]
    await settle()
    pool.fail(FAILURE)
    assert await callers[0] is FAILURE
    assert not callers[1].done()
    pool.fail(ResourceExhausted("why"))
    with pytest.raises(ResourceExhausted, match="why"):
        await callers[1]


@scenario
async def test_a_failure_that_nobody_waits_for_is_forgotten(owner, pool):
    pool.fail(FAILURE)
    assert pool.empty


@scenario
async def test_idle_instances_of_an_old_version_go_at_once_and_busy_ones_when_given_back(
    owner, pool
):
    busy, idle = add(pool), add(pool)
    assert pool.take_nowait() is idle
    assert pool.take_nowait() is busy
    pool.give_back(idle)
    pool.outdate()
    assert idle.retired.done()
    assert not busy.retired.done()
    pool.give_back(busy)
    assert busy.retired.done()


@scenario
async def test_who_waits_for_an_old_version_still_gets_it(owner, pool):
    caller = asyncio.create_task(pool.take())
    await settle()
    pool.outdate()
    slot = add(pool)
    assert await caller is slot
    pool.give_back(slot)
    assert slot.retired.done()


@scenario
async def test_who_waits_when_the_server_stops_is_told(owner, pool):
    callers = [asyncio.create_task(pool.take()) for _ in range(2)]
    await settle()
    pool.turn_away()
    for caller in (*callers, asyncio.create_task(pool.take())):
        with pytest.raises(ServerStopping):
            await caller


@scenario
async def test_an_instance_that_becomes_idle_is_announced_with_the_time(owner, pool):
    slot = add(pool)
    pool.take_nowait()
    await asyncio.sleep(5)
    pool.give_back(slot)
    assert owner.idled == 2
    assert slot.idle_since == asyncio.get_running_loop().time()


@scenario
async def test_a_pool_is_empty_when_nobody_and_nothing_is_in_it(owner, pool):
    assert pool.empty
    slot = add(pool)
    assert not pool.empty
    pool.discard(slot)
    assert pool.empty
    assert pool.take_nowait() is None
    pool.starting = 1
    assert not pool.empty


@scenario
async def test_a_busy_instance_may_be_forgotten_before_it_is_given_back(owner, pool):
    slot = add(pool)
    pool.take_nowait()
    slot.instance.crash()
    pool.discard(slot)
    pool.give_back(slot)
    assert pool.empty
    assert pool.take_nowait() is None


SHARED = make_function(instance_concurrency=3)


def shared(body):
    """Run a test with an owner and a pool whose instances serve three at a time."""

    def run():
        async def main():
            owner = Owner()
            await body(owner, owner.pool(function=SHARED))

        run_on_clock(main())

    run.__name__ = body.__name__
    return run


@shared
async def test_an_instance_is_filled_before_another_one_is_used(owner, pool):
    first, second = add(pool), add(pool)
    assert [pool.take_nowait() for _ in range(7)] == [second] * 3 + [first] * 3 + [None]
    pool.give_back(second)
    assert pool.take_nowait() is second
    assert pool.take_nowait() is None


@shared
async def test_an_instance_is_idle_when_its_last_user_has_gone(owner, pool):
    member = add(pool)
    idled = owner.idled
    for _ in range(3):
        pool.take_nowait()
    for _ in range(2):
        pool.give_back(member)
    assert (pool.idle, pool.open, owner.idled) == ([], [member], idled)
    pool.give_back(member)
    assert (pool.idle, pool.open, owner.idled) == ([member], [], idled + 1)


@shared
async def test_a_new_instance_serves_as_many_who_wait_as_it_can(owner, pool):
    waiting = [asyncio.ensure_future(pool.take()) for _ in range(5)]
    await settle()
    member = add(pool)
    await settle()
    assert [task.done() for task in waiting] == [True] * 3 + [False] * 2
    assert (member.in_use, pool.open) == (3, [])
    pool.give_back(member)
    await settle()
    assert waiting[3].done()
    assert member.in_use == 3
    second = add(pool)
    assert await waiting[4] is second
    assert (second.in_use, pool.open) == (1, [second])


@shared
async def test_all_who_waited_for_an_instance_that_failed_are_told(owner, pool):
    waiting = [asyncio.ensure_future(pool.take()) for _ in range(4)]
    await settle()
    pool.fail(FAILURE)
    await settle()
    assert [task.done() for task in waiting] == [True] * 3 + [False]
    pool.turn_away()
    with pytest.raises(ServerStopping):
        await waiting[3]


@shared
async def test_an_outdated_instance_goes_with_its_last_user(owner, pool):
    member = add(pool)
    pool.take_nowait()
    pool.take_nowait()
    pool.outdate()
    pool.give_back(member)
    assert not member.retired.done()
    pool.give_back(member)
    assert member.retired.done()


@shared
async def test_an_instance_whose_process_ended_goes_at_once(owner, pool):
    member = add(pool)
    pool.take_nowait()
    pool.take_nowait()
    member.instance.crash()
    pool.give_back(member)
    assert member.retired.done()
    assert pool.take_nowait() is None


@shared
async def test_an_instance_that_is_not_well_takes_no_more_and_goes_when_it_is_free(owner, pool):
    member = add(pool)
    pool.take_nowait()
    pool.take_nowait()
    member.instance.usable = False
    assert pool.take_nowait() is None
    pool.give_back(member)
    assert not member.retired.done()
    pool.give_back(member)
    assert member.retired.done()


@shared
async def test_an_instance_that_is_well_again_is_used_again(owner, pool):
    member = add(pool)
    pool.take_nowait()
    pool.take_nowait()
    member.instance.usable = False
    assert pool.take_nowait() is None
    member.instance.usable = True
    pool.give_back(member)
    assert pool.take_nowait() is member
