"""One invocation, from the lease to the line in the log; for every kind of call."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from anyfc.errors import AccessDenied, NotSupported
from anyfc.instance.lifecycle import Instance
from anyfc.model.function import Function
from anyfc.model.invocation import InitializationFailed
from anyfc.model.report import Report
from anyfc.model.version import LATEST, VersionId
from anyfc.runtime.table import CUSTOM, PYTHON
from anyfc.scheduler.lease import Lease
from anyfc.store.catalog import Catalog

log = logging.getLogger("anyfc")

NO_ASYNC: Final = (
    "asynchronous invocation is not supported by this version of anyfc; "
    "leave out X-Fc-Invocation-Type or set it to Sync"
)


class Runnable:
    """A version of a function that may be run now, and what its calls need to know each time."""

    __slots__ = ("concurrency", "custom", "function", "timeout_s", "version")

    def __init__(self, function: Function, version: VersionId) -> None:
        self.function = function
        self.version = version
        self.custom = function.runtime in CUSTOM
        self.timeout_s = function.timeout_s
        self.concurrency = function.instance_concurrency


class Runnables:
    """Finds the function that a call is for; what was seen of one holds until it changes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._latest: dict[str, Runnable] = {}
        catalog.watch(self._forget)

    def resolve(self, name: str, qualifier: str) -> Runnable:
        """Return what a qualifier leads to.

        Raises NotSupported, AccessDenied, and what `Catalog.resolve` does.
        """
        if qualifier == LATEST:
            runnable = self._latest.get(name)
            if runnable is not None:
                return runnable
        function, version = self._catalog.resolve(name, qualifier)
        _check_runnable(function)
        runnable = Runnable(function, version)
        if qualifier == LATEST:
            self._latest[name] = runnable
        return runnable

    def _forget(self, name: str) -> None:
        self._latest.pop(name, None)


def _check_runnable(function: Function) -> None:
    if function.runtime not in PYTHON and function.runtime not in CUSTOM:
        raise NotSupported(
            f"runtime '{function.runtime}' of function '{function.name}' cannot be run by this "
            f"version of anyfc; it runs {', '.join([*PYTHON, *sorted(CUSTOM)])}"
        )
    if function.restriction is not None:
        raise AccessDenied(
            f"invocation of function '{function.name}' is disabled: {function.restriction.reason}"
        )


async def run(
    lease: Lease,
    request_id: str,
    work: Callable[[Instance], Awaitable[Report]],
    answer: Callable[[Report], Awaitable[None]],
) -> None:
    """Have an instance do the work, and answer.

    The answer leaves inside the lease: a large one is still in the instance. Raises what entering
    the lease and the two callables raise.
    """
    async with lease as instance:
        if isinstance(instance, InitializationFailed):
            report = Report(
                result=instance, duration_ms=0, peak_memory_mib=0, instance_id="", cold=True
            )
        else:
            report = await work(instance)
        await answer(report)
    record(request_id, lease.function, report)


def record(request_id: str, function: Function, report: Report) -> None:
    """Put an invocation that has ended into the server's own log."""
    # Asking the level first saves most of the asking where nobody wants to know.
    if log.level <= logging.INFO and log.isEnabledFor(logging.INFO):
        log.info(
            "invocation",
            extra={
                "request_id": request_id,
                "function": function.name,
                "outcome": type(report.result).__name__,
                "took_ms": round(report.duration_ms, 2),
                "cold": report.cold,
                "instance": report.instance_id,
            },
        )
