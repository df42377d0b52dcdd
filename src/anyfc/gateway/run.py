"""One call of a function, from the lease to the line in the log; whatever its kind is."""

import logging

from anyfc.gateway.guard import Guard, fail
from anyfc.gateway.runnable import Runnable
from anyfc.instance.lifecycle import Instance
from anyfc.model.invocation import InitializationFailed
from anyfc.model.report import Report
from anyfc.web.message import Reply, Rest, Underway

log = logging.getLogger("anyfc")


class FunctionCall(Underway):
    """One call on its way; a subclass is one kind of call.

    Where nothing has to be waited for, callbacks carry it: who asks an instance to work has `_hear`
    called for what comes of it. Otherwise the task of the caller's connection does, in `run`, which
    goes on from wherever the call has come to.
    """

    __slots__ = ("_guard", "_lease", "_reply", "_runnable")

    def __init__(self, reply: Reply, guard: Guard, runnable: Runnable) -> None:
        self._reply = reply
        self._guard = guard
        self._runnable = runnable
        self._lease = runnable.lease()

    # --- without waiting ---

    def _hear(self) -> None:
        """The answer has begun, or will not come."""
        try:
            self._pass_on()
        except Exception as error:  # a bug of ours, which no task is there to be told of
            self._lease.end()
            self._resume(fail(error))

    def _pass_on(self) -> None:
        """Send the answer if it is whole; if not, leave it to the task of the connection."""
        raise NotImplementedError

    def _resume(self, rest: Rest) -> None:
        """Leave it to the task of the connection."""
        self._reply.resume(self._guard.watch(rest))

    # --- with a task that waits ---

    async def run(self) -> None:
        """See the call to its end from wherever it is.

        The answer leaves inside the lease: a large one is still in the instance. Raises what
        entering the lease, `_work` and `_answer` raise.
        """
        async with self._lease as instance:
            if isinstance(instance, InitializationFailed):
                report = Report(
                    result=instance,
                    duration_ms=0,
                    peak_memory_mib=0,
                    instance_id="",
                    cold=True,
                    log_tail=instance.log_tail,
                )
            else:
                report = await self._work(instance)
            self._record(report)
            await self._answer(report)

    async def _work(self, instance: Instance) -> Report:
        """Have the instance do the work, if it has not been asked to yet, and wait for the end."""
        raise NotImplementedError

    async def _answer(self, report: Report) -> None:
        """Answer what has not been answered meanwhile."""
        raise NotImplementedError

    # --- both ---

    def _record(self, report: Report) -> None:
        """Put what came of the call into the server's own log."""
        # Asking the level first saves most of the asking where nobody wants to know.
        if log.level <= logging.INFO and log.isEnabledFor(logging.INFO):
            log.info(
                "invocation",
                extra={
                    "request_id": self._guard.request_id,
                    "function": self._runnable.function.name,
                    "outcome": type(report.result).__name__,
                    "took_ms": round(report.duration_ms, 2),
                    "cold": report.cold,
                    "instance": report.instance_id,
                },
            )
