"""The dialogue with custom runtimes: HTTP to the server that the function brings along.

Source: runtime.md 4 (web calls), 5 (event calls), 8.3 and 8.6 (hooks), 12.2 (what a failed start
tells the caller).
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from anyfc.errors import (
    BadResponse,
    CAExited,
    EntityTooLarge,
    FunctionComputeError,
    FunctionNotStarted,
)
from anyfc.model.function import HealthCheck
from anyfc.model.invocation import Crashed, HttpCall, Payload, Raised, Result, Returned, TimedOut
from anyfc.runtime.deadlines import Deadline, Deadlines
from anyfc.runtime.dialogue import Dialogue
from anyfc.runtime.frame import INITIALIZE, INVOKE, PRE_FREEZE, PRE_STOP
from anyfc.runtime.headers import says_failed
from anyfc.sandbox.process import Process
from anyfc.web.message import PeerLost
from anyfc.web.outgoing import Outgoing
from anyfc.web.spool import keep
from anyfc.web.upstream import Exchange, NoAnswer, Upstream, UpstreamFailed, over_socket

MIB: Final = 1024 * 1024
ANSWER_BYTES: Final = 32 * MIB
# What a failed start shows of the server's output.
SHOWN_OUTPUT_BYTES: Final = 4 * 1024
FIRST_PAUSE_S: Final = 0.002
LONGEST_PAUSE_S: Final = 0.05
# A process that closes its connection often ends, and is then to be known as ended.
EXIT_WITHIN_S: Final = 0.25
ANSWERS_WITHIN_S: Final = 1.0
CLOSING_S: Final = 0.02

# Kind → method and path, which is the value of x-fc-control-path too.
CALLS: Final = {
    INVOKE: (b"POST", b"/invoke"),
    INITIALIZE: (b"POST", b"/initialize"),
    PRE_STOP: (b"GET", b"/pre-stop"),
    PRE_FREEZE: (b"GET", b"/pre-freeze"),
}

Connect = Callable[[], Awaitable[socket.socket]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """Where a function's server is to listen, and what it is told with each request."""

    port: int
    start_command: str  # as it is shown
    head: bytes  # header lines that are the same for all requests
    concurrency: int = 1
    health_check: HealthCheck | None = None

    def request_head(self, request_id: str, control_path: bytes) -> bytes:
        """Return the common header lines of one request."""
        return b"x-fc-request-id: %b\r\nx-fc-control-path: %b\r\n%b" % (
            request_id.encode(), control_path, self.head,
        )  # fmt: skip

    def web_head(self, request_id: str, path: bytes) -> bytes:
        """Return the common header lines of one web call."""
        return (
            b"x-fc-request-id: %b\r\nx-fc-control-path: /http-invoke\r\nx-fc-base-path: %b\r\n%b"
        ) % (request_id.encode(), path, self.head)


