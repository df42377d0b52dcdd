"""Opening a scheduler: its tasks, and what they leave behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from anyfc.model.function import Function
from anyfc.model.version import VersionId
from anyfc.scheduler.lease import Open, Policy, Scheduler


@asynccontextmanager
async def open_scheduler(
    policy: Policy,
    open_instance: Open,
    *,
    host_port: Callable[[Function], int | None] = lambda function: None,
    is_current: Callable[[VersionId], bool] = lambda version: True,
    new_request_id: Callable[[], str] = lambda: str(uuid4()),
) -> AsyncIterator[Scheduler]:
    """Yield a scheduler; leaving stops all instances and waits until they are gone.

    `host_port` names the port of the host's own network that instances of a function listen on.
    `is_current` says whether a version may have instances that nobody waits for.
    """
    async with asyncio.TaskGroup() as group:
        scheduler = Scheduler(policy, open_instance, group, host_port, is_current, new_request_id)
        async with asyncio.TaskGroup() as tending:
            tasks = [
                tending.create_task(scheduler.freeze_idle(), name="freeze"),
                tending.create_task(scheduler.tend(), name="tend"),
            ]
            try:
                yield scheduler
            finally:
                for task in tasks:
                    task.cancel()
                scheduler.close()
