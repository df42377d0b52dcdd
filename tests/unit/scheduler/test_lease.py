import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

import pytest
from clock import run_on_clock, settle
from fake_instances import World, change, make_function, make_policy, version_of

from anyfc.errors import (
    BadResponse,
    InternalServerError,
    ResourceExhausted,
    ServerStopping,
    StoreUnavailable,
)
from anyfc.instance.lifecycle import InitializerFailed
from anyfc.model.function import Code
from anyfc.model.invocation import InitializationFailed
from anyfc.sandbox.failure import SandboxFailed
from anyfc.scheduler.lease import Turn
from anyfc.scheduler.opening import open_scheduler

F, G, H = (make_function(name) for name in "fgh")
WIDE = make_function("f", instance_concurrency=2)
FAILURE = InitializationFailed(body=b'{"errorMessage": "no"}')


class Caller:
    """Somebody who leases an instance and keeps it until told to let go."""

    def __init__(self, scheduler, function=F):
        self.got = None
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(scheduler, function))

    async def _run(self, scheduler, function):
        async with scheduler.lease(function, version_of(function)) as instance:
            self.got = instance
            await self._let_go.wait()

    async def leave(self):
        self._let_go.set()
        await self.task

    async def hang_up(self):
        self.task.cancel()
        await asyncio.wait([self.task])


def ask(scheduler, function=F):
    return scheduler.lease(function, version_of(function))


async def call(scheduler, function=F):
    """Lease an instance for a moment."""
    async with ask(scheduler, function) as instance:
        return instance


def scenario(*, host_port=lambda function: None, is_current=lambda version: True, **policy):
    """Run a test with a scheduler and a world of fake instances; nothing may be left at the end."""

    def wrap(body):
        def run():
            async def main():
                world = World()
                async with open_scheduler(
                    make_policy(**policy), world.open, host_port=host_port, is_current=is_current
                ) as scheduler:
                    await body(scheduler, world)
                assert world.live == world.starting == []
                assert len(asyncio.all_tasks()) == 1

            run_on_clock(main())

        run.__name__ = body.__name__
        return run

    return wrap


# --- starting ---


@scenario()
async def test_the_first_call_starts_an_instance_and_the_next_one_finds_it_idle(scheduler, world):
    first = await call(scheduler)
    assert await call(scheduler) is first
    assert len(world.starts) == 1


@scenario()
async def test_callers_at_the_same_time_get_an_instance_each(scheduler, world):
    callers = [Caller(scheduler) for _ in range(3)]
    await settle()
    assert len({id(caller.got) for caller in callers}) == 3
    for caller in callers:
        await caller.leave()
    assert len(world.starts) == 3


@scenario(parallel_starts=4)
async def test_processes_are_made_a_few_at_a_time(scheduler, world):
    world.by_hand = True
    callers = [Caller(scheduler) for _ in range(9)]
    await settle()
    assert len(world.starting) == 4
    while world.starting:
        world.starting[0].finish()
        await settle()
    assert world.most_processes_starting == 4
    assert all(caller.got for caller in callers)
    for caller in callers:
        await caller.leave()


@scenario(parallel_starts=1)
async def test_an_initializer_takes_its_time_without_keeping_others_from_starting(scheduler, world):
    world.by_hand = True
    callers = [Caller(scheduler, F), Caller(scheduler, G)]
    await settle()
    assert len(world.starting) == 1
    world.starting[0].process.set_result(None)
    await settle()
    assert [start.function.name for start in world.starting] == ["f", "g"]
    for start in list(world.starting):
        start.finish()
    await settle()
    for caller in callers:
        await caller.leave()


@scenario(parallel_starts=1)
async def test_what_nobody_needs_any_more_when_its_turn_comes_is_not_started(scheduler, world):
    world.by_hand = True
    callers = [Caller(scheduler) for _ in range(5)]
    await settle()
    world.starting[0].finish()
    await settle()
    for caller in callers[:4]:  # one instance serves one after the other
        await caller.leave()
    await settle()
    world.starting[0].finish()
    await settle()
    await callers[4].leave()
    assert len(world.starts) == 2


