"""An instance that does what a test says, with the scheduler in front of it and a server inside."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from calls import make_body

from anyfc.model.invocation import InitializationFailed, Invocation, Report, Result, Returned
from anyfc.web.message import Body, Header, Sink, Source

HEAD = b"x-fc-request-id: of-the-instance\r\n"


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

    @asynccontextmanager
    async def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: Source,
        *,
        head: bytes,
        upgrade: bytes | None = None,
    ) -> AsyncIterator[Any]:
        asked = Asked(method, target, list(headers), head, upgrade)
        self.asked.append(asked)
        self.begun()
        if self.fails is not None:
            raise self.fails
        sink = Gathered(asked)
        whole = body.read_nowait()
        if whole is None:
            body.pour(sink)
            await sink.done
        else:
            asked.body = whole
        yield self

    def tunnel(self) -> Any:
        return self.end


class OneInstance:
    """A scheduler with one instance, which gives one result."""

    def __init__(self, result: Result | None = None, server: Server | None = None) -> None:
        self.result = result
        self.server = server or Server()
        self.refuses: Exception | None = None  # instead of a lease
        self.leased: list[Any] = []
        self.leases = 0
        self.invocations: list[Invocation] = []
        self.payload = b""
        self.forwarded: list[tuple[str, bool]] = []

    @asynccontextmanager
    async def lease(self, function: Any, version: Any) -> AsyncIterator[Any]:
        if self.refuses is not None:
            raise self.refuses
        self.leased.append(function)
        self.leases += 1
        try:
            yield self.result if isinstance(self.result, InitializationFailed) else self
        finally:
            self.leases -= 1

    async def run(self, invocation: Invocation) -> Report:
        self.invocations.append(invocation)
        event = invocation.payload
        self.payload = event if isinstance(event, bytes) else b"".join(event.pieces())
        return make_report(self.result or Returned(body=b"out"), want_log=invocation.want_log_tail)

    async def forward(self, request_id: str, exchange: Any, *, want_log_tail: bool) -> Report:
        """What comes of the exchange counts, unless the test has chosen a result."""
        self.forwarded.append((request_id, want_log_tail))
        result = await exchange(self.server, HEAD)
        return make_report(self.result or result, want_log=want_log_tail)


def make_report(result: Result, *, want_log: bool = False, **settings: Any) -> Report:
    usual: dict[str, Any] = {
        "duration_ms": 1.234,
        "peak_memory_mib": 9.5,
        "instance_id": "c-1",
        "cold": False,
        "log_tail": b"log" if want_log else b"",
    }
    return Report(result=result, **(usual | settings))
