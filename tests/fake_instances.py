"""Instances without processes, for tests of the scheduler."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from anyfc.model.function import Function
from anyfc.model.version import LATEST, VersionId
from anyfc.scheduler.lease import Policy


def make_function(name: str = "f", **settings: Any) -> Function:
    now = datetime(2025, 1, 1, tzinfo=UTC)
    return Function(
        id=settings.pop("id", f"id-of-{name}"),
        name=name,
        runtime="python3.10",
        handler="index.handler",
        code=settings.pop("code", None),
        created_at=now,
        modified_at=now,
        **settings,
    )


def version_of(function: Function) -> VersionId:
    return VersionId(function.name, function.id, LATEST, function.generation)


def change(function: Function) -> Function:
    return replace(function, generation=function.generation + 1)


def make_policy(**settings: Any) -> Policy:
    usual = {
        "max_instances": 10,
        "max_instances_per_function": 10,
        "max_waiting": 100,
        "wait_s": 3.0,
        "parallel_starts": 4,
        "idle_s": 300.0,
        "freeze_after_s": 0.02,
        "instance_age_s": 3600.0,
    }
    return Policy(**(usual | settings))


class FakeInstance:
    """What the scheduler sees of an instance."""

    def __init__(self, function: Function) -> None:
        loop = asyncio.get_running_loop()
        self.function = function
        self.usable = True
        self.frozen = False
        self.freezes = True
        self.owes_pre_freeze = False
        self.drained = 0  # how often
        self.hooks: list[asyncio.Future[None]] = []  # pre-freeze hooks that were called
        self.exited: asyncio.Future[int] = loop.create_future()

    def freeze(self) -> None:
        if not self.freezes:
            raise OSError("no such control group")
        self.frozen = True

    async def drain(self) -> None:
        self.drained += 1

    async def pre_freeze(self, request_id: str) -> None:
        self.owes_pre_freeze = False
        self.hooks.append(asyncio.get_running_loop().create_future())
        await self.hooks[-1]

    def crash(self) -> None:
        self.usable = False
        if not self.exited.done():
            self.exited.set_result(-9)


class Start:
    """One cold start. A test sets what becomes of the process, and then of the initializer."""

    def __init__(self, function: Function, *, by_hand: bool) -> None:
        loop = asyncio.get_running_loop()
        self.function = function
        self.process: asyncio.Future[None] = loop.create_future()
        self.initializer: asyncio.Future[None] = loop.create_future()
        if not by_hand:
            self.finish()

    def finish(self) -> None:
        for step in (self.process, self.initializer):
            if not step.done():
                step.set_result(None)

    def fail(self, error: Exception) -> None:
        step = self.initializer if self.process.done() else self.process
        step.set_exception(error)

    @property
    def over(self) -> bool:
        return self.process.done() and self.initializer.done()


class World:
    """Opens fake instances, and knows which there are."""

    def __init__(self) -> None:
        self.by_hand = False  # the test finishes each start
        self.stillborn = 0  # so many instances are gone by the time they are ready
        self.last_words: Exception | None = None  # raised when an instance ends
        self.slow_ends: asyncio.Event | None = None  # until it is set, instances do not end
        self.starts: list[Start] = []
        self.starting: list[Start] = []
        self.processes_starting = 0
        self.most_processes_starting = 0
        self.instances: list[FakeInstance] = []  # all that ever were
        self.live: list[FakeInstance] = []

    @asynccontextmanager
    async def open(
        self, function: Function, born: Callable[[], None]
    ) -> AsyncIterator[FakeInstance]:
        start = Start(function, by_hand=self.by_hand)
        self.starts.append(start)
        self.starting.append(start)
        try:
            self.processes_starting += 1
            self.most_processes_starting = max(
                self.most_processes_starting, self.processes_starting
            )
            try:
                await start.process
            finally:
                self.processes_starting -= 1
            born()
            await start.initializer
        finally:
            self.starting.remove(start)
        instance = FakeInstance(function)
        self.instances.append(instance)
        self.live.append(instance)
        if self.stillborn:
            self.stillborn -= 1
            instance.crash()
        try:
            yield instance
        finally:
            instance.usable = False
            if self.slow_ends is not None:
                await self.slow_ends.wait()
            self.live.remove(instance)
            if self.last_words is not None:
                raise self.last_words
