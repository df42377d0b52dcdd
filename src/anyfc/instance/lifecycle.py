"""Instance: a sandbox and a dialogue, from creating to gone."""

import asyncio
import math
import time
from collections.abc import Awaitable
from contextlib import suppress
from enum import Enum
from typing import Final, assert_never

from anyfc.instance.output import Output
from anyfc.instance.spec import Spec
from anyfc.model.function import Hook
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Invocation,
    Raised,
    Result,
    Returned,
    TimedOut,
    read_whole,
)
from anyfc.model.report import Report, cost, explain
from anyfc.runtime.builtin import Builtin
from anyfc.runtime.channel import ChannelClosed
from anyfc.runtime.custom import Custom
from anyfc.runtime.dialogue import Dialogue
from anyfc.runtime.frame import INITIALIZE, INVOKE, PRE_FREEZE, PRE_STOP
from anyfc.sandbox.process import Process


class State(Enum):
    CREATING = "creating"
    READY = "ready"
    STOPPING = "stopping"
    GONE = "gone"


MOVES: Final = {
    State.CREATING: {State.READY, State.GONE},
    State.READY: {State.STOPPING, State.GONE},
    State.STOPPING: {State.GONE},
    State.GONE: set[State](),
}

# What runs, as the log calls it.
REQUEST: Final = b"Invoke"
INITIALIZER: Final = b"Initialize"
PRE_FREEZE_HOOK: Final = b"PreFreeze"
PRE_STOP_HOOK: Final = b"PreStop"
# Why it has ended, or nobody waits for it any more.
UNHANDLED: Final = "Unhandled function error"
CANCELED: Final = "Invocation canceled by client"
STOPPED: Final = "Server stopped before completing request"


class InitializerFailed(Exception):
    """The instance never became ready; `result` is the function's own failure."""

    def __init__(self, result: InitializationFailed) -> None:
        super().__init__(result)
        self.result = result


class Instance:
    """One place that can serve invocations of one version."""

    def __init__(self, spec: Spec, process: Process, dialogue: Dialogue, output: Output) -> None:
        self.id = spec.id
        self.spec = spec
        self.state = State.CREATING
        self.invocations = 0
        self.frozen = False
        self.interrupted = False  # it is to go at once, with what it is doing
        self.server_stops = False  # whoever leaves it now has not hung up
        self._owes_pre_freeze = False
        self.exited = process.exited  # done when the process is gone
        self._process = process
        self._dialogue = dialogue
        self._output = output

    def move(self, new: State) -> None:
        if new not in MOVES[self.state]:
            raise AssertionError(f"an instance cannot go from {self.state} to {new}")
        self.state = new

    @property
    def usable(self) -> bool:
        """Another request may be sent to it."""
        return self.state is State.READY and self._dialogue.ready and not self.exited.done()

    # --- requests ---

    def begin(self, request_id: str, *, want_log_tail: bool = False) -> "Running":
        """Take a request: what follows is its work, and then the end of what this returns."""
        cold = not self.invocations
        self.invocations += 1
        self.thaw()
        self._owes_pre_freeze = True
        name = request_id.encode()
        self._output.begin(name, b"FC Invoke Start RequestId: %b" % name, want_log_tail)
        return Running(self, self._output, REQUEST, name, want_log_tail, cold)

    async def run(self, invocation: Invocation) -> Report:
        """Have an event handled. A failure of the function is in the report.

        Cancelling leaves an instance that is not usable any more, if nobody else uses it.
        """
        running = self.begin(invocation.request_id, want_log_tail=invocation.want_log_tail)
        result = await running.watch(
            self._dialogue.ask(
                INVOKE,
                invocation.request_id,
                invocation.payload,
                timeout_s=self.spec.function.timeout_s,
            )
        )
        return running.end(result, peak_memory_mib=self._dialogue.peak_memory_mib())

    @property
    def builtin(self) -> Builtin:
        """The dialogue with a built-in runtime."""
        assert isinstance(self._dialogue, Builtin)
        return self._dialogue

    @property
    def server(self) -> Custom:
        """The function's own server, which only custom runtimes have."""
        assert isinstance(self._dialogue, Custom)
        return self._dialogue

    async def drain(self) -> None:
        """Take in what nobody has read of an answer, so that it does not cost the instance."""
        await self._dialogue.drain()

    # --- hooks ---

    async def initialize(self, request_id: str) -> None:
        """Call the initializer. Raises InitializerFailed."""
        hook = self.spec.function.initializer
        assert hook is not None
        report = await self._call_hook(INITIALIZER, INITIALIZE, request_id, hook)
        if isinstance(report.result, Returned):
            return
        body = await self._describe_failure(report, hook)
        raise InitializerFailed(InitializationFailed(body=body, log_tail=report.log_tail))

    async def _describe_failure(self, report: Report, hook: Hook) -> bytes:
        """Return the JSON that tells a caller why there is no instance."""
        reason = "Process exited unexpectedly before completing initialization"
        match report.result:
            case Raised(body=body):
                with suppress(ChannelClosed):  # it ended before it had described its failure
                    return await read_whole(body)
            case TimedOut():
                reason = f"Function initialization timed out after {hook.timeout_s} seconds"
        spent = cost(report.duration_ms, self._dialogue.peak_memory_mib())
        return explain(f"{reason} ({spent})")

    @property
    def owes_pre_freeze(self) -> bool:
        """The pre-freeze hook is to be called before the instance is frozen."""
        return self._owes_pre_freeze and self.spec.function.pre_freeze is not None

    async def pre_freeze(self, request_id: str) -> None:
        """Call the pre-freeze hook; whatever comes of it, the instance may be frozen."""
        self._owes_pre_freeze = False
        hook = self.spec.function.pre_freeze
        assert hook is not None
        await self._call_hook(PRE_FREEZE_HOOK, PRE_FREEZE, request_id, hook)
        await self.drain()

    async def pre_stop(self, request_id: str) -> None:
        """Call the pre-stop hook if there is one; whatever comes of it, the instance stops."""
        hook = self.spec.function.pre_stop
        if hook is not None:
            self.thaw()
            await self._call_hook(PRE_STOP_HOOK, PRE_STOP, request_id, hook)

    async def _call_hook(self, what: bytes, kind: bytes, request_id: str, hook: Hook) -> Report:
        name = request_id.encode()
        keep_tail = what == INITIALIZER  # whose failure is what a caller gets
        self._output.begin(name, b"FC %b Start RequestId: %b" % (what, name), keep_tail)
        running = Running(self, self._output, what, name, keep_tail, True)
        asking = self._dialogue.ask(kind, request_id, timeout_s=hook.timeout_s)
        return running.end(await running.watch(asking))

    def cost(self, started_at: float) -> str:
        """Say what was spent since a time of the monotonic clock."""
        duration_ms = (time.monotonic() - started_at) * 1000
        return cost(duration_ms, self._dialogue.peak_memory_mib())

    def summary(self, duration_ms: float) -> str:
        """Return the last line of a log tail."""
        return (
            f"Duration: {duration_ms:.2f} ms, Billed Duration: {math.ceil(duration_ms)} ms, "
            f"Memory Size: {self.spec.function.memory_mib} MB, "
            f"Max Memory Used: {self._dialogue.peak_memory_mib():.2f} MB"
        )

    # --- freezing and the end ---

    def freeze(self) -> None:
        """Stop everything in the sandbox until the next request."""
        if not self.frozen:
            self.frozen = True
            self._dialogue.before_freeze()
            self._process.freeze()

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            self._process.thaw()

    async def terminate(self) -> None:
        """Tell the process to end, and give it a moment."""
        if isinstance(self._dialogue, Builtin) and not self._dialogue.ready:
            return  # a handler that runs would be logged as if its time were over
        self.thaw()
        self._dialogue.before_freeze()  # some servers wait until all connections have ended
        await self._process.terminate()

    def close(self) -> None:
        self.thaw()
        self.move(State.GONE)


