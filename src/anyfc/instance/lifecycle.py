"""Instance: a sandbox and a runtime, from creating to gone."""

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from enum import Enum
from typing import Any

import msgspec

from anyfc.instance.logs import Logs
from anyfc.instance.output import Output
from anyfc.instance.spec import Spec
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Invocation,
    Payload,
    Raised,
    Report,
    Result,
    Returned,
    TimedOut,
)
from anyfc.runtime.channel import Channel, ChannelClosed, open_channel
from anyfc.runtime.frame import INITIALIZE, INVOKE, PRE_STOP, Answer
from anyfc.sandbox.process import Process, Sandbox
from anyfc.sandbox.zygote import SandboxFailed

# Between SIGTERM and SIGKILL: long enough for the bootstrap to log where a function hangs.
LAST_WORDS_S = 0.5
GONE_WITHIN_S = 5.0


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


class StartFailed(Exception):
    """The instance never became ready; `result` is the function's own failure."""

    def __init__(self, result: InitializationFailed) -> None:
        super().__init__(result)
        self.result = result


class Stream:
    """The body of an answer that is larger than a frame; see `model.invocation.Stream`."""

    def __init__(self, instance: "Instance", channel: Channel, answer: Answer) -> None:
        self.size_bytes = answer.size_bytes
        self._instance = instance
        self._channel = channel
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._channel.rest(self._answer):
            yield piece
        self._instance.answering = False


