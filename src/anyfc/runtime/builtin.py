"""The dialogue with built-in runtimes: frames, one request at a time, and an alarm for each."""

import asyncio
import math
import signal
from collections.abc import Callable
from contextlib import suppress
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
# A handler that came back at the end of its time may still hand over what it came back with.
HAND_OVER_S: Final = 1.0
# What nobody reads of an answer is taken in, so that its instance can be asked again. No result is
# longer than this: see `bootstrap/python/answer.py`.
UNREAD_BYTES: Final = 33 * 1024 * 1024
UNREAD_S: Final = 2.0


class Stream:
    """The body of an answer that is larger than a frame; see `model.invocation.Stream`."""

    def __init__(self, dialogue: "Builtin", answer: Answer) -> None:
        self.size_bytes = answer.size_bytes
        self._dialogue = dialogue
        self._first: bytes | None = answer.piece

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> bytes:
        """Raises ChannelClosed, also when the instance has had its time."""
        first, self._first = self._first, None
        if first is not None:
            return first
        piece = await self._dialogue.next_piece()
        if not piece:
            raise StopAsyncIteration
        return piece


class Builtin(Dialogue):
    """Speaks with the bootstrap of a built-in runtime; see `bootstrap/DIALOGUE.md`, part 2.

    `early` gives what the process printed before it could say hello.
    """

    def __init__(
        self, process: Process, channel: Channel, *, start_s: float, early: Callable[[], bytes]
    ) -> None:
        self.answering = False  # a request is under way, or its answer is
        self.handing_over = False  # the answer has begun, and its end has not been read
        self._missing_bytes = 0  # of that answer
        self._left_s = 0.0  # of the time of its request
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
        except asyncio.CancelledError:
            self._deadline = math.inf
            raise
        if self._timed_out:
            await self._wait_exit()
            return TimedOut(timeout_s=timeout_s)
        return self._judge(answer)

    async def next_piece(self) -> bytes:
        """Wait for one more piece of an answer; empty at its end.

        The instance may not let its reader wait longer than its request had time, all pieces
        together: it is then ended as for any request. Raises ChannelClosed.
        """
        if not self._missing_bytes:
            if self.handing_over:
                self.handing_over = self.answering = False
            return b""
        began_at = self._loop.time()
        self._deadline = began_at + self._left_s
        self._set_alarm()
        try:
            piece = await self._channel.next_piece()
        except ChannelClosed:
            self.handing_over = False
            raise
        finally:
            self._deadline = math.inf
        self._left_s -= self._loop.time() - began_at
        self._missing_bytes -= len(piece)
        if self._timed_out or self._missing_bytes < 0:
            self.handing_over = False
            raise ChannelClosed
        return piece

    async def drain(self) -> None:
        if not self.handing_over or self._missing_bytes > UNREAD_BYTES:
            return
        with suppress(ChannelClosed, TimeoutError):
            async with asyncio.timeout(UNREAD_S):
                while await self.next_piece():
                    pass

    def _begin(self, timeout_s: int) -> None:
        self.answering = True
        self._timed_out = False
        # The alarm acts on the process; that it is gone is then seen as for any other death.
        self._deadline = self._loop.time() + timeout_s
        self._set_alarm()

    def _judge(self, answer: Answer) -> Returned | Raised:
        self._peak_memory_mib = answer.peak_memory_kib / 1024
        body: bytes | Stream = answer.piece
        if len(answer.piece) == answer.size_bytes:
            self.answering = False
        else:
            self.handing_over = True
            self._missing_bytes = answer.size_bytes - len(answer.piece)
            self._left_s = max(HAND_OVER_S, self._deadline - self._loop.time())
            body = Stream(self, answer)
        self._deadline = math.inf
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
        self._deadline = math.inf
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