class Running:
    """One request in an instance, or one run of a hook: its lines in the log, and what it took."""

    __slots__ = (
        "_cold", "_instance", "_output", "_request_id", "_started_at", "_want_log_tail", "_what",
    )  # fmt: skip

    def __init__(
        self,
        instance: Instance,
        output: Output,
        what: bytes,
        request_id: bytes,
        want_log_tail: bool,
        cold: bool,
    ) -> None:
        self._instance = instance
        self._output = output
        self._what = what
        self._request_id = request_id
        self._want_log_tail = want_log_tail
        self._cold = cold
        self._started_at = time.monotonic()

    async def watch(self, work: Awaitable[Result]) -> Result:
        """Wait for the work; if it does not come to a result, the request ends here."""
        try:
            return await work
        except asyncio.CancelledError:
            self.abandon()
            raise
        except BaseException as error:
            self._end_with(str(error) or type(error).__name__, with_cost=True)
            raise

    def abandon(self) -> None:
        """Nobody waits for the result any more."""
        # Nobody hangs up on a hook.
        stopped = self._what != REQUEST or self._instance.server_stops
        self._end_with(STOPPED if stopped else CANCELED, with_cost=True)

    def end(
        self, result: Result, *, peak_memory_mib: float = 0.0, failure: str = UNHANDLED
    ) -> Report:
        """Write the last line, which calls a Raised a `failure`, and say how it went."""
        duration_ms = (time.monotonic() - self._started_at) * 1000
        match result:
            case Returned():
                end = b"FC %b End RequestId: %b" % (self._what, self._request_id)
                self._output.end(self._request_id, end)
            case Raised():
                self._end_with(failure)
            case TimedOut() | Crashed():
                self._end_with(result.reason, with_cost=True)
            case InitializationFailed():
                raise AssertionError("what runs has been initialized")
            case _:
                assert_never(result)
        tail = b""
        if self._want_log_tail:
            tail = self._output.take_tail(self._instance.summary(duration_ms))
        return Report(
            result=result,
            duration_ms=duration_ms,
            peak_memory_mib=peak_memory_mib,
            instance_id=self._instance.id,
            cold=self._cold,
            log_tail=tail,
        )

    def _end_with(self, reason: str, *, with_cost: bool = False) -> None:
        cost = f" ({self._instance.cost(self._started_at)})" if with_cost else ""
        error = f"Error: {reason}{cost}".encode()
        line = b"FC %b End RequestId: %b, %b" % (self._what, self._request_id, error)
        self._output.end(self._request_id, line)
