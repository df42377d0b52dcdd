"""The pre-freeze hook: when it is called, and what becomes of the instance meanwhile."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from clock import run_on_clock, settle
from fake_instances import World, change, make_function, make_policy, version_of

from anyfc.errors import BadResponse, ResourceExhausted
from anyfc.model.function import Hook
from anyfc.scheduler.opening import open_scheduler

F = make_function("f", pre_freeze=Hook(handler="index.rest", timeout_s=5))
WIDE = replace(F, instance_concurrency=2)
GRACE_S = 0.02
LATER_S = 0.1


class Caller:
    """Somebody who leases an instance and keeps it until told to let go."""

    def __init__(self, scheduler, function):
        self.got = None
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(scheduler, function))

    async def _run(self, scheduler, function):
        async with scheduler.lease(function, version_of(function)) as instance:
            instance.owes_pre_freeze = True
            instance.frozen = False
            self.got = instance
            await self._let_go.wait()

    async def leave(self):
        self._let_go.set()
        await self.task


async def call(scheduler, function=F):
    """Lease an instance for a moment, as a request does."""
    caller = Caller(scheduler, function)
    await settle()
    await caller.leave()
    return caller.got


@asynccontextmanager
async def opened(**policy):
    world = World()
    async with open_scheduler(make_policy(freeze_after_s=GRACE_S, **policy), world.open) as made:
        yield made, world
    assert world.live == []
    assert len(asyncio.all_tasks()) == 1


def scenario(**policy):
    """Run a test with a scheduler and a world of fake instances; nothing may be left at the end."""

    def wrap(body):
        def run():
            async def main():
                async with opened(**policy) as (scheduler, world):
                    await body(scheduler, world)

            run_on_clock(main())

        run.__name__ = body.__name__
        return run

    return wrap


async def call_until_it_rests(scheduler, function=F):
    """Use an instance and wait until its hook has been called."""
    instance = await call(scheduler, function)
    await asyncio.sleep(LATER_S)
    assert len(instance.hooks) == 1
    assert not instance.frozen
    return instance


@scenario()
async def test_the_hook_is_called_after_a_moment_of_idleness_and_then_comes_the_freeze(
    scheduler, world
):
    instance = await call(scheduler)
    await asyncio.sleep(GRACE_S / 2)
    assert instance.hooks == []
    await asyncio.sleep(LATER_S)
    (hook,) = instance.hooks
    assert not instance.frozen
    hook.set_result(None)
    await settle()
    assert instance.frozen


@scenario()
async def test_the_hook_is_called_once_for_each_time_that_the_instance_was_used(scheduler, world):
    instance = await call_until_it_rests(scheduler)
    instance.hooks[0].set_result(None)
    await asyncio.sleep(10)
    assert len(instance.hooks) == 1
    assert await call(scheduler) is instance
    await asyncio.sleep(LATER_S)
    assert len(instance.hooks) == 2
    instance.hooks[1].set_result(None)


@scenario()
async def test_a_request_that_arrives_during_the_hook_takes_another_instance(scheduler, world):
    resting = await call_until_it_rests(scheduler)
    caller = Caller(scheduler, F)
    await settle()
    assert caller.got is not resting
    resting.hooks[0].set_result(None)
    await settle()
    assert resting.frozen
    await caller.leave()
    assert await call(scheduler) is caller.got
    await asyncio.sleep(LATER_S)
    caller.got.hooks[0].set_result(None)


@scenario(max_instances_per_function=1)
async def test_where_there_may_be_no_other_instance_a_request_waits_for_the_end_of_the_hook(
    scheduler, world
):
    resting = await call_until_it_rests(scheduler)
    caller = Caller(scheduler, F)
    await asyncio.sleep(60)  # far longer than callers wait for a busy instance
    assert caller.got is None
    resting.hooks[0].set_result(None)
    await settle()
    assert caller.got is resting
    assert not resting.frozen
    await caller.leave()
    await asyncio.sleep(LATER_S)
    resting.hooks[1].set_result(None)


@scenario(max_instances_per_function=1)
async def test_who_waits_for_a_busy_instance_is_turned_away_as_ever(scheduler, world):
    busy = Caller(scheduler, F)
    await settle()
    with pytest.raises(ResourceExhausted):
        await call(scheduler)
    await busy.leave()
    await asyncio.sleep(LATER_S)
    busy.got.hooks[0].set_result(None)


@scenario()
async def test_an_instance_with_several_slots_has_its_hook_called_after_the_last_request(
    scheduler, world
):
    first, last = Caller(scheduler, WIDE), Caller(scheduler, WIDE)
    await settle()
    assert first.got is last.got
    await first.leave()
    await asyncio.sleep(10)
    assert first.got.hooks == []
    await last.leave()
    await asyncio.sleep(LATER_S)
    (hook,) = last.got.hooks
    hook.set_result(None)
    await settle()
    assert last.got.frozen


@scenario(max_instances_per_function=1)
async def test_after_the_hook_all_slots_are_for_those_who_wait(scheduler, world):
    resting = await call_until_it_rests(scheduler, WIDE)
    callers = [Caller(scheduler, WIDE) for _ in range(2)]
    await settle()
    resting.hooks[0].set_result(None)
    await settle()
    assert [caller.got for caller in callers] == [resting, resting]
    for caller in callers:
        await caller.leave()
    await asyncio.sleep(LATER_S)
    resting.hooks[1].set_result(None)


@scenario()
async def test_an_instance_whose_hook_gave_no_readable_answer_is_frozen_all_the_same(
    scheduler, world
):
    instance = await call_until_it_rests(scheduler)
    instance.hooks[0].set_exception(BadResponse("no HTTP"))
    await settle()
    assert instance.frozen
    assert await call(scheduler) is instance
    await asyncio.sleep(LATER_S)
    instance.hooks[1].set_result(None)


@scenario()
async def test_an_instance_that_its_hook_has_ended_goes(scheduler, world):
    instance = await call_until_it_rests(scheduler)
    instance.crash()
    instance.hooks[0].set_result(None)
    await settle()
    assert world.live == []


@scenario(idle_s=10.0)
async def test_an_instance_is_not_retired_in_the_middle_of_its_hook(scheduler, world):
    instance = await call_until_it_rests(scheduler)
    await asyncio.sleep(60)
    assert world.live == [instance]
    instance.hooks[0].set_result(None)
    await settle()
    assert world.live == [instance]
    await asyncio.sleep(12)
    assert world.live == []


@scenario()
async def test_an_instance_of_an_older_version_goes_after_its_hook(scheduler, world):
    instance = await call_until_it_rests(scheduler)
    changed = change(F)
    scheduler.follow("f", (changed, version_of(changed)))
    await settle()
    assert world.live == [instance]
    instance.hooks[0].set_result(None)
    await settle()
    assert world.live == []


def test_the_end_of_the_scheduler_waits_for_the_hook():
    async def main():
        async with opened() as (scheduler, _):
            instance = await call_until_it_rests(scheduler)
            asyncio.get_running_loop().call_later(30, instance.hooks[0].set_result, None)
        return asyncio.get_running_loop().time()

    assert run_on_clock(main()) >= 1030


@scenario()
async def test_an_instance_that_owes_nothing_is_frozen_without_a_hook(scheduler, world):
    async with scheduler.lease(F, version_of(F)) as instance:
        pass
    await asyncio.sleep(LATER_S)
    assert instance.frozen
    assert instance.hooks == []
