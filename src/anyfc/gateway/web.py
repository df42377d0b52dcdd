"""Web calls: the client's request goes to the function's own server as it is, and its answer back.

Source: runtime.md 4.2 to 4.4 (pass-through, streaming, WebSocket), 12.3 (what is seen of failures).
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, assert_never

from anyfc.errors import BadResponse, EntityTooLarge, FunctionComputeError, FunctionTimeout
from anyfc.gateway.call import Call
from anyfc.gateway.headers import (
    check_default_domain,
    forwarded_request_headers,
    returned_response_headers,
)
from anyfc.gateway.run import FunctionCall
from anyfc.instance.lifecycle import UNHANDLED, Instance, Running
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Raised,
    Result,
    Returned,
    TimedOut,
)
from anyfc.model.report import Report
from anyfc.runtime.custom import Custom
from anyfc.runtime.deadlines import Deadline
from anyfc.web.message import Header, PeerLost, Reply, Response, Rest, Source
from anyfc.web.spool import Kept, keep
from anyfc.web.tunnel import join
from anyfc.web.upstream import Asking, Exchange, Hints, NoAnswer

MIB: Final = 1024 * 1024
# An answer that is held until its log is complete.
HELD_BYTES: Final = 32 * MIB
RETURNED: Final = Returned(body=b"")
# What a server says of itself with `x-fc-status: 404`: for the records, the client sees its answer.
REPORTED: Final = Raised(body=b"", error_type="InvocationError")
JSON: Final[tuple[Header, ...]] = ((b"Content-Type", b"application/json"),)


class PassedHints(Hints):
    """What comes before an answer goes to the client, as proxies have to (RFC 9110, 15.2)."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def take(self, status: int, headers: Sequence[Header]) -> None:
        with suppress(BadResponse):  # no answer fails because a hint is too large
            passed, _ = returned_response_headers(headers)
            self._reply.inform(Response(status=status, headers=passed))


