"""Whatever happens in whatever order: the rules of the scheduler hold."""

import asyncio

from clock import ClockLoop, settle
from fake_instances import World, change, make_function, make_policy, version_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anyfc.errors import InternalServerError, ResourceExhausted, ServerStopping
from anyfc.instance.lifecycle import InitializerFailed
from anyfc.model.invocation import InitializationFailed
from anyfc.sandbox.failure import SandboxFailed
from anyfc.scheduler.opening import open_scheduler

NAMES = ("f", "g", "h")
IN_ALL, PER_FUNCTION, TURNS = 4, 3, 2
ANSWERS = (ResourceExhausted, ServerStopping, InternalServerError)


class Caller:
    def __init__(self, machine, function, *, hasty):
        self.instance = None
        self.let_go = asyncio.Event()
        self.task = machine.loop.create_task(self.run(machine, function, hasty))

    async def run(self, machine, function, hasty):
        lease = machine.scheduler.lease(function, version_of(function))
        taken = lease.take_nowait() if hasty else None
        async with lease as instance:
            assert taken in (None, instance)
            if isinstance(instance, InitializationFailed):
                return
            assert instance not in machine.leased, "leased twice"
            assert instance.usable, "leased after its end"
            assert version_of(instance.function) == version_of(function)
            machine.leased.append(instance)
            self.instance = instance
            try:
                await self.let_go.wait()
            finally:
                self.instance = None
                machine.leased.remove(instance)

    def check(self):
        """A caller who is done was served, was told why not, or has hung up."""
        if not self.task.cancelled() and (error := self.task.exception()):
            assert isinstance(error, ANSWERS), error


class Rules(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = ClockLoop()
        asyncio.set_event_loop(self.loop)
        self.functions = {name: make_function(name) for name in NAMES}
        self.callers = []
        self.leased = []
        self.stop = asyncio.Event()
        self.main = self.loop.create_task(self.serve())
        self.run(settle())

    async def serve(self):
        self.world = World()
        self.world.by_hand = True
        policy = make_policy(
            max_instances=IN_ALL,
            max_instances_per_function=PER_FUNCTION,
            max_waiting=3,
            parallel_starts=TURNS,
            idle_s=20.0,
            instance_age_s=60.0,
        )
        async with open_scheduler(policy, self.world.open) as self.scheduler:
            await self.stop.wait()

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def settle(self):
        self.run(settle())
        for caller in [caller for caller in self.callers if caller.task.done()]:
            caller.check()
            self.callers.remove(caller)

    def pick(self, data, things):
        return data.draw(st.sampled_from(things))

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 3), hasty=st.booleans())
    def call(self, name, count, hasty):
        for _ in range(count):
            self.callers.append(Caller(self, self.functions[name], hasty=hasty))
        self.settle()

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def let_go(self, data):
        self.pick(data, self.callers).let_go.set()
        self.settle()

    @precondition(lambda self: self.callers)
    @rule(data=st.data(), steps=st.integers(0, 4))
    def hang_up(self, data, steps):
        """At any moment: also when the caller has won and does not know yet."""
        caller = self.pick(data, self.callers)
        if self.world.starting:
            self.pick(data, self.world.starting).finish()
        self.run(settle(steps))
        caller.task.cancel()
        self.settle()

    @precondition(lambda self: self.world.starting)
    @rule(data=st.data())
    def become_ready(self, data):
        self.pick(data, self.world.starting).finish()
        self.settle()

    @precondition(lambda self: [s for s in self.world.starting if not s.process.done()])
    @rule(data=st.data())
    def begin_to_initialize(self, data):
        starts = [start for start in self.world.starting if not start.process.done()]
        self.pick(data, starts).process.set_result(None)
        self.settle()

    @precondition(lambda self: self.world.starting)
    @rule(data=st.data(), ours=st.booleans())
    def fail_to_start(self, data, ours):
        failure = InitializationFailed(body=b"{}")
        error = SandboxFailed("why") if ours else InitializerFailed(failure)
        self.pick(data, self.world.starting).fail(error)
        self.settle()

    @precondition(lambda self: self.world.live)
    @rule(data=st.data())
    def crash(self, data):
        self.pick(data, self.world.live).crash()
        self.settle()

    @rule(name=st.sampled_from(NAMES), gone=st.booleans())
    def change(self, name, gone):
        self.functions[name] = function = change(self.functions[name])
        self.scheduler.follow(name, None if gone else (function, version_of(function)))
        self.settle()

    @rule(name=st.sampled_from(NAMES))
    def abort(self, name):
        self.scheduler.abort(name)
        self.settle()

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.5, 4.0, 30.0]))
    def pass_time(self, seconds):
        self.run(asyncio.sleep(seconds))
        self.settle()

    @invariant()
    def there_are_no_more_instances_than_may_be(self):
        there = [i.function.name for i in self.world.live]
        there += [start.function.name for start in self.world.starting]
        assert len(there) <= IN_ALL
        assert all(there.count(name) <= PER_FUNCTION for name in NAMES)
        assert self.world.processes_starting <= TURNS

    @invariant()
    def an_instance_that_can_serve_is_leased_to_somebody_or_idle(self):
        for pool in self.scheduler._pools.values():
            for slot in pool.members:
                if slot.usable:
                    assert (slot.instance in self.leased) != (slot in pool.idle)

    @invariant()
    def nobody_waits_while_an_instance_of_theirs_is_idle(self):
        for pool in self.scheduler._pools.values():
            assert not (pool.waiting and pool.idle)

    @invariant()
    def nobody_waits_without_something_to_wait_for(self):
        for pool in self.scheduler._pools.values():
            room = self.scheduler._limits.room(pool.function.name)
            assert pool.starting >= min(len(pool.waiting), pool.starting + max(0, room))

    def teardown(self):
        for caller in self.callers:
            caller.let_go.set()
        waiting = list(self.callers)
        self.stop.set()
        self.run(self.main)
        self.run(settle())
        for caller in waiting:
            assert caller.task.done(), "somebody waits for ever"
            caller.check()
        assert self.world.live == self.world.starting == self.leased == []
        limits = self.scheduler._limits
        assert (limits.room("f"), limits.room("nobody")) == (PER_FUNCTION, PER_FUNCTION)
        assert not asyncio.all_tasks(self.loop)
        asyncio.set_event_loop(None)
        self.loop.close()


Rules.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_the_rules_hold_whatever_happens = Rules.TestCase