@scenario()
async def test_an_instance_that_becomes_free_serves_who_waits_for_a_start(scheduler, world):
    first = Caller(scheduler)
    await settle()
    world.by_hand = True
    second = Caller(scheduler)
    await settle()
    await first.leave()
    await settle()
    assert second.got is first.got
    await second.leave()


@scenario()
async def test_a_start_whose_caller_hangs_up_leaves_an_idle_instance(scheduler, world):
    world.by_hand = True
    caller = Caller(scheduler)
    await settle()
    await caller.hang_up()
    world.starting[0].finish()
    await settle()
    assert await call(scheduler) is world.instances[0]


# --- taking without waiting ---


@scenario()
async def test_who_does_not_want_to_wait_gets_what_is_idle_and_starts_nothing(scheduler, world):
    assert ask(scheduler).take_nowait() is None
    await settle()
    assert world.starts == []
    instance = await call(scheduler)
    lease = ask(scheduler)
    assert lease.take_nowait() is instance
    assert ask(scheduler).take_nowait() is None
    lease.end()
    assert await call(scheduler) is instance


@scenario()
async def test_what_was_taken_without_waiting_goes_at_its_end_to_who_waits(scheduler, world):
    instance = await call(scheduler)
    lease = ask(scheduler)
    lease.take_nowait()
    world.by_hand = True
    waiting = Caller(scheduler)
    await settle()
    assert waiting.got is None
    lease.end()
    await settle()
    assert waiting.got is instance
    await waiting.leave()


@scenario()
async def test_who_found_nothing_without_waiting_may_enter_and_wait(scheduler, world):
    lease = ask(scheduler)
    assert lease.take_nowait() is None
    async with lease as instance:
        assert instance is world.instances[0]


@scenario()
async def test_entering_after_taking_without_waiting_does_not_take_twice(scheduler, world):
    instance = await call(scheduler, WIDE)
    lease, other = ask(scheduler, WIDE), ask(scheduler, WIDE)
    assert lease.take_nowait() is instance
    async with lease as entered:
        assert entered is instance
        assert other.take_nowait() is instance
        other.end()
    assert [ask(scheduler, WIDE).take_nowait() for _ in range(3)] == [instance, instance, None]
    assert len(world.starts) == 1


@scenario()
async def test_what_was_taken_is_given_back_once_however_often_the_lease_is_ended(scheduler, world):
    instance = await call(scheduler, WIDE)
    lease, other = ask(scheduler, WIDE), ask(scheduler, WIDE)
    assert [lease.take_nowait(), other.take_nowait()] == [instance, instance]
    lease.end()
    lease.end()
    assert ask(scheduler, WIDE).take_nowait() is instance
    assert ask(scheduler, WIDE).take_nowait() is None


@scenario()
async def test_leaving_a_lease_that_was_ended_does_not_give_back_what_others_use(scheduler, world):
    lease, other = ask(scheduler, WIDE), ask(scheduler, WIDE)
    async with lease as instance:
        assert other.take_nowait() is instance
        lease.end()
    assert ask(scheduler, WIDE).take_nowait() is instance
    assert ask(scheduler, WIDE).take_nowait() is None


@scenario()
async def test_ending_a_lease_that_took_nothing_gives_nothing_back(scheduler, world):
    instance = await call(scheduler)
    user, idler = ask(scheduler), ask(scheduler)
    assert user.take_nowait() is instance
    assert idler.take_nowait() is None
    idler.end()
    assert ask(scheduler).take_nowait() is None