class WebCall(FunctionCall):
    """One web call on its way.

    Where an instance is free, a connection to its server idle, and the answer there in one go,
    nothing is waited for.
    """

    __slots__ = (
        "_asking", "_body", "_call", "_deadline", "_held", "_problem", "_resumed", "_running",
        "_server", "_spool_folder",
    )  # fmt: skip

    def __init__(self, call: Call, body: Source, spool_folder: Path) -> None:
        super().__init__(call.reply, call.guard, call.runnable)
        self._call = call
        self._body = body
        self._spool_folder = spool_folder
        self._asking: Asking | None = None  # with it come these three
        self._server: Custom
        self._running: Running
        self._deadline: Deadline
        self._resumed = False
        self._held: Response | None = None
        self._problem: FunctionComputeError | None = None  # why the answer cannot be passed on

    # --- without waiting ---

    def begin(self) -> Rest | None:
        """Take the call as far as it goes; see `web.connection.Application.handle`."""
        instance = self._lease.take_nowait() if self._call.request.body.complete else None
        if instance is None:
            return self.run()
        try:
            begun = self._ask(instance).begin(self._hear)
        except BaseException:
            self._lease.end()
            raise
        self._reply.entrust(self)
        if not begun:
            self._resume(self.run())
        return None

    def _ask(self, instance: Instance) -> Asking:
        """Let the call's time run, and make out the request to the instance's server."""
        call = self._call
        request = call.request
        request_id = self._guard.request_id
        server = self._server = instance.server
        self._running = instance.begin(request_id, want_log_tail=call.want_log_tail)
        headers = forwarded_request_headers(
            call.headers, peer=request.peer, scheme=b"https" if request.secure else b"http"
        )
        if b"host" not in request.fields:  # an old client's; HTTP/1.1 wants one
            headers.append((b"host", b"127.0.0.1:%d" % server.plan.port))
        path = request.path
        if call.target is not request.target:
            path = call.target.partition(b"?")[0]
        asking = self._asking = server.upstream.ask(
            request.method,
            call.target,
            headers,
            self._body,
            head=server.plan.web_head(request_id, path),
            upgrade=request.upgrade,
        )
        asking.hints = PassedHints(self._reply)
        self._deadline = server.begin(self._runnable.timeout_s, self._expire)
        return asking

    def _pass_on(self) -> None:
        call = self._call
        asking = self._asking
        assert asking is not None
        exchange = asking.exchange
        assert exchange is not None
        if not exchange.body.complete or call.want_log_tail or call.request.method == b"HEAD":
            self._resume(self.run())
            return
        try:
            headers, failed = self._read_head(exchange)
        except FunctionComputeError:
            self._resume(self.run())
            return
        whole = exchange.body.read_nowait()
        assert whole is not None
        response = Response(status=exchange.status, headers=headers, body=whole)
        self._server.end(self._deadline)
        asking.end()
        report = self._running.end(REPORTED if failed else RETURNED)
        self._lease.end()
        self._record(report)
        self._reply.send_now(call.complete(response))

    def _resume(self, rest: Rest) -> None:
        self._resumed = True
        super()._resume(rest)

    def _expire(self) -> None:
        """The time is over, and no task waits that could be told."""
        assert self._asking is not None
        self._asking.break_off()
        if not self._resumed:
            self._resume(self.run())

    def abandon(self) -> None:
        """The caller has gone, and no task waits that could be cancelled."""
        assert self._asking is not None
        self._asking.break_off()
        self._server.abandon(self._deadline)
        self._running.abandon()
        self._lease.end()

    # --- with a task that waits ---

    async def _work(self, instance: Instance) -> Report:
        """Exchange the call with the instance's server; what comes back is sent meanwhile."""
        if self._asking is None:
            self._ask(instance)
        forwarding = self._server.forward(self._exchange(), self._deadline)
        result = await self._running.watch(forwarding)
        failure = self._problem.message if self._problem is not None else UNHANDLED
        return self._running.end(result, failure=failure)

    async def _answer(self, report: Report) -> None:
        """Answer what has not been answered meanwhile.

        Raises BadResponse, FunctionTimeout, and PeerLost if an answer that has begun lacks its end.
        """
        call = self._call
        if self._problem is not None:
            raise self._problem
        match report.result:
            case TimedOut() | Crashed() if self._reply.started:
                raise PeerLost
            case TimedOut() as late:
                raise FunctionTimeout(late.reason)
            case Crashed() as crash:
                await self._explain(report.explain(crash), report)
            case InitializationFailed(body=body):
                await self._explain(body, report)
            case Returned() | Raised():
                if self._held is not None:
                    await self._reply.send(call.complete(self._held, report))
            case _:
                assert_never(report.result)

    async def _explain(self, body: bytes, report: Report) -> None:
        response = Response(status=502, headers=JSON, body=body)
        await self._reply.send(self._call.complete(response, report))

    async def _exchange(self) -> Result:
        assert self._asking is not None
        async with self._asking as exchange:
            try:
                headers, failed = self._read_head(exchange)
            except FunctionComputeError as problem:
                self._problem = problem
                return REPORTED
            await self._pass_back(exchange, headers)
        if exchange.status == 101 and not await self._server.outlives():
            raise NoAnswer  # how a tunnel ended, nobody has seen
        return REPORTED if failed else RETURNED

    def _read_head(self, exchange: Exchange) -> tuple[list[Header], bool]:
        """Return what `returned_response_headers` does. Raises what keeps it from being sent."""
        attachment = self._call.attachment
        returned = returned_response_headers(exchange.headers, attachment=attachment)
        if attachment:
            check_default_domain(exchange.status, exchange.headers)
        return returned

    async def _pass_back(self, exchange: Exchange, headers: Sequence[Header]) -> None:
        call = self._call
        response = Response(status=exchange.status, headers=headers)
        if exchange.status == 101:
            assert call.request.upgrade is not None
            client = await self._reply.upgrade(call.request.upgrade, call.complete(response))
            await join(client, exchange.tunnel())
            return
        # What answers HEAD has no body, but the length of one.
        head_only = call.request.method == b"HEAD"
        response.length_bytes = exchange.body.declared_bytes
        if call.want_log_tail and not head_only:
            await self._hold(exchange, response)
            return
        whole = exchange.body.read_nowait() if not head_only else None
        response.body = exchange.body if whole is None else whole
        if call.want_log_tail:
            self._held = response
        else:
            await self._reply.send(call.complete(response))

    async def _hold(self, exchange: Exchange, response: Response) -> None:
        """Keep an answer back until its request has ended: the log goes in front of it."""
        try:
            content = await keep(exchange.body, self._spool_folder, limit_bytes=HELD_BYTES)
        except EntityTooLarge:
            self._problem = BadResponse(
                f"an answer of more than {HELD_BYTES} bytes cannot come with its log: leave out "
                "X-Fc-Log-Type"
            )
            return
        response.body = content
        if isinstance(content, Kept):
            response.length_bytes = content.size_bytes
        self._held = response
