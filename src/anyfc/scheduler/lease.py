"""Scheduler and its `lease`: the one way to an instance, for all."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from anyfc.errors import FunctionComputeError, InternalServerError, ServerStopping
from anyfc.instance.lifecycle import InitializerFailed, Instance
from anyfc.model.function import Function
from anyfc.model.invocation import InitializationFailed
from anyfc.model.version import VersionId
from anyfc.sandbox.failure import SandboxFailed
from anyfc.scheduler.limits import Limits
from anyfc.scheduler.pool import Member, Pool
from anyfc.scheduler.scaler import stale, starts

log = logging.getLogger("anyfc")

TEND_S: Final = 1.0

# Opens an instance of a function; the callable is to be called when its process is up.
Open = Callable[[Function, Callable[[], None]], AbstractAsyncContextManager[Instance]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How many instances, for how long, and how long callers wait for one."""

    max_instances: int
    max_instances_per_function: int
    max_waiting: int
    wait_s: float
    parallel_starts: int
    idle_s: float
    freeze_after_s: float
    instance_age_s: float


class Lease:
    """The right to use an instance, taken on entering and given back on leaving.

    Who does not want to wait calls `take_nowait` before, and then either `end`, or enters and
    leaves like all others. Its pool is found then: one that nobody used may meanwhile be gone.
    """

    __slots__ = ("_member", "_scheduler", "_version", "function")

    def __init__(self, scheduler: "Scheduler", function: Function, version: VersionId) -> None:
        self.function = function
        self._version = version
        self._scheduler = scheduler
        self._member: Member | None = None

    def take_nowait(self) -> Instance | None:
        """Take an instance if one has a free slot."""
        pool = self._scheduler.pool_of(self.function, self._version)
        member = self._member = pool.take_nowait()
        return member.instance if member is not None else None

    def end(self) -> None:
        """Give back what was taken."""
        member, self._member = self._member, None
        if member is not None:
            member.pool.give_back(member)

    async def __aenter__(self) -> Instance | InitializationFailed:
        if self._member is None and self.take_nowait() is None:
            won = await self._scheduler.pool_of(self.function, self._version).take()
            if isinstance(won, InitializationFailed):
                return won
            self._member = won
        assert self._member is not None
        return self._member.instance

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # Of an answer the caller may have been told a part, or something else instead.
            if self._member is not None and (kind is None or issubclass(kind, Exception)):
                await self._member.instance.drain()
        finally:
            self.end()


class Turn:
    """One of the few turns to start an instance, from entering to its `end`, or to leaving.

    Only making processes takes turns: an initializer may then take its time.
    """

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self._mine = False

    async def __aenter__(self) -> "Turn":
        await self._turns.acquire()
        self._mine = True
        return self

    def end(self) -> None:
        if self._mine:
            self._mine = False
            self._turns.release()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