@scenario()
async def test_a_lease_knows_the_function_as_it_was_when_it_was_asked_for(scheduler, world):
    await call(scheduler)
    lease = ask(scheduler)
    changed = replace(F, idle_timeout_s=10)
    scheduler.follow("f", (changed, version_of(F)))
    assert lease.function is F
    assert ask(scheduler, changed).function is changed


@scenario()
async def test_who_enters_a_while_after_asking_gets_an_instance_that_others_find(scheduler, world):
    lease = ask(scheduler)
    await asyncio.sleep(2)
    async with lease as instance:
        pass
    assert await call(scheduler) is instance


# --- turns ---


async def free_turns(turns):
    """Count the turns that can be taken at once."""
    taken = 0
    while not turns.locked():
        await turns.acquire()
        taken += 1
    for _ in range(taken):
        turns.release()
    return taken


def with_turns(body):
    """Run a test with two turns; all must be there again at the end."""

    def run():
        async def main():
            turns = asyncio.Semaphore(2)
            await body(turns)
            assert await free_turns(turns) == 2

        run_on_clock(main())

    run.__name__ = body.__name__
    return run


@with_turns
async def test_a_turn_lasts_until_it_is_left(turns):
    async with Turn(turns):
        assert await free_turns(turns) == 1


@with_turns
async def test_a_turn_is_over_when_it_fails(turns):
    with pytest.raises(ValueError, match="why"):
        async with Turn(turns):
            raise ValueError("why")


@with_turns
async def test_a_turn_ends_once_and_leaving_it_afterwards_gives_nothing_back(turns):
    async with Turn(turns), Turn(turns) as turn:
        turn.end()
        turn.end()
        assert await free_turns(turns) == 1
    turn.end()


@with_turns
async def test_a_turn_that_ended_early_may_be_taken_by_others_before_it_is_left(turns):
    async with Turn(turns) as first:
        first.end()
        async with Turn(turns), Turn(turns):
            assert turns.locked()


@with_turns
async def test_who_is_cancelled_while_waiting_for_a_turn_gives_none_back(turns):
    async def wait(turn):
        async with turn:
            raise AssertionError("it was not its turn")

    async with Turn(turns), Turn(turns):
        turn = Turn(turns)
        waiting = asyncio.create_task(wait(turn))
        await settle()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        turn.end()
        assert await free_turns(turns) == 0


# --- failing ---


@scenario()
async def test_a_failing_initializer_reaches_one_caller_and_the_next_gets_a_new_instance(
    scheduler, world
):
    world.by_hand = True
    first, second = Caller(scheduler), Caller(scheduler)
    await settle()
    world.starting[0].finish()
    world.starting[1].process.set_result(None)
    await settle()
    world.starting[0].fail(InitializerFailed(FAILURE))
    await settle()
    assert {first.got, second.got} == {world.instances[0], FAILURE}
    await first.leave()
    await second.leave()
    world.instances[0].crash()
    world.by_hand = False
    assert await call(scheduler) is world.instances[1]


@scenario()
async def test_an_initializer_that_always_fails_reaches_every_caller_once(scheduler, world):
    world.by_hand = True
    callers = [Caller(scheduler) for _ in range(3)]
    await settle()
    for number in range(3):
        assert sum(caller.got is FAILURE for caller in callers) == number
        world.starting[0].fail(InitializerFailed(FAILURE))
        await settle()
    assert len(world.starts) == 3
    for caller in callers:
        assert caller.got is FAILURE
        await caller.leave()


@scenario()
async def test_what_keeps_the_store_from_being_read_is_told_as_it_is(scheduler, world):
    world.by_hand = True
    caller = Caller(scheduler)
    await settle()
    world.starting[0].fail(StoreUnavailable("the code cannot be read"))
    with pytest.raises(StoreUnavailable, match="the code cannot be read"):
        await caller.task


@scenario()
async def test_a_sandbox_that_cannot_be_made_is_an_error_of_ours_that_says_why(scheduler, world):
    world.by_hand = True
    caller = Caller(scheduler)
    await settle()
    world.starting[0].fail(SandboxFailed("no memory"))
    with pytest.raises(InternalServerError, match="no instance could be started: no memory"):
        await caller.task