class Custom(Dialogue):
    """Speaks HTTP with a function's own server; several requests may be under way.

    `connect` leads to its port, `host` is what calls of ours are addressed to, `early` gives what
    it has printed.
    """

    def __init__(
        self,
        process: Process,
        plan: ServerPlan,
        connect: Connect,
        *,
        host: str,
        start_s: float,
        early: Callable[[], bytes],
        spool_folder: Path,
    ) -> None:
        self.plan = plan
        self.healthy = True
        self._spoiled = False  # it may still be at work on a request that nobody waits for
        self._process = process
        self._connect = connect
        self._start_s = start_s
        self._early = early
        self._spool_folder = spool_folder
        self._alone = plan.concurrency == 1
        self._deadlines = Deadlines()
        self._host = b"host: %b\r\n" % host.encode()
        self._first: socket.socket | None = None  # the connection that found the port open
        self.upstream = Upstream(over_socket(self._take_connection))

    @property
    def ready(self) -> bool:
        return self.healthy and not self._spoiled

    def peak_memory_mib(self) -> float:
        return self._process.peak_memory_mib()

    async def drain(self) -> None:
        """Nothing: what is not read ends with its connection."""

    def before_freeze(self) -> None:
        """Close idle connections: a server's idle timer would fire at the thaw, and end the
        connection that carries the request it was thawed for.
        """
        self._hang_up()

    def close(self) -> None:
        self._deadlines.close()
        self._hang_up()

    def _hang_up(self) -> None:
        """Close the connections that carry no request."""
        self.upstream.close()
        self._drop_first()

    def _drop_first(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first.close()

    # --- starting ---

    async def greet(self) -> None:
        """Wait until the port accepts; no request is sent to find out (runtime.md 4.1, 21.8).

        Raises CAExited, FunctionNotStarted.
        """
        try:
            async with asyncio.timeout(self._start_s):
                self._first = await self._wait_open()
        except TimeoutError:
            raise FunctionNotStarted(
                f"Function instance health check failed on port {self.plan.port} in "
                f"{self._start_s:g} seconds.\nLogs:{self._said()}"
            ) from None

    async def _wait_open(self) -> socket.socket:
        exited = self._process.exited
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self._connect()
            except OSError:
                await asyncio.wait((exited,), timeout=pause_s)
            if exited.done():
                raise CAExited(
                    f"Function instance exited unexpectedly({explain_exit(exited.result())}) "
                    f"with start command '{self.plan.start_command}'.\nLogs:{self._said()}"
                )
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _said(self) -> str:
        return self._early()[-SHOWN_OUTPUT_BYTES:].decode(errors="replace")

    async def _take_connection(self) -> socket.socket:
        first, self._first = self._first, None
        if first is not None:
            if is_quiet(first):
                return first
            first.close()  # the server did not wait for a request
        try:
            return await self._connect()
        except OSError as error:  # the server has gone, or closed its port
            raise NoAnswer from error

    # --- requests ---

    async def ask(
        self,
        kind: bytes,
        request_id: str,
        event: bytes | Payload = b"",
        *,
        timeout_s: int,
        http: HttpCall | None = None,
    ) -> Result:
        exchange = self._exchange(kind, request_id, event)
        try:
            # What a pre-freeze hook does changes nothing (runtime.md 8.5).
            spoils = kind != PRE_FREEZE
            return await self.forward(exchange, self.begin(timeout_s), spoils=spoils)
        except BadResponse as problem:
            if kind == INVOKE:
                raise
            return raised("BadResponse", problem.message)

    async def _exchange(self, kind: bytes, request_id: str, event: bytes | Payload) -> Result:
        """Make one request of ours, and say what came of it."""
        method, path = CALLS[kind]
        head = self.plan.request_head(request_id, path)
        if kind == INVOKE:
            head += b"content-type: application/octet-stream\r\n"
        head += self._host
        async with self.upstream.ask(method, path, (), Outgoing(event), head=head) as answer:
            if kind == INVOKE:
                return await self._judge_event(answer)
            return _judge_hook(path, answer)

    async def _judge_event(self, answer: Exchange) -> Result:
        """Of an event's answer the body counts."""
        try:
            content = await keep(answer.body, self._spool_folder, limit_bytes=ANSWER_BYTES)
        except EntityTooLarge:
            return raised(
                "ResponseTooLarge", f"The result is longer than {ANSWER_BYTES} bytes, the limit"
            )
        if failed(answer):
            return Raised(body=content, error_type="InvocationError")
        return Returned(body=content)

    def begin(self, timeout_s: int, expire: Callable[[], object] | None = None) -> Deadline:
        """Let the time of a request run, until its `end` or through `forward`.

        `expire` is called if it is over, unless `forward` has been called by then.
        """
        return self._deadlines.begin(timeout_s, expire)

    def end(self, deadline: Deadline) -> None:
        """A request has its response."""
        self._deadlines.end(deadline)

    def abandon(self, deadline: Deadline) -> None:
        """A request is under way, and nobody wants its response. Source: runtime.md 8.8."""
        self._deadlines.end(deadline)
        if self._alone and self.plan.health_check is None:
            self._spoiled = True

    async def forward(
        self, exchange: Coroutine[Any, Any, Result], deadline: Deadline, *, spoils: bool = True
    ) -> Result:
        """Let one request be exchanged with the server within its time, which has begun.

        One that takes too long `spoils` the instance, unless several may be under way and the
        port is still open. Raises BadResponse, and what the sender of the request's body did.
        """
        if deadline.expired:
            exchange.close()
            self._deadlines.end(deadline)
            return await self._end_late(deadline, spoils)
        task = asyncio.current_task()
        assert task is not None, "a request that may have to wait is made by a task"
        deadline.expire = task.cancel
        try:
            return await exchange
        except asyncio.CancelledError:
            if not deadline.expired or task.uncancel():
                self.abandon(deadline)
                raise
            return await self._end_late(deadline, spoils)
        except FunctionComputeError:  # its body ends too early, and the server may be at it
            self.abandon(deadline)
            raise
        except (NoAnswer, PeerLost, OSError):
            return await self._explain_loss()
        except UpstreamFailed as error:
            raise BadResponse(f"the function's server cannot be understood: {error}") from error
        finally:
            self._deadlines.end(deadline)

    async def _end_late(self, deadline: Deadline, spoils: bool) -> TimedOut:
        if spoils and (self._alone or not await self.still_answers()):
            self._spoiled = True
        return TimedOut(timeout_s=deadline.within_s)

    async def _explain_loss(self) -> Crashed:
        """Say what became of the process whose connection ended too early."""
        exited = self._process.exited
        await asyncio.wait((exited,), timeout=EXIT_WITHIN_S)
        if exited.done():
            return Crashed(status=exited.result())
        # One that lives on may have lost the child that listened.
        if not await self.still_answers():
            self._spoiled = True
        return Crashed(status=None)

    async def probe(self, check: HealthCheck) -> int:
        """Return the status that a probe is answered with; 0 if it is not."""
        self._drop_first()  # it is as old as the wait for the probe was long
        try:
            async with asyncio.timeout(check.timeout_s):
                path = check.path.encode()
                asked = self.upstream.ask(b"GET", path, (), Outgoing(b""), head=self._host)
                async with asked as answer:
                    return answer.status
        except (TimeoutError, UpstreamFailed, PeerLost, OSError):
            return 0

    async def outlives(self) -> bool:
        """Say whether the server is still there, after it has ended a connection.

        A process that ends closes one thing after the other, and its port perhaps last.
        """
        await asyncio.wait((self._process.exited,), timeout=CLOSING_S)
        return not self._process.exited.done() and await self.still_answers()

    async def still_answers(self) -> bool:
        """Say whether the server takes connections."""
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                (await self._connect()).close()
        except (OSError, TimeoutError):
            return False
        return True


def is_quiet(connection: socket.socket) -> bool:
    """Whether the other end has neither closed a connection nor sent anything."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _judge_hook(path: bytes, answer: Exchange) -> Result:
    """Of a hook's answer the status counts."""
    if 200 <= answer.status < 300:
        return Returned(body=b"")
    return raised(
        "InitializationError", f"the server answered {path.decode()} with status {answer.status}"
    )


def raised(kind: str, message: str) -> Raised:
    """Describe a failure as built-in runtimes do."""
    return Raised(body=msgspec.json.encode({"errorMessage": message, "errorType": kind}))


def failed(answer: Exchange) -> bool:
    """Whether the server wants the invocation counted as failed (runtime.md 4.3)."""
    return any(says_failed(name.lower(), value) for name, value in answer.headers)


def explain_exit(status: int) -> str:
    """Put an exit code into words: the text of the error with that number, be it one or not.

    Source: runtime.md 12.2.
    """
    code = status if status >= 0 else 128 - status
    text = os.strerror(code)
    return f"code {code}" if text.startswith("Unknown") else f"code {code}, message:{text.lower()}"