class Scheduler:
    """Decides which instance serves whom, and how many there are."""

    def __init__(
        self,
        policy: Policy,
        open_instance: Open,
        group: asyncio.TaskGroup,
        host_port: Callable[[Function], int | None],
        is_current: Callable[[VersionId], bool],
        new_request_id: Callable[[], str],
    ) -> None:
        self._policy = policy
        self._is_current = is_current
        self._host_port = host_port
        self._new_request_id = new_request_id
        self._open = open_instance
        self._group = group
        self._limits = Limits(
            in_all=policy.max_instances, per_function=policy.max_instances_per_function
        )
        self._pools: dict[VersionId, Pool] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._start_turn = asyncio.Semaphore(policy.parallel_starts)
        self._idled = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._closing = False

    def lease(self, function: Function, version: VersionId) -> Lease:
        """Return the right to an instance of a version, to be entered with `async with`.

        Entering gives the instance, or the failure of the initializer of the one that was started
        for this caller. Raises ResourceExhausted, ServerStopping, and what keeps instances from
        starting: StoreUnavailable, InternalServerError, StartFailed.
        """
        return Lease(self, function, version)

    def pool_of(self, function: Function, version: VersionId) -> Pool:
        """Return the pool of a version, made if there is none. Raises ServerStopping."""
        pool = self._pools.get(version)
        if pool is None:
            if self._closing:
                raise ServerStopping
            pool = self._pools[version] = Pool(
                function,
                version,
                grow=self._grow,
                idled=self._note_idle,
                saturated=lambda pool: (
                    not pool.starting
                    and not pool.resting
                    and self._limits.room(pool.function.name, pool.port) <= 0
                ),
                port=self._host_port(function),
                max_waiting=self._policy.max_waiting,
                wait_s=self._policy.wait_s,
                outdated=not self._is_current(version),  # the function changed since it was asked
            )
        return pool

    def _note_idle(self) -> None:
        if not self._idled.is_set():  # which is far cheaper than to set it again
            self._idled.set()

    def follow(self, name: str, current: tuple[Function, VersionId] | None) -> None:
        """A function has changed or is gone: instances of its other versions go."""
        for version, pool in list(self._pools.items()):
            if version.function != name:
                continue
            if current is not None and version == current[1]:
                pool.function = current[0]  # changes that instances do not see
            else:
                pool.outdate()
                self._forget_empty(pool)

    def abort(self, name: str) -> None:
        """End the instances of a function, the busy ones too, and those without a last hook."""
        for pool in list(self._pools.values()):
            if pool.version.function == name:
                for member in list(pool.members):
                    member.instance.interrupted = member.in_use > 0
                    member.retire()

    def digests(self) -> set[str]:
        """Return the digests of the code that instances may still be started from."""
        return {pool.function.code.digest for pool in self._pools.values() if pool.function.code}

    # --- starting ---

    def _grow(self, pool: Pool) -> None:
        name, port = pool.function.name, pool.port
        waiting, starting = len(pool.waiting), pool.starting
        if waiting > starting * pool.capacity:
            if self._limits.port_is_taken(port):
                self._make_room([p for p in self._pools.values() if p.port == port])
            elif self._limits.room_is_with_others(name):
                self._make_room([p for p in self._pools.values() if p.function.name != name])
        room = self._limits.room(name, port)
        for _ in range(
            starts(waiting=waiting, starting=starting, room=room, capacity=pool.capacity)
        ):
            self._limits.take(name, port)
            pool.starting += 1
            self._group.create_task(self._live(pool), name=f"instance of {name}")

    def _grow_waiting(self) -> None:
        """An instance has gone, or is idle and may go: perhaps others can have theirs now."""
        if not self._closing:
            for waiting in [pool for pool in self._pools.values() if pool.waiting]:
                self._grow(waiting)

    def _make_room(self, pools: Sequence[Pool]) -> None:
        """Nothing more can be started: of these, the instance that was idle longest goes.

        One at a time: as long as one is on its way out, no other is driven out for the same caller.
        """
        leaving = any(member.retired.done() for pool in pools for member in pool.members)
        idle = [pool.idle[0] for pool in pools if pool.idle]
        if idle and not leaving and not self._ending:
            oldest = min(idle, key=lambda member: member.idle_since)
            oldest.pool.retire(oldest)

    async def _live(self, pool: Pool) -> None:
        """The whole life of one instance."""
        me = asyncio.current_task()
        assert me is not None
        self._starting.add(me)

        def started() -> None:
            if me in self._starting:
                self._starting.remove(me)
                pool.starting -= 1

        def failed(why: InitializationFailed | Exception) -> None:
            # What goes wrong at the end of a life is no answer to somebody who waits for another.
            if me in self._starting:
                started()
                pool.fail(why)

        try:
            async with Turn(self._start_turn) as turn:
                if self._closing or not pool.waiting:
                    return  # nobody waits for the instance any more
                async with self._open(pool.function, turn.end) as instance:
                    started()
                    await self._serve(pool, instance)
                    self._ending.add(me)
        except InitializerFailed as failure:
            failed(failure.result)
        except FunctionComputeError as error:
            failed(error)
        except SandboxFailed as error:
            log.error("no instance", extra={"function": pool.function.name, "why": str(error)})
            failed(InternalServerError(f"no instance could be started: {error}"))
        except Exception as error:
            log.exception("an instance failed", extra={"function": pool.function.name})
            failure_of_ours = InternalServerError()
            failure_of_ours.__cause__ = error
            failed(failure_of_ours)
        finally:
            started()
            self._ending.discard(me)
            self._limits.give_back(pool.function.name, pool.port)
            self._forget_empty(pool)
            self._grow_waiting()

    async def _serve(self, pool: Pool, instance: Instance) -> None:
        """Offer the instance until it is retired or its process ends."""
        member = pool.add(instance)
        try:
            while True:
                news = (member.retired, instance.exited, member.tired)
                await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
                if member.retired.done() or instance.exited.done():
                    return
                await self._rest(member)
        finally:
            pool.discard(member)

    async def _rest(self, member: Member) -> None:
        """Call the pre-freeze hook, and freeze the instance unless somebody waits for it.

        The task that owns the instance does it, so that its end waits for the hook's.
        """
        try:
            await member.instance.pre_freeze(self._new_request_id())
        except FunctionComputeError as error:  # an answer that cannot be read: no reason to stay up
            function = member.pool.function.name
            log.warning("pre-freeze hook failed", extra={"function": function, "why": str(error)})
        member.pool.end_rest(member)
        if member in member.pool.idle:
            _freeze(member)

    def _forget_empty(self, pool: Pool) -> None:
        if pool.empty and self._pools.get(pool.version) is pool:
            del self._pools[pool.version]

    # --- tending ---

    async def freeze_idle(self) -> None:
        """Freeze what has been idle for a moment, or let it go where others need its place.

        Sleeps when nothing has become idle.
        """
        grace_s = self._policy.freeze_after_s
        while True:
            await self._idled.wait()
            self._idled.clear()
            await asyncio.sleep(grace_s)
            self._grow_waiting()
            now = self._loop.time()
            for pool in list(self._pools.values()):
                for member in reversed(pool.idle):
                    if member.instance.frozen:
                        continue
                    if now - member.idle_since < grace_s:
                        self._idled.set()
                        continue
                    if member.instance.owes_pre_freeze:
                        pool.rest(member)
                    else:
                        _freeze(member)

    async def tend(self) -> None:
        """Retire what was idle too long."""
        while True:
            await asyncio.sleep(TEND_S)
            now = self._loop.time()
            for pool in list(self._pools.values()):
                wished_s = pool.function.idle_timeout_s
                idle_s = self._policy.idle_s if wished_s is None else wished_s
                age_s = self._policy.instance_age_s
                for member in stale(pool.idle, now, idle_s=idle_s, age_s=age_s):
                    pool.retire(member)
                self._forget_empty(pool)  # of callers who gave up before anything was started

    def turn_away(self) -> None:
        """The server stops soon: who waits for an instance, or would have to, is told so.

        Those who have one may go on; whoever leaves it from now on is cut off.
        """
        self._closing = True
        for pool in self._pools.values():
            pool.turn_away()
            for member in pool.members:
                member.instance.server_stops = True

    def close(self) -> None:
        """Retire everything; who still waits, or comes now, is told ServerStopping."""
        self.turn_away()
        for pool in self._pools.values():
            pool.outdate()
            for member in pool.members:
                member.retire()
        self._pools.clear()
        for task in self._starting:
            task.cancel()


def _freeze(member: Member) -> None:
    """Freeze an idle instance; one that cannot be frozen goes."""
    try:
        member.instance.freeze()
    except OSError:
        log.exception("not frozen", extra={"function": member.pool.function.name})
        member.pool.retire(member)
