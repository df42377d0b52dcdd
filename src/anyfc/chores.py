"""What nobody waits for: zygotes warmed before they are needed, what is left behind swept."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from anyfc.instance.code import Packages
from anyfc.instance.logs import Logs
from anyfc.runtime.table import PYTHON, pick
from anyfc.sandbox.failure import SandboxFailed
from anyfc.sandbox.interpreter import Interpreter
from anyfc.sandbox.process import Sandbox
from anyfc.scheduler.lease import Scheduler
from anyfc.store.catalog import Catalog

log = logging.getLogger("anyfc")

SWEEP_S = 600.0


@asynccontextmanager
async def open_chores(
    sandbox: Sandbox,
    packages: Packages,
    logs: Logs,
    catalog: Catalog,
    scheduler: Scheduler,
    interpreters: Sequence[Interpreter],
) -> AsyncIterator[None]:
    """Do the chores inside the block."""
    async with asyncio.TaskGroup() as group:
        changed = asyncio.Event()
        changed.set()
        catalog.watch(lambda name: changed.set())
        chores = [
            group.create_task(_warm(sandbox, catalog, interpreters, changed), name="warm"),
            group.create_task(_sweep(packages, logs, catalog, scheduler), name="sweep"),
        ]
        try:
            yield
        finally:
            for chore in chores:
                chore.cancel()


async def _warm(
    sandbox: Sandbox, catalog: Catalog, interpreters: Sequence[Interpreter], changed: asyncio.Event
) -> None:
    warmed: set[Interpreter] = set()
    while True:
        await changed.wait()
        changed.clear()
        for runtime in catalog.runtimes() & PYTHON.keys():
            interpreter = pick(runtime, interpreters)
            if interpreter is not None and interpreter not in warmed:
                with suppress(SandboxFailed):  # whoever needs it will be told
                    await sandbox.warm(interpreter)
                    warmed.add(interpreter)


async def _sweep(packages: Packages, logs: Logs, catalog: Catalog, scheduler: Scheduler) -> None:
    while True:
        try:
            await packages.sweep(catalog.digests() | scheduler.digests())
            await logs.sweep(catalog.names())
        except OSError:  # a full disk, for one: no reason to stop serving
            log.exception("what was deleted is not swept")
        await asyncio.sleep(SWEEP_S)
