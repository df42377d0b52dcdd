"""An instance that does what a test says, with the scheduler in front of it and a server inside."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from calls import Sent, make_body
from clock import settle

from anyfc.gateway.runnable import Runnable
from anyfc.instance.lifecycle import Instance, State
from anyfc.model.function import Function
from anyfc.model.invocation import (
    HttpCall,
    InitializationFailed,
    Invocation,
    Payload,
    Result,
    Returned,
)
from anyfc.model.report import Report
from anyfc.model.version import VersionId
from anyfc.runtime.custom import Custom, ServerPlan
from anyfc.runtime.frame import INVOKE, WSGI
from anyfc.scheduler.lease import Lease
from anyfc.scheduler.pool import Pool
from anyfc.web.message import Body, Header, Rest, Sink, Source

REGION = b"x-fc-region: r\r\n"


async def finish(rest: Rest | None, reply: Sent) -> None:
    """Wait for what is left of a request, as a connection does."""
    if rest is None:
        await settle()
        rest = reply.rest
    if rest is not None:
        await rest


# --- a function's own server ---------------------------------------------------------------------


@dataclass
class Asked:
    """One request that a server got."""

    method: bytes
    target: bytes
    headers: list[Header]
    head: bytes
    upgrade: bytes | None
    body: bytes = b""


class Gathered(Sink):
    """Takes a body in as a server does."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, piece: bytes) -> None:
        self.asked.body += piece

    def take_end(self) -> None:
        self.done.set_result(None)

    def take_failure(self, failure: Exception) -> None:
        self.done.set_exception(failure)


@dataclass
class Server:
    """The server of a function: an Upstream and the one Exchange with it."""

    status: int = 200
    headers: Sequence[Header] = ()
    body: Body = field(default_factory=lambda: make_body(b"served"))
    end: Any = None  # of its tunnel
    asked: list[Asked] = field(default_factory=list)
    begun: Callable[[], Any] = lambda: None  # called when the head of a request is there
    fails: Exception | None = None
    silent: bool = False  # it does not answer
    idle: bool = False  # a connection to it is
    listens: bool = True  # it takes new connections

    def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: Source,
        *,
        head: bytes,
        upgrade: bytes | None = None,
    ) -> "Asking":
        return Asking(self, Asked(method, target, list(headers), head, upgrade), body)

    def tunnel(self) -> Any:
        return self.end


class Asking:
    """One request to a server; see `web.upstream.Asking`."""

    def __init__(self, server: Server, asked: Asked, body: Source) -> None:
        self.exchange: Server | None = None
        self._server = server
        self._asked = asked
        self._body = body
        self._whole = body.read_nowait()

    def begin(self, listener: Callable[[], None]) -> bool:
        if not self._server.idle:
            return False
        self._send()
        if not self._server.silent:
            asyncio.get_running_loop().call_soon(listener)
        return True

    def end(self) -> None:
        """Nothing: there is the one exchange."""

    def break_off(self) -> None:
        """Nothing: there is the one exchange."""

    def _send(self) -> Gathered | None:
        self.exchange = self._server
        self._server.asked.append(self._asked)
        self._server.begun()
        if self._whole is not None:
            self._asked.body = self._whole
            return None
        sink = Gathered(self._asked)
        self._body.pour(sink)
        return sink

    async def __aenter__(self) -> Server:
        server = self._server
        if self.exchange is None and (sink := self._send()) is not None:
            await sink.done
        if server.silent:
            await asyncio.Event().wait()
        if server.fails is not None:
            raise server.fails
        return server

    async def __aexit__(self, *_: object) -> None:
        self.end()


# --- its instance --------------------------------------------------------------------------------


class Process:
    """What is seen of a process that runs."""

    def __init__(self) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.signals: list[int] = []
        self.thaws = True  # what was frozen

    def thaw(self) -> None:
        if not self.thaws:
            raise OSError("no such control group")

    def peak_memory_mib(self) -> float:
        return 9.5

    def signal(self, number: int) -> None:
        self.signals.append(number)


def make_custom(process: Any, server: Any = None, *, concurrency: int = 1) -> Custom:
    """The dialogue with a server whose port is open; who talks to it needs an upstream."""
    plan = ServerPlan(port=9000, start_command="serve", head=REGION, concurrency=concurrency)

    async def connect() -> Any:
        if server is not None and not server.listens:
            raise ConnectionRefusedError
        return SimpleNamespace(close=lambda: None)

    return Custom(
        process, plan, connect, host="h", start_s=5, early=lambda: b"", spool_folder=Path()
    )


class OneInstance:
    """A scheduler with one instance, which gives one result."""

    def __init__(
        self, result: Result | None = None, server: Server | None = None, *, free: bool = False
    ) -> None:
        self.result = result
        self.free = free  # it can be had without waiting
        self.refuses: Exception | None = None  # instead of a lease
        self.leased: list[Any] = []
        self.leases = 0
        self.invocations: list[Invocation] = []
        self.payload = b""
        self.forwarded: list[tuple[str, bool]] = []
        self.reports: list[Report] = []
        self.failures: list[str] = []  # as the log calls them
        self._server = server or Server()
        self._custom: Custom | None = None

    def lease(self, function: Any, version: Any) -> Any:
        return OneLease(self, function)

    async def run(self, invocation: Invocation) -> Report:
        self.invocations.append(invocation)
        event = invocation.payload
        self.payload = event if isinstance(event, bytes) else b"".join(event.pieces())
        return make_report(self.result or Returned(body=b"out"), want_log=invocation.want_log_tail)

    def begin(self, request_id: str, *, want_log_tail: bool = False) -> "OneRunning":
        self.forwarded.append((request_id, want_log_tail))
        return OneRunning(self, want_log_tail)

    @property
    def builtin(self) -> "OneBuiltin":
        return OneBuiltin(self)

    @property
    def asked(self) -> list[Asked]:
        """What its server was asked."""
        return self._server.asked

    @property
    def server(self) -> Custom:
        if self._custom is None:
            custom: Any = make_custom(Process(), self._server)
            custom.upstream = self._server
            self._custom = custom
        assert self._custom is not None
        return self._custom