@scenario()
async def test_an_unexpected_error_reaches_its_caller_without_its_details(scheduler, world):
    world.by_hand = True
    caller = Caller(scheduler)
    await settle()
    world.starting[0].fail(ValueError("secret"))
    with pytest.raises(InternalServerError) as caught:
        await caller.task
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_goes_wrong_at_the_end_of_an_instance_is_nobodys_answer(caplog):
    caplog.set_level(logging.CRITICAL)

    @scenario()
    async def run(scheduler, world):
        await call(scheduler)
        world.last_words = ValueError("at the end")
        world.by_hand = True
        world.instances[0].usable = False
        caller = Caller(scheduler)
        await settle()
        world.instances[0].crash()
        await settle()
        assert not caller.task.done()
        world.last_words = None
        world.starting[0].finish()
        await settle()
        await caller.leave()

    run()


@scenario()
async def test_an_instance_that_is_gone_as_soon_as_it_is_ready_is_replaced(scheduler, world):
    world.stillborn = 2
    assert await call(scheduler) is world.instances[2]
    assert world.live == world.instances[2:]


# --- ceilings ---


@scenario(max_instances_per_function=2)
async def test_at_the_ceiling_of_a_function_callers_wait_and_are_then_turned_away(scheduler, world):
    busy = [Caller(scheduler) for _ in range(2)]
    await settle()
    with pytest.raises(ResourceExhausted, match="all instances that function 'f' may have"):
        await call(scheduler)
    for caller in busy:
        await caller.leave()
    assert len(world.starts) == 2


@scenario(max_instances_per_function=1)
async def test_who_waits_at_the_ceiling_gets_what_becomes_free(scheduler, world):
    busy = Caller(scheduler)
    await settle()
    waiting = Caller(scheduler)
    await asyncio.sleep(2.9)
    await busy.leave()
    await settle()
    assert waiting.got is busy.got
    await waiting.leave()


@scenario(max_instances_per_function=1)
async def test_who_waits_at_the_ceiling_gets_a_new_instance_when_the_busy_one_crashes(
    scheduler, world
):
    busy = Caller(scheduler)
    await settle()
    waiting = Caller(scheduler)
    await settle()
    world.instances[0].crash()
    await busy.leave()
    await settle()
    assert waiting.got is world.instances[1]
    await waiting.leave()


@scenario(max_instances=2)
async def test_at_the_common_ceiling_the_instance_that_was_idle_longest_makes_room(
    scheduler, world
):
    oldest = await call(scheduler, F)
    await asyncio.sleep(1)
    newer = await call(scheduler, G)
    await call(scheduler, make_function("h"))
    await settle()
    assert oldest not in world.live
    assert newer in world.live


@scenario(max_instances=2)
async def test_one_call_at_the_common_ceiling_drives_out_one_instance(scheduler, world):
    await call(scheduler, F)
    await call(scheduler, G)
    world.slow_ends = asyncio.Event()
    caller = Caller(scheduler, make_function("h"))
    await asyncio.sleep(2)
    assert caller.got is None
    world.slow_ends.set()
    world.slow_ends = None
    await settle()
    assert caller.got.function.name == "h"
    await caller.leave()
    assert len(world.live) == 2


@scenario(max_instances=2)
async def test_busy_instances_of_others_are_not_driven_out(scheduler, world):
    busy = [Caller(scheduler, F) for _ in range(2)]
    await settle()
    with pytest.raises(ResourceExhausted):
        await call(scheduler, G)
    for caller in busy:
        await caller.leave()
    assert await call(scheduler, G) is world.instances[2]