class Instance:
    """One place that can serve invocations of one version, one at a time."""

    def __init__(self, spec: Spec, process: Process, channel: Channel, output: Output) -> None:
        self.id = spec.id
        self.spec = spec
        self.state = State.CREATING
        self.invocations = 0
        self.answering = False  # a request is under way, or its answer is
        self.frozen = False
        self._process = process
        self._channel = channel
        self._output = output
        self._peak_memory_mib = 0.0
        self._timed_out = False
        self._deadline = math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.born_at = time.monotonic()

    def move(self, new: State) -> None:
        if new not in MOVES[self.state]:
            raise AssertionError(f"an instance cannot go from {self.state} to {new}")
        self.state = new

    @property
    def usable(self) -> bool:
        """Another request may be sent to it."""
        return self.state is State.READY and not self.answering and not self._process.exited.done()

    async def run(self, invocation: Invocation) -> Report:
        """Run the handler. A failure of the function is in the report; cancelling kills it."""
        request_id = invocation.request_id
        cold = not self.invocations
        self.invocations += 1
        self.thaw()
        self._output.begin(
            request_id,
            b"FC Invoke Start RequestId: " + request_id.encode(),
            keep_tail=invocation.want_log_tail,
        )
        timeout_s = self.spec.function.timeout_s
        started_at = time.monotonic()
        try:
            result = await self._ask(INVOKE, request_id, invocation.payload, timeout_s)
        except asyncio.CancelledError:
            self._end_line("Invoke", request_id, "Invocation canceled by client", started_at)
            raise
        duration_ms = (time.monotonic() - started_at) * 1000
        match result:
            case Returned():
                self._output.end(b"FC Invoke End RequestId: " + request_id.encode())
            case Raised():
                self._end_line("Invoke", request_id, "Unhandled function error")
            case TimedOut():
                reason = f"Function timed out after {timeout_s} seconds"
                self._end_line("Invoke", request_id, reason, started_at)
            case Crashed():
                reason = "Process exited unexpectedly before completing request"
                self._end_line("Invoke", request_id, reason, started_at)
        tail = b""
        if invocation.want_log_tail:
            tail = self._output.take_tail(self._summary(duration_ms))
        return Report(
            result=result,
            duration_ms=duration_ms,
            peak_memory_mib=self._peak_memory_mib,
            instance_id=self.id,
            cold=cold,
            log_tail=tail,
        )

    async def initialize(self, request_id: str) -> None:
        """Call the initializer. Raises StartFailed."""
        hook = self.spec.function.initializer
        assert hook is not None
        started_at = time.monotonic()
        result = await self._call_hook("Initialize", INITIALIZE, request_id, hook.timeout_s)
        match result:
            case Raised(body=body):
                raise StartFailed(InitializationFailed(body=await collect(body)))
            case TimedOut():
                reason = f"Function initialization timed out after {hook.timeout_s} seconds"
            case Crashed():
                reason = "Process exited unexpectedly before completing initialization"
            case _:
                return
        message = f"{reason} ({self._cost(started_at)})"
        raise StartFailed(InitializationFailed(body=msgspec.json.encode({"errorMessage": message})))

    async def pre_stop(self, request_id: str) -> None:
        """Call the pre-stop hook if there is one; whatever comes of it, the instance stops."""
        hook = self.spec.function.pre_stop
        if hook is not None:
            self.thaw()
            await self._call_hook("PreStop", PRE_STOP, request_id, hook.timeout_s)

    async def _call_hook(self, name: str, kind: bytes, request_id: str, timeout_s: int) -> Result:
        start = f"FC {name} Start RequestId: {request_id}"
        self._output.begin(request_id, start.encode(), keep_tail=False)
        result = await self._ask(kind, request_id, b"", timeout_s)
        reason = "" if isinstance(result, Returned) else "Unhandled function error"
        self._end_line(name, request_id, reason)
        return result

    async def _ask(
        self, kind: bytes, request_id: str, event: bytes | Payload, timeout_s: int
    ) -> Result:
        self.answering = True
        self._timed_out = False
        # The alarm acts on the process; that it is gone is then seen as for any other death.
        self._deadline = self._loop.time() + timeout_s
        self._set_alarm()
        try:
            try:
                answer = await self._channel.ask(
                    kind, b'{"request_id":"%b"}' % request_id.encode(), event
                )
            finally:
                self._deadline = math.inf
        except ChannelClosed:
            status = await self.wait_exit()
            return TimedOut(timeout_s=timeout_s) if self._timed_out else Crashed(status=status)
        if self._timed_out:
            await self.wait_exit()
            return TimedOut(timeout_s=timeout_s)
        self._peak_memory_mib = answer.peak_memory_kib / 1024
        body: bytes | Stream = answer.piece
        if len(answer.piece) == answer.size_bytes:
            self.answering = False
        else:
            body = Stream(self, self._channel, answer)
        return Returned(body=body) if answer.returned else Raised(body=body)

    def _set_alarm(self) -> None:
        """Have `_ring` called at the deadline, or sooner: an alarm that is set stays set, so that
        short requests one after the other need only one.
        """
        if self._alarm is not None and self._alarm.when() > self._deadline:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._set_alarm()
            return
        self._timed_out = True
        self._process.signal(signal.SIGTERM)
        self._loop.call_later(LAST_WORDS_S, self._process.signal, signal.SIGKILL)

    async def wait_exit(self) -> int | None:
        """Wait until the process that closed its channel is gone; it may close it and live on.

        None if the machine does not let it go.
        """
        exited = self._process.exited
        await asyncio.wait((exited,), timeout=2 * LAST_WORDS_S)
        if not exited.done():
            self._process.signal(signal.SIGKILL)
            await asyncio.wait((exited,), timeout=GONE_WITHIN_S)
        return exited.result() if exited.done() else None

    def _end_line(
        self, name: str, request_id: str, reason: str, started_at: float | None = None
    ) -> None:
        cost = f" ({self._cost(started_at)})" if started_at is not None else ""
        error = f", Error: {reason}{cost}" if reason else ""
        self._output.end(f"FC {name} End RequestId: {request_id}{error}".encode())

    def _cost(self, started_at: float) -> str:
        duration_ms = (time.monotonic() - started_at) * 1000
        return f"duration: {duration_ms:.0f}ms, maxMemoryUsage: {self._peak_memory_mib:.2f}MB"

    def _summary(self, duration_ms: float) -> str:
        return (
            f"Duration: {duration_ms:.2f} ms, Billed Duration: {math.ceil(duration_ms)} ms, "
            f"Memory Size: {self.spec.function.memory_mib} MB, "
            f"Max Memory Used: {self._peak_memory_mib:.2f} MB"
        )

    def freeze(self) -> None:
        """Stop everything in the sandbox until the next request."""
        if not self.frozen:
            self.frozen = True
            self._process.freeze()

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            self._process.thaw()

    def close(self) -> None:
        self.thaw()
        self.move(State.GONE)
        if self._alarm is not None:
            self._alarm.cancel()

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
    logs: Logs,
    *,
    start_s: float,
    new_request_id: Callable[[], str],
    born: Callable[[], None],
) -> AsyncIterator[Instance]:
    """Yield an instance that is ready; leaving runs its pre-stop hook and ends all of it.

    `born` is called when the process is up and only the initializer is left.
    Raises SandboxFailed, StartFailed.
    """
    async with sandbox.open(spec.interpreter, spec.box, spec.program) as process:
        with closing(Output(process.log, logs, spec.function.name, spec.id)) as output:
            async with open_channel(process.channel) as channel:
                instance = Instance(spec, process, channel, output)
                try:
                    await _greet(instance, channel, output, start_s)
                    born()
                    if spec.function.initializer is not None:
                        await instance.initialize(new_request_id())
                    instance.move(State.READY)
                    yield instance
                    if instance.usable:
                        instance.move(State.STOPPING)
                        await instance.pre_stop(new_request_id())
                finally:
                    instance.close()


async def _greet(instance: Instance, channel: Channel, output: Output, start_s: float) -> None:
    try:
        async with asyncio.timeout(start_s):
            await channel.hello()
    except TimeoutError:
        raise SandboxFailed(f"the process said nothing within {start_s:g} s") from None
    except ChannelClosed:
        status = await instance.wait_exit()
        said = output.take_early().decode(errors="replace")
        raise SandboxFailed(f"the process ended with status {status} at once: {said}") from None