class OneBuiltin:
    """The dialogue with the instance, if it is one of a built-in runtime."""

    def __init__(self, instance: OneInstance) -> None:
        self._instance = instance

    async def ask(
        self,
        kind: bytes,
        request_id: str,
        event: bytes | Payload,
        *,
        timeout_s: int,
        http: HttpCall | None,
    ) -> Result:
        assert kind == (INVOKE if http is None else WSGI)
        invocation = Invocation(request_id=request_id, payload=event, http=http)
        return (await self._instance.run(invocation)).result

    def send(
        self,
        kind: bytes,
        request_id: str,
        event: bytes,
        *,
        timeout_s: int,
        listener: Callable[[], None],
    ) -> None:
        self._instance.payload = event
        asyncio.get_running_loop().call_soon(listener)

    def take(self) -> Result:
        return self._instance.result or Returned(body=b"out")

    def peak_memory_mib(self) -> float:
        return 9.5


class OneLease:
    """The right to the instance; see `scheduler.lease.Lease`."""

    def __init__(self, instance: OneInstance, function: Any) -> None:
        self.function = function
        self._instance = instance
        self._taken = False

    def _take(self) -> None:
        self._taken = True
        self._instance.leased.append(self.function)
        self._instance.leases += 1

    def take_nowait(self) -> OneInstance | None:
        if not self._instance.free:
            return None
        self._take()
        return self._instance

    def end(self) -> None:
        if self._taken:
            self._taken = False
            self._instance.leases -= 1

    async def __aenter__(self) -> OneInstance | InitializationFailed:
        if self._instance.refuses is not None:
            raise self._instance.refuses
        if not self._taken:
            self._take()
        result = self._instance.result
        return result if isinstance(result, InitializationFailed) else self._instance

    async def __aexit__(self, *_: object) -> None:
        self.end()


class OneRunning:
    """One request in the instance; see `instance.lifecycle.Running`."""

    def __init__(self, instance: OneInstance, want_log_tail: bool) -> None:
        self._instance = instance
        self._want_log_tail = want_log_tail

    async def watch(self, work: Awaitable[Result]) -> Result:
        return await work

    def end(self, result: Result, *, peak_memory_mib: float = 0.0, failure: str = "") -> Report:
        """What comes of the request counts, unless the test has chosen a result."""
        self._instance.failures.append(failure)
        report = make_report(self._instance.result or result, want_log=self._want_log_tail)
        self._instance.reports.append(report)
        return report


def make_report(result: Result, *, want_log: bool = False, **settings: Any) -> Report:
    usual: dict[str, Any] = {
        "duration_ms": 1.234,
        "peak_memory_mib": 9.5,
        "instance_id": "c-1",
        "cold": False,
        "log_tail": b"log" if want_log else b"",
    }
    return Report(result=result, **(usual | settings))


# --- an instance that is real --------------------------------------------------------------------


class Log:
    """The log of an instance: which requests begin and end in it, and how."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, request_id: bytes, line: bytes, keep_tail: bool) -> None:
        self.lines.append(line.decode())

    def end(self, request_id: bytes, line: bytes) -> None:
        self.lines.append(line.decode())

    def take_tail(self, line: str) -> bytes:
        return b"log"


class Ready:
    """An instance in its pool, with a dialogue that is the test's; real but for process and log."""

    def __init__(
        self, function: Function, version: VersionId, make_dialogue: Callable[[Process], Any]
    ) -> None:
        self.function = function
        self.process: Any = Process()
        self.dialogue = make_dialogue(self.process)
        self.log: Any = Log()
        spec: Any = SimpleNamespace(id="c-1", function=function)
        self.instance = Instance(spec, self.process, self.dialogue, self.log)
        self.instance.move(State.READY)
        self._pool = Pool(
            function,
            version,
            grow=lambda pool: None,
            idled=lambda: None,
            saturated=lambda pool: True,
            max_waiting=1,
            wait_s=60.0,
        )
        self._member = self._pool.add(self.instance)

    def runnable(self) -> Runnable:
        return Runnable(self.function, self._pool.version, self)  # type: ignore[arg-type]

    def lease(self, function: Function, version: VersionId) -> Lease:
        return Lease(self, function, version)  # type: ignore[arg-type]  # it is a small scheduler

    def pool_of(self, function: Function, version: VersionId) -> Pool:
        return self._pool

    @property
    def idle(self) -> bool:
        """Nobody has it, and it may be had."""
        return self._member in self._pool.idle

    @property
    def retired(self) -> bool:
        """Nobody will have it any more."""
        return self._member.retired.done()

    @property
    def in_use(self) -> int:
        return self._member.in_use