@scenario(max_instances=2, max_instances_per_function=1)
async def test_a_function_at_its_own_ceiling_drives_nobody_out(scheduler, world):
    idle = await call(scheduler, G)
    busy = Caller(scheduler, F)
    await settle()
    with pytest.raises(ResourceExhausted):
        await call(scheduler, F)
    assert idle in world.live
    await busy.leave()


# --- versions ---


@scenario()
async def test_a_changed_function_is_served_by_new_instances(scheduler, world):
    old = await call(scheduler)
    changed = change(F)
    scheduler.follow("f", (changed, version_of(changed)))
    await settle()
    assert world.live == []
    assert await call(scheduler, changed) is not old


@scenario()
async def test_a_running_request_finishes_on_the_old_version(scheduler, world):
    caller = Caller(scheduler)
    await settle()
    changed = change(F)
    scheduler.follow("f", (changed, version_of(changed)))
    await settle()
    assert caller.got in world.live
    await caller.leave()
    await settle()
    assert world.live == []


@scenario()
async def test_who_waits_while_the_function_changes_is_served_by_the_version_they_came_for(
    scheduler, world
):
    world.by_hand = True
    caller = Caller(scheduler)
    await settle()
    scheduler.follow("f", None)
    world.starting[0].finish()
    await settle()
    assert caller.got.function is F
    await caller.leave()
    await settle()
    assert (len(world.starts), world.live) == (1, [])


@scenario(is_current=lambda version: version != version_of(F))
async def test_who_comes_for_a_version_that_has_just_been_replaced_leaves_nothing_behind(
    scheduler, world
):
    assert (await call(scheduler)).function is F
    await settle()
    assert (len(world.starts), world.live) == (1, [])


@scenario()
async def test_a_function_made_anew_under_the_old_name_has_no_instances_of_the_old_one(
    scheduler, world
):
    await call(scheduler)
    scheduler.follow("f", None)
    again = make_function("f", id="another")
    assert (await call(scheduler, again)).function is again
    await settle()
    assert world.live == world.instances[1:]


@scenario()
async def test_a_change_that_instances_do_not_see_keeps_them(scheduler, world):
    instance = await call(scheduler)
    scheduler.follow("f", (replace(F, idle_timeout_s=10), version_of(F)))
    assert await call(scheduler) is instance
    await asyncio.sleep(12)
    assert world.live == []


@scenario()
async def test_the_code_of_all_that_runs_is_in_use(scheduler, world):
    coded = make_function("f", code=Code(digest="d", checksum="1", size_bytes=1))
    assert scheduler.digests() == set()
    caller = Caller(scheduler, coded)
    await settle()
    scheduler.follow("f", None)
    assert scheduler.digests() == {"d"}
    await caller.leave()
    await settle()
    assert scheduler.digests() == set()


@scenario()
async def test_aborting_ends_busy_and_idle_instances_of_the_function_alone(scheduler, world):
    busy, other = Caller(scheduler), Caller(scheduler, G)
    await settle()
    await call(scheduler)
    idle = world.instances[-1]
    scheduler.abort("f")
    assert (busy.got.interrupted, idle.interrupted) == (True, False)
    await settle()
    assert world.live == [other.got]
    await busy.leave()
    await other.leave()


@scenario()
async def test_after_aborting_nobody_is_given_what_is_about_to_end(scheduler, world):
    doomed = await call(scheduler)
    scheduler.abort("f")
    assert await call(scheduler) is not doomed


# --- idle ---


@scenario(idle_s=300.0)
async def test_an_instance_that_was_idle_too_long_goes(scheduler, world):
    await call(scheduler)
    await asyncio.sleep(200)
    await call(scheduler)
    await asyncio.sleep(299)
    assert world.live
    await asyncio.sleep(3)
    assert not world.live


