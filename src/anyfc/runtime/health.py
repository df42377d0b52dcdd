"""Health: a custom runtime's own word on how it is, asked for again and again.

Source: "Configure health checks"; runtime.md 4.6.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyfc.errors import FunctionNotStarted
from anyfc.model.function import HealthCheck
from anyfc.runtime.custom import Custom


class Verdict:
    """What a row of probes says; values only."""

    def __init__(self, check: HealthCheck) -> None:
        self._check = check
        self._well_in_row = 0
        self._unwell_in_row = 0
        self.healthy = True

    def take(self, well: bool) -> bool:
        """Count a probe and return whether the instance is healthy now."""
        self._well_in_row = self._well_in_row + 1 if well else 0
        self._unwell_in_row = 0 if well else self._unwell_in_row + 1
        if self._unwell_in_row >= self._check.failure_threshold:
            self.healthy = False
        elif self._well_in_row >= self._check.success_threshold:
            self.healthy = True
        return self.healthy


@asynccontextmanager
async def watched(custom: Custom, *, awake: Callable[[], bool]) -> AsyncIterator[None]:
    """Probe once before the block, and on through it; without a health check do nothing.

    Nobody is asked while not `awake`: what is frozen cannot answer.
    Raises FunctionNotStarted if the first probe fails.
    """
    check = custom.plan.health_check
    if check is None:
        yield
        return
    await asyncio.sleep(check.initial_delay_s)
    status = await custom.probe(check)
    if not is_well(status):
        raise FunctionNotStarted(
            "The function http server cannot be started. check function health failed with "
            f"status code: {status} "
        )
    async with asyncio.TaskGroup() as group:
        prober = group.create_task(_probe_forever(custom, check, awake), name="health")
        try:
            yield
        finally:
            prober.cancel()


async def _probe_forever(custom: Custom, check: HealthCheck, awake: Callable[[], bool]) -> None:
    verdict = Verdict(check)
    while True:
        await asyncio.sleep(check.period_s)
        if awake():
            well = is_well(await custom.probe(check))
            if awake():  # else it was frozen in the middle
                custom.healthy = verdict.take(well)


def is_well(status: int) -> bool:
    return 200 <= status < 400
