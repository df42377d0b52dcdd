"""Instance: a sandbox and a dialogue, from creating to gone."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing
from enum import Enum
from typing import Any

import msgspec

from anyfc.instance.logs import Logs
from anyfc.instance.opening import open_dialogue, take_network
from anyfc.instance.output import Output
from anyfc.instance.spec import Spec
from anyfc.model.function import Hook
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Invocation,
    Raised,
    Report,
    Result,
    Returned,
    TimedOut,
)
from anyfc.runtime.custom import Custom, Exchanging
from anyfc.runtime.dialogue import Dialogue
from anyfc.runtime.frame import INITIALIZE, INVOKE, PRE_FREEZE, PRE_STOP, WSGI
from anyfc.runtime.health import watched
from anyfc.sandbox.network import Networks
from anyfc.sandbox.process import Process, Sandbox


class State(Enum):
    CREATING = "creating"
    READY = "ready"
    STOPPING = "stopping"
    GONE = "gone"


MOVES = {
    State.CREATING: {State.READY, State.GONE},
    State.READY: {State.STOPPING, State.GONE},
    State.STOPPING: {State.GONE},
    State.GONE: set[State](),
}


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
        self._owes_pre_freeze = False
        self._process = process
        self._dialogue = dialogue
        self._output = output
        self.born_at = time.monotonic()

    def move(self, new: State) -> None:
        if new not in MOVES[self.state]:
            raise AssertionError(f"an instance cannot go from {self.state} to {new}")
        self.state = new

    @property
    def usable(self) -> bool:
        """Another request may be sent to it."""
        return (
            self.state is State.READY and self._dialogue.ready and not self._process.exited.done()
        )

    # --- requests ---

    async def run(self, invocation: Invocation) -> Report:
        """Run the handler. A failure of the function is in the report.

        Cancelling leaves an instance that is not usable any more, if nobody else uses it.
        """
        asked = self._dialogue.ask(
            INVOKE if invocation.http is None else WSGI,
            invocation.request_id,
            invocation.payload,
            timeout_s=self.spec.function.timeout_s,
            http=invocation.http,
        )
        return await self._attend(
            invocation.request_id, invocation.want_log_tail, asked, with_memory=True
        )

    async def forward(
        self, request_id: str, exchange: Exchanging, *, want_log_tail: bool = False
    ) -> Report:
        """Let a web call be exchanged with the function's own server; otherwise as `run`.

        Its caller is not told of memory, which takes a look into `/proc`.
        """
        assert isinstance(self._dialogue, Custom), "only custom runtimes have a server"
        exchanged = self._dialogue.forward(
            exchange, request_id, timeout_s=self.spec.function.timeout_s
        )
        return await self._attend(request_id, want_log_tail, exchanged, with_memory=False)

    async def _attend(
        self,
        request_id: str,
        want_log_tail: bool,
        work: Coroutine[Any, Any, Result],
        *,
        with_memory: bool,
    ) -> Report:
        """See a request through: its lines in the log, what came of it, and what it took."""
        cold = not self.invocations
        self.invocations += 1
        self.thaw()
        self._owes_pre_freeze = True
        self._output.begin(
            request_id, b"FC Invoke Start RequestId: " + request_id.encode(), want_log_tail
        )
        started_at = time.monotonic()
        try:
            result = await work
        except asyncio.CancelledError:
            self._end_line("Invoke", request_id, "Invocation canceled by client", started_at)
            raise
        except BaseException as error:
            reason = str(error) or type(error).__name__
            self._end_line("Invoke", request_id, reason, started_at)
            raise
        duration_ms = (time.monotonic() - started_at) * 1000
        match result:
            case Returned():
                end = b"FC Invoke End RequestId: " + request_id.encode()
                self._output.end(request_id, end)
            case Raised():
                self._end_line("Invoke", request_id, "Unhandled function error")
            case TimedOut(timeout_s=timeout_s):
                reason = f"Function timed out after {timeout_s} seconds"
                self._end_line("Invoke", request_id, reason, started_at)
            case Crashed():
                reason = "Process exited unexpectedly before completing request"
                self._end_line("Invoke", request_id, reason, started_at)
        tail = b""
        if want_log_tail:
            tail = self._output.take_tail(self._summary(duration_ms))
        return Report(
            result=result,
            duration_ms=duration_ms,
            peak_memory_mib=self._dialogue.peak_memory_mib() if with_memory else 0.0,
            instance_id=self.id,
            cold=cold,
            log_tail=tail,
        )

    # --- hooks ---

    async def initialize(self, request_id: str) -> None:
        """Call the initializer. Raises InitializerFailed."""
        hook = self.spec.function.initializer
        assert hook is not None
        started_at = time.monotonic()
        match await self._call_hook("Initialize", INITIALIZE, request_id, hook):
            case Raised(body=body):
                raise InitializerFailed(InitializationFailed(body=await collect(body)))
            case TimedOut():
                reason = f"Function initialization timed out after {hook.timeout_s} seconds"
            case Crashed():
                reason = "Process exited unexpectedly before completing initialization"
            case _:
                return
        message = f"{reason} ({self._cost(started_at)})"
        body = msgspec.json.encode({"errorMessage": message})
        raise InitializerFailed(InitializationFailed(body=body))

    @property
    def owes_pre_freeze(self) -> bool:
        """The pre-freeze hook is to be called before the instance is frozen."""
        return self._owes_pre_freeze and self.spec.function.pre_freeze is not None

    async def pre_freeze(self, request_id: str) -> None:
        """Call the pre-freeze hook; whatever comes of it, the instance may be frozen."""
        self._owes_pre_freeze = False
        hook = self.spec.function.pre_freeze
        assert hook is not None
        await self._call_hook("PreFreeze", PRE_FREEZE, request_id, hook)

    async def pre_stop(self, request_id: str) -> None:
        """Call the pre-stop hook if there is one; whatever comes of it, the instance stops."""
        hook = self.spec.function.pre_stop
        if hook is not None:
            self.thaw()
            await self._call_hook("PreStop", PRE_STOP, request_id, hook)

    async def _call_hook(self, name: str, kind: bytes, request_id: str, hook: Hook) -> Result:
        start = f"FC {name} Start RequestId: {request_id}"
        self._output.begin(request_id, start.encode(), False)
        result = await self._dialogue.ask(kind, request_id, timeout_s=hook.timeout_s)
        reason = "" if isinstance(result, Returned) else "Unhandled function error"
        self._end_line(name, request_id, reason)
        return result

    # --- words ---

    def _end_line(
        self, name: str, request_id: str, reason: str, started_at: float | None = None
    ) -> None:
        cost = f" ({self._cost(started_at)})" if started_at is not None else ""
        error = f", Error: {reason}{cost}" if reason else ""
        self._output.end(request_id, f"FC {name} End RequestId: {request_id}{error}".encode())

    def _cost(self, started_at: float) -> str:
        duration_ms = (time.monotonic() - started_at) * 1000
        peak_mib = self._dialogue.peak_memory_mib()
        return f"duration: {duration_ms:.0f}ms, maxMemoryUsage: {peak_mib:.2f}MB"

    def _summary(self, duration_ms: float) -> str:
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

    def close(self) -> None:
        self.thaw()
        self.move(State.GONE)

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done when the process is gone."""
        return self._process.exited


