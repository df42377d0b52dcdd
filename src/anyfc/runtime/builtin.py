"""The dialogue with built-in runtimes: frames, one request at a time, and an alarm for each."""

import asyncio
import math
import signal
from collections.abc import Callable
from typing import Final

import msgspec

from anyfc.model.invocation import (
    Crashed,
    HttpCall,
    Payload,
    Raised,
    Result,
    Returned,
    TimedOut,
)
from anyfc.runtime.channel import Channel, ChannelClosed
from anyfc.runtime.dialogue import Dialogue
from anyfc.runtime.frame import Answer
from anyfc.sandbox.failure import SandboxFailed
from anyfc.sandbox.process import Process

# Between SIGTERM and SIGKILL: long enough for the bootstrap to log where a function hangs.
LAST_WORDS_S: Final = 0.5
GONE_WITHIN_S: Final = 5.0


class Stream:
    """The body of an answer that is larger than a frame; see `model.invocation.Stream`."""

    def __init__(self, dialogue: "Builtin", channel: Channel, answer: Answer) -> None:
        self.size_bytes = answer.size_bytes
        self._dialogue = dialogue
        self._channel = channel
        self._first: bytes | None = answer.piece
        self._missing_bytes = answer.size_bytes - len(answer.piece)

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> bytes:
        """Raises ChannelClosed."""
        first, self._first = self._first, None
        if first is not None:
            return first
        if not self._missing_bytes:
            self._dialogue.answering = False
            raise StopAsyncIteration
        piece = await self._channel.next_piece()
        self._missing_bytes -= len(piece)
        if self._missing_bytes < 0:
            raise ChannelClosed
        return piece


class Builtin(Dialogue):
    """Speaks with the bootstrap of a built-in runtime; see `bootstrap/DIALOGUE.md`, part 2.

    `early` gives what the process printed before it could say hello.
    """

    def __init__(
        self, process: Process, channel: Channel, *, start_s: float, early: Callable[[], bytes]
    ) -> None:
        self.answering = False  # a request is under way, or its answer is
        self._process = process
        self._channel = channel
        self._start_s = start_s
        self._early = early
        self._peak_memory_mib = 0.0
        self._timed_out = False
        self._deadline = math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def ready(self) -> bool:
        return not self.answering

    def peak_memory_mib(self) -> float:
        return self._peak_memory_mib

    def before_freeze(self) -> None:
        """Nothing: the channel has no time of its own."""

    async def greet(self) -> None:
        try:
            async with asyncio.timeout(self._start_s):
                await self._channel.hello()
        except TimeoutError:
            raise SandboxFailed(f"the process said nothing within {self._start_s:g} s") from None
        except ChannelClosed:
            status = await self._wait_exit()
            said = self._early().decode(errors="replace")
            raise SandboxFailed(f"the process ended with status {status} at once: {said}") from None

    async def ask(
        self,
        kind: bytes,
        request_id: str,
        event: bytes | Payload = b"",
        *,
        timeout_s: int,
        http: HttpCall | None = None,
    ) -> Result:
        self._begin(timeout_s)
        try:
            await self._channel.send_all(kind, _meta(request_id, http), event)
            return await self.wait(timeout_s)
        except ChannelClosed:
            return await self._explain_end(timeout_s)
        finally:
            self._deadline = math.inf

    def send(
        self,
        kind: bytes,
        request_id: str,
        event: bytes,
        *,
        timeout_s: int,
        listener: Callable[[], None],
    ) -> None:
        """Send a request; `listener` is called when there is something to `take`, or to `wait` for.

        The event must be short enough: see `channel.fits`.
        """
        self._begin(timeout_s)
        self._channel.send(kind, _meta(request_id, None), event, listener)

    def abandon(self) -> None:
        """Nobody waits for what comes of a request that was sent; its instance is of no use."""
        self._deadline = math.inf
        self._channel.ignore()

    def take(self) -> Returned | Raised | None:
        """Return what came of a request, if all of it is here."""
        answer = None if self._timed_out else self._channel.answer_nowait()
        return self._judge(answer) if answer is not None else None

    async def wait(self, timeout_s: int) -> Result:
        """Wait for what comes of a request that was sent."""
        try:
            answer = await self._channel.answer()
        except ChannelClosed:
            return await self._explain_end(timeout_s)
        finally:
            self._deadline = math.inf
        if self._timed_out:
            await self._wait_exit()
            return TimedOut(timeout_s=timeout_s)
        return self._judge(answer)

    def _begin(self, timeout_s: int) -> None:
        self.answering = True
        self._timed_out = False
        # The alarm acts on the process; that it is gone is then seen as for any other death.
        self._deadline = self._loop.time() + timeout_s
        self._set_alarm()

    def _judge(self, answer: Answer) -> Returned | Raised:
        self._deadline = math.inf
        self._peak_memory_mib = answer.peak_memory_kib / 1024
        body: bytes | Stream = answer.piece
        if len(answer.piece) == answer.size_bytes:
            self.answering = False
        else:
            body = Stream(self, self._channel, answer)
        return Returned(body=body) if answer.returned else Raised(body=body)

    async def _explain_end(self, timeout_s: int) -> Result:
        self._deadline = math.inf  # its time does not go on while the process ends
        status = await self._wait_exit()
        return TimedOut(timeout_s=timeout_s) if self._timed_out else Crashed(status=status)

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

    async def _wait_exit(self) -> int | None:
        """Wait until the process that closed its channel is gone; it may close it and live on.

        None if the machine does not let it go.
        """
        exited = self._process.exited
        await asyncio.wait((exited,), timeout=2 * LAST_WORDS_S)
        if not exited.done():
            self._process.signal(signal.SIGKILL)
            await asyncio.wait((exited,), timeout=GONE_WITHIN_S)
        return exited.result() if exited.done() else None

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()


def _meta(request_id: str, http: HttpCall | None) -> bytes:
    if http is None:
        return b'{"request_id":"%b"}' % request_id.encode()
    return msgspec.json.encode({"request_id": request_id, "http": http})
