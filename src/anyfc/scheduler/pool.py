"""The instances of one version: pick, wait, retire."""

import asyncio
from collections import deque
from collections.abc import Callable

from anyfc.errors import ResourceExhausted, ServerStopping
from anyfc.instance.lifecycle import Instance
from anyfc.model.function import Function
from anyfc.model.invocation import InitializationFailed
from anyfc.model.version import VersionId


class Slot:
    """One ready instance in its pool."""

    __slots__ = ("born_at", "idle_since", "instance", "leased", "pool", "retired")

    def __init__(self, pool: "Pool", instance: Instance) -> None:
        self.pool = pool
        self.instance = instance
        self.born_at = instance.born_at
        self.idle_since = instance.born_at
        self.leased = False
        self.retired: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def usable(self) -> bool:
        return self.instance.usable and not self.retired.done()

    def retire(self) -> None:
        """Have the instance stopped by the task that owns it."""
        if not self.retired.done():
            self.retired.set_result(None)


Won = Slot | InitializationFailed | Exception
Waiter = asyncio.Future[Won]


class Pool:
    """Who waits for an instance of one version, and which instances are idle.

    `grow` is called when somebody begins to wait, `idled` when an instance becomes idle.
    `saturated` says that only a busy instance is left to wait for: none is being started, and no
    more may be.
    """

    def __init__(
        self,
        function: Function,
        version: VersionId,
        *,
        grow: Callable[["Pool"], None],
        idled: Callable[[], None],
        saturated: Callable[["Pool"], bool],
        max_waiting: int,
        wait_s: float,
    ) -> None:
        self.function = function
        self.version = version
        self.idle: list[Slot] = []  # the most recently used last
        self.slots: set[Slot] = set()
        self.waiting: deque[Waiter] = deque()
        self.starting = 0
        self.outdated = False
        self._grow = grow
        self._idled = idled
        self._saturated = saturated
        self._max_waiting = max_waiting
        self._wait_s = wait_s
        self._loop = asyncio.get_running_loop()

    def take_nowait(self) -> Slot | None:
        """Return the most recently used idle instance."""
        while self.idle:
            slot = self.idle.pop()
            if slot.usable:
                slot.leased = True
                return slot
            slot.retire()
        return None

    async def take(self) -> Slot | InitializationFailed:
        """Wait for an instance. Raises ResourceExhausted, or what keeps instances from starting."""
        if len(self.waiting) >= self._max_waiting:
            raise ResourceExhausted(
                f"{len(self.waiting)} callers are already waiting for function "
                f"'{self.function.name}'"
            )
        waiter: Waiter = self._loop.create_future()
        self.waiting.append(waiter)
        self._grow(self)
        try:
            while not waiter.done():
                await asyncio.wait((waiter,), timeout=self._wait_s)
                if not waiter.done() and self._saturated(self):
                    raise ResourceExhausted(
                        f"all instances that function '{self.function.name}' may have are busy, "
                        f"and none became free within {self._wait_s:g} s"
                    )
        except BaseException:
            self._leave(waiter)
            raise
        won = waiter.result()
        if isinstance(won, Exception):
            raise won
        return won

    def _leave(self, waiter: Waiter) -> None:
        """Stop waiting; what was won in the same moment is passed on."""
        if not waiter.done():
            self.waiting.remove(waiter)
        elif isinstance(won := waiter.result(), Slot):
            self.give_back(won)

    def give_back(self, slot: Slot) -> None:
        """Take an instance back: to who waits longest, to the idle ones, or out of service."""
        slot.leased = False
        if not slot.usable:
            slot.retire()
        elif self.waiting:
            slot.leased = True
            self.waiting.popleft().set_result(slot)
        elif self.outdated:
            slot.retire()
        else:
            slot.idle_since = self._loop.time()
            self.idle.append(slot)
            self._idled()

    def add(self, instance: Instance) -> Slot:
        """Take in an instance that has become ready."""
        slot = Slot(self, instance)
        self.slots.add(slot)
        self.give_back(slot)
        return slot

    def discard(self, slot: Slot) -> None:
        """Forget an instance that is stopping."""
        self.slots.discard(slot)
        if not slot.leased and slot in self.idle:
            self.idle.remove(slot)

    def fail(self, why: InitializationFailed | Exception) -> None:
        """Tell who waits longest that the instance started for them did not become ready."""
        if self.waiting:
            self.waiting.popleft().set_result(why)

    def retire(self, slot: Slot) -> None:
        """Send an idle instance out of service."""
        self.idle.remove(slot)
        slot.retire()

    def outdate(self) -> None:
        """There is a newer version: idle instances go now, busy ones when they are given back."""
        self.outdated = True
        for slot in self.idle:
            slot.retire()
        self.idle.clear()

    def close(self) -> None:
        """The server stops: idle instances go now, busy ones soon, and who waits is told."""
        self.outdate()
        while self.waiting:
            self.fail(ServerStopping())

    @property
    def empty(self) -> bool:
        return not self.slots and not self.waiting and not self.starting