async def collect(body: bytes | Any) -> bytes:
    """Return a whole body."""
    if isinstance(body, bytes):
        return body
    return b"".join([piece async for piece in body])


@asynccontextmanager
async def open_instance(
    spec: Spec,
    sandbox: Sandbox,
    networks: Networks | None,
    logs: Logs,
    *,
    new_request_id: Callable[[], str],
    born: Callable[[], None],
) -> AsyncIterator[Instance]:
    """Yield an instance that is ready; leaving runs its pre-stop hook and ends all of it.

    `born` is called when the process is up and what is left is the function's own work.
    Raises SandboxFailed, InitializerFailed, CAExited, FunctionNotStarted.
    """
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(take_network(spec, networks))
        opened = sandbox.open(spec.interpreter, spec.box, spec.program, network)
        process = await stack.enter_async_context(opened)
        output = stack.enter_context(
            closing(Output(process.log, logs, spec.function.name, spec.id))
        )
        dialogue = await stack.enter_async_context(open_dialogue(spec, process, network, output))
        instance = stack.enter_context(closing(Instance(spec, process, dialogue, output)))
        if isinstance(dialogue, Custom):
            born()  # its server may take minutes, and others can be started meanwhile
        await dialogue.greet()
        born()
        if spec.function.initializer is not None:
            await instance.initialize(new_request_id())
        if isinstance(dialogue, Custom):
            watching = watched(dialogue, awake=lambda: not instance.frozen)
            await stack.enter_async_context(watching)
        instance.move(State.READY)
        yield instance
        if instance.usable:
            instance.move(State.STOPPING)
            await instance.pre_stop(new_request_id())
