"""One invocation, from the lease to the line in the log; for every kind of call."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from anyfc.errors import AccessDenied, NotSupported
from anyfc.instance.lifecycle import Instance
from anyfc.model.function import Function
from anyfc.model.invocation import InitializationFailed, Report
from anyfc.runtime.table import CUSTOM, PYTHON
from anyfc.scheduler.lease import Lease

log = logging.getLogger("anyfc")

NO_ASYNC: Final = (
    "asynchronous invocation is not supported by this version of anyfc; "
    "leave out X-Fc-Invocation-Type or set it to Sync"
)


def check_runnable(function: Function) -> None:
    """Raises NotSupported, AccessDenied."""
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
    if log.isEnabledFor(logging.INFO):
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
