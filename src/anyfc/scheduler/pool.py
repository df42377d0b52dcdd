"""The instances of one version: pick, wait, retire."""

import asyncio
from collections import deque
from collections.abc import Callable

from anyfc.errors import ResourceExhausted, ServerStopping
from anyfc.instance.lifecycle import Instance
from anyfc.model.function import Function
from anyfc.model.invocation import InitializationFailed
from anyfc.model.version import VersionId


class Member:
    """One ready instance in its pool, and how many of its slots are in use."""

    __slots__ = (
        "born_at", "capacity", "idle_since", "in_use", "instance", "leaving", "pool", "retired",
        "tired",
    )  # fmt: skip

    def __init__(self, pool: "Pool", instance: Instance) -> None:
        self.pool = pool
        self.instance = instance
        self.capacity = pool.capacity
        loop = asyncio.get_running_loop()
        self.born_at = self.idle_since = loop.time()
        self.in_use = 0
        self.leaving = False  # it has been retired
        self.retired: asyncio.Future[None] = loop.create_future()
        self.tired: asyncio.Future[None] = loop.create_future()  # its pre-freeze hook is due

    @property
    def usable(self) -> bool:
        return not self.leaving and self.instance.usable

    def retire(self) -> None:
        """Have the instance stopped by the task that owns it."""
        if not self.leaving:
            self.leaving = True
            self.retired.set_result(None)


Won = Member | InitializationFailed | Exception
Waiter = asyncio.Future[Won]


class Pool:
    """Who waits for an instance of one version, and which instances are idle.

    `grow` is called when somebody begins to wait, `idled` when an instance becomes idle.
    `saturated` says that only a busy instance is left to wait for: none is being started or at its
    pre-freeze hook, and no more may be started.
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
        port: int | None = None,
        outdated: bool = False,
    ) -> None:
        self.function = function
        self.port = port  # of the host, which only one instance at a time can listen on
        self.version = version
        self.capacity = function.instance_concurrency
        self.idle: list[Member] = []  # the most recently used last
        self.open: list[Member] = []  # in use, and with a slot to spare
        self.resting: set[Member] = set()  # at their pre-freeze hook
        self.members: set[Member] = set()
        self.waiting: deque[Waiter] = deque()
        self.starting = 0
        self.outdated = outdated  # there is a newer version
        self.shut = False  # nobody may begin to wait
        self._grow = grow
        self._idled = idled
        self._saturated = saturated
        self._max_waiting = max_waiting
        self._wait_s = wait_s
        self._loop = asyncio.get_running_loop()

    def take_nowait(self) -> Member | None:
        """Return an instance with a free slot: one that is in use, else the one used last."""
        while self.open:
            member = self.open[-1]
            if member.usable:
                member.in_use += 1
                if member.in_use == member.capacity:
                    self.open.pop()
                return member
            self.open.pop()  # given back, and judged there, by who uses it
        while self.idle:
            member = self.idle.pop()
            if member.usable:
                member.in_use = 1
                if member.capacity > 1:
                    self.open.append(member)
                return member
            member.retire()
        return None

    async def take(self) -> Member | InitializationFailed:
        """Wait for an instance.

        Raises ResourceExhausted, ServerStopping, or what keeps instances from starting.
        """
        if self.shut:
            raise ServerStopping
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
        elif isinstance(won := waiter.result(), Member):
            self.give_back(won)

    def give_back(self, member: Member) -> None:
        """Take a slot back: for who waits longest, for later, or with its instance out of service.

        An instance whose process has ended goes at once, whoever else uses it: they know by now.
        """
        member.in_use -= 1
        if self.waiting and member.usable:
            self._hand_over(member)
        else:
            self._offer(member)

    def _hand_over(self, member: Member) -> None:
        member.in_use += 1
        self.waiting.popleft().set_result(member)

    def _offer(self, member: Member) -> None:
        if not member.usable:
            if not member.in_use or member.instance.exited.done():
                member.retire()
        elif member.in_use:
            if member.in_use < member.capacity and member not in self.open:
                self.open.append(member)
        elif self.outdated:
            member.retire()
        else:
            if member in self.open:
                self.open.remove(member)
            member.idle_since = self._loop.time()
            self.idle.append(member)
            self._idled()

    def add(self, instance: Instance) -> Member:
        """Take in an instance that has become ready."""
        member = Member(self, instance)
        self.members.add(member)
        self._share(member)
        return member

    def _share(self, member: Member) -> None:
        """Offer an instance that nobody has: to those who wait, else for later."""
        while self.waiting and member.usable and member.in_use < member.capacity:
            self._hand_over(member)
        self._offer(member)

    def rest(self, member: Member) -> None:
        """Have the pre-freeze hook of an idle instance called; nobody is given it meanwhile."""
        self.idle.remove(member)
        self.resting.add(member)
        member.tired.set_result(None)

    def end_rest(self, member: Member) -> None:
        """Offer an instance again after its pre-freeze hook."""
        self.resting.remove(member)
        member.tired = self._loop.create_future()
        self._share(member)

    def discard(self, member: Member) -> None:
        """Forget an instance that is stopping."""
        self.members.discard(member)
        self.resting.discard(member)
        for offered in (self.idle, self.open):
            if member in offered:
                offered.remove(member)

    def fail(self, why: InitializationFailed | Exception) -> None:
        """Tell those whom an instance was started for that it did not become ready."""
        for _ in range(min(self.capacity, len(self.waiting))):
            self.waiting.popleft().set_result(why)

    def retire(self, member: Member) -> None:
        """Send an idle instance out of service."""
        self.idle.remove(member)
        member.retire()

    def outdate(self) -> None:
        """There is a newer version: idle instances go now, busy ones when they are given back."""
        self.outdated = True
        for member in self.idle:
            member.retire()
        self.idle.clear()

    def turn_away(self) -> None:
        """The server stops: who waits, or would have to, is told ServerStopping."""
        self.shut = True
        while self.waiting:
            self.fail(ServerStopping())

    @property
    def empty(self) -> bool:
        return not self.members and not self.waiting and not self.starting