@pytest.mark.parametrize(("idle_timeout_s", "gone_after_s"), [(None, 302), (10, 12), (0, 2)])
def test_a_function_may_say_how_long_its_instances_stay_idle(idle_timeout_s, gone_after_s):
    @scenario(idle_s=300.0)
    async def run(scheduler, world):
        await call(scheduler, make_function(idle_timeout_s=idle_timeout_s))
        await asyncio.sleep(gone_after_s - 2)
        assert idle_timeout_s == 0 or world.live
        await asyncio.sleep(2)
        assert not world.live

    run()


@scenario(idle_s=1000.0, instance_age_s=100.0)
async def test_an_old_instance_goes_when_it_is_idle(scheduler, world):
    caller = Caller(scheduler)
    await asyncio.sleep(200)
    assert world.live
    await caller.leave()
    await asyncio.sleep(2)
    assert not world.live


@scenario(max_instances=1)
async def test_a_caller_who_gave_up_before_anything_was_started_leaves_nothing(scheduler, world):
    coded = make_function("g", code=Code(digest="d", checksum="1", size_bytes=1))
    busy = Caller(scheduler)
    await settle()
    with pytest.raises(ResourceExhausted):
        await call(scheduler, coded)
    await asyncio.sleep(2)
    assert scheduler.digests() == set()
    await busy.leave()


# --- freezing ---


@scenario(freeze_after_s=0.02)
async def test_an_instance_is_frozen_a_moment_after_it_became_idle(scheduler, world):
    instance = await call(scheduler)
    await asyncio.sleep(0.01)
    assert not instance.frozen
    await asyncio.sleep(0.05)
    assert instance.frozen


@scenario(freeze_after_s=0.02)
async def test_a_busy_instance_is_not_frozen(scheduler, world):
    caller = Caller(scheduler)
    await asyncio.sleep(10)
    assert not caller.got.frozen
    await caller.leave()


@scenario(freeze_after_s=0.02)
async def test_an_instance_that_is_used_all_the_time_is_not_frozen(scheduler, world):
    for _ in range(100):
        instance = await call(scheduler)
        await asyncio.sleep(0.015)
        assert not instance.frozen


def test_an_instance_that_cannot_be_frozen_goes_and_the_scheduler_goes_on(caplog):
    caplog.set_level(logging.CRITICAL)

    @scenario()
    async def run(scheduler, world):
        broken = await call(scheduler)
        broken.freezes = False
        await asyncio.sleep(1)
        assert not world.live
        healthy = await call(scheduler)
        await asyncio.sleep(1)
        assert healthy.frozen

    run()


# --- what is left of an answer ---


@pytest.mark.parametrize(
    ("error", "times"),
    [(None, 1), (BadResponse("too large"), 1), (asyncio.CancelledError(), 0)],
)
def test_what_was_not_read_is_taken_in_before_somebody_else_is_served(error, times):
    @scenario(max_instances=1)
    async def run(scheduler, world):
        with suppress(BadResponse, asyncio.CancelledError):
            async with ask(scheduler) as instance:
                next_caller = Caller(scheduler)
                await settle()
                assert instance.drained == 0
                if error is not None:
                    raise error
        assert instance.drained == times
        await settle()
        assert next_caller.got is instance
        await next_caller.leave()

    run()


@scenario(max_instances=1)
async def test_who_is_cancelled_while_that_happens_gives_the_instance_back(scheduler, world):
    async def never():
        await asyncio.Event().wait()

    caller = Caller(scheduler)
    await settle()
    caller.got.drain = never
    leaving = asyncio.ensure_future(caller.leave())
    await settle()
    await caller.hang_up()
    await asyncio.wait([leaving])
    del caller.got.drain
    assert await call(scheduler) is caller.got


# --- stopping ---


@scenario(max_instances_per_function=1)
async def test_before_the_scheduler_closes_who_waits_can_be_turned_away(scheduler, world):
    busy = Caller(scheduler)
    await settle()
    waiting = Caller(scheduler)
    await settle()
    world.by_hand = True
    starting = Caller(scheduler, G)
    await settle()
    scheduler.turn_away()
    for caller in (waiting, starting, Caller(scheduler), Caller(scheduler, H)):
        with pytest.raises(ServerStopping):
            await caller.task
    assert busy.got.server_stops
    assert busy.got in world.live
    await busy.leave()
    assert await call(scheduler) is busy.got  # which takes no waiting


@scenario()
async def test_who_waits_when_the_scheduler_closes_is_told_that_the_server_stops(scheduler, world):
    world.by_hand = True
    caller = Caller(scheduler)
    await settle()
    scheduler.close()
    with pytest.raises(ServerStopping):
        await caller.task


@scenario()
async def test_who_comes_after_the_scheduler_closed_is_told_that_the_server_stops(scheduler, world):
    await call(scheduler)
    scheduler.close()
    with pytest.raises(ServerStopping):
        await call(scheduler)


@scenario()
async def test_who_asked_before_the_scheduler_closed_and_enters_then_is_told(scheduler, world):
    lease = ask(scheduler)
    scheduler.close()
    with pytest.raises(ServerStopping):
        async with asyncio.timeout(60), lease:
            pass


@scenario(parallel_starts=1)
async def test_closing_does_not_wait_for_what_is_being_started(scheduler, world):
    world.by_hand = True
    callers = [Caller(scheduler) for _ in range(3)]
    await settle()
    world.starting[0].process.set_result(None)  # one in its initializer, one starting, one to come
    await settle()
    scheduler.close()
    await settle()
    assert not world.starting
    for caller in callers:
        with pytest.raises(ServerStopping):
            await caller.task


@scenario()
async def test_closing_ends_busy_instances_too(scheduler, world):
    caller = Caller(scheduler)
    await settle()
    scheduler.close()
    await settle()
    assert not world.live
    await caller.leave()


@scenario(max_instances_per_function=1)
async def test_who_waits_at_the_ceiling_when_the_scheduler_closes_is_told(scheduler, world):
    busy = Caller(scheduler)
    await settle()
    waiting = Caller(scheduler)
    await settle()
    scheduler.close()
    with pytest.raises(ServerStopping):
        await waiting.task
    await busy.leave()


def test_being_cancelled_ends_everything_too():
    async def main():
        world = World()
        callers = []

        async def serve():
            async with open_scheduler(make_policy(), world.open) as scheduler:
                await call(scheduler)
                world.by_hand = True
                callers.append(Caller(scheduler, G))
                await asyncio.wait([callers[0].task])

        task = asyncio.create_task(serve())
        await settle()
        assert world.live
        assert world.starting
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert world.live == world.starting == []
        with pytest.raises(ServerStopping):
            await callers[0].task

    run_on_clock(main())


@scenario(host_port=lambda function: 9000)
async def test_on_a_port_of_the_host_one_instance_at_a_time_listens(scheduler, world):
    first = Caller(scheduler)
    await settle()
    second, other = Caller(scheduler), Caller(scheduler, G)
    await settle()
    assert len(world.live) == 1
    assert (second.got, other.got) == (None, None)
    await first.leave()
    await settle()
    assert second.got is not None
    assert other.got is None
    await second.leave()
    await asyncio.sleep(0.1)
    assert other.got.function is G
    assert len(world.live) == 1
    await other.leave()


@scenario(host_port=lambda function: 9000)
async def test_an_idle_instance_gives_its_port_up_for_another_function(scheduler, world):
    await call(scheduler)
    assert (await call(scheduler, G)).function is G
    assert [instance.function for instance in world.live] == [G]


@scenario(max_instances=1)
async def test_who_waits_at_the_ceiling_gets_the_place_of_what_becomes_idle(scheduler, world):
    busy = Caller(scheduler)
    await settle()
    waiting = Caller(scheduler, G)
    await settle()
    await busy.leave()
    await asyncio.sleep(0.1)
    assert waiting.got.function is G
    await waiting.leave()
