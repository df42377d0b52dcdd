"""Web calls: the client's request goes to the function's own server as it is, and its answer back.

Source: runtime.md 4.2 to 4.4 (pass-through, streaming, WebSocket), 12.3 (what is seen of failures).
"""

from collections.abc import Sequence
from pathlib import Path

from anyfc.errors import BadResponse, EntityTooLarge, FunctionComputeError, FunctionTimeout
from anyfc.gateway.call import Call
from anyfc.gateway.headers import (
    check_default_domain,
    forwarded_request_headers,
    returned_response_headers,
)
from anyfc.gateway.invoke import explain_crash
from anyfc.instance.lifecycle import Instance
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Raised,
    Report,
    Result,
    Returned,
    TimedOut,
)
from anyfc.runtime.custom import TUNNELLED
from anyfc.web.message import Header, PeerLost, Response, Source
from anyfc.web.spool import Kept, keep
from anyfc.web.tunnel import join
from anyfc.web.upstream import Exchange, Upstream

MIB = 1024 * 1024
# An answer that is held until its log is complete.
HELD_BYTES = 32 * MIB
RETURNED = Returned(body=b"")
# What a server says of itself with `x-fc-status: 404`: for the records, the client sees its answer.
REPORTED = Raised(body=b"", error_type="InvocationError")
JSON: tuple[Header, ...] = ((b"Content-Type", b"application/json"),)


class WebCall:
    """One web call on its way."""

    __slots__ = ("_body", "_call", "_held", "_problem", "_spool_folder")

    def __init__(self, call: Call, body: Source, spool_folder: Path) -> None:
        self._call = call
        self._body = body
        self._spool_folder = spool_folder
        self._held: Response | None = None
        self._problem: FunctionComputeError | None = None  # why the answer cannot be passed on

    async def run(self, instance: Instance) -> Report:
        """Exchange the call with the instance's server; what comes back is sent meanwhile."""
        call = self._call
        return await instance.forward(
            call.request_id, self._exchange, want_log_tail=call.want_log_tail
        )

    async def answer(self, report: Report) -> None:
        """Answer what has not been answered meanwhile.

        Raises BadResponse, FunctionTimeout, and PeerLost if an answer that has begun lacks its end.
        """
        call = self._call
        if self._problem is not None:
            raise self._problem
        match report.result:
            case TimedOut() | Crashed() if call.reply.started:
                raise PeerLost
            case TimedOut(timeout_s=timeout_s):
                raise FunctionTimeout(timeout_s)
            case Crashed():
                await self._explain(explain_crash(report))
            case InitializationFailed(body=body):
                await self._explain(body)
            case _ if self._held is not None:
                await call.reply.send(call.complete(self._held, report))

    async def _explain(self, body: bytes) -> None:
        response = Response(status=502, headers=JSON, body=body)
        await self._call.reply.send(self._call.complete(response))

    async def _exchange(self, upstream: Upstream, head: bytes) -> Result:
        call = self._call
        request = call.request
        headers = forwarded_request_headers(
            call.headers, peer=request.peer, scheme=b"https" if request.secure else b"http"
        )
        asking = upstream.ask(
            request.method,
            call.target,
            headers,
            self._body,
            head=b"%bx-fc-base-path: %b\r\n" % (head, request.path),
            upgrade=request.upgrade,
        )
        async with asking as exchange:
            try:
                returned = returned_response_headers(exchange.headers, attachment=call.attachment)
                if call.attachment:
                    check_default_domain(exchange.status, exchange.headers)
            except FunctionComputeError as problem:
                self._problem = problem
                return REPORTED
            await self._pass_back(exchange, returned.headers)
        if exchange.status == 101:
            return TUNNELLED
        return REPORTED if returned.failed else RETURNED

    async def _pass_back(self, exchange: Exchange, headers: Sequence[Header]) -> None:
        call = self._call
        response = Response(status=exchange.status, headers=headers)
        if exchange.status == 101:
            assert call.request.upgrade is not None
            client = await call.reply.upgrade(call.request.upgrade, call.complete(response))
            await join(client, exchange.tunnel())
        elif call.want_log_tail:
            await self._hold(exchange, response)
        else:
            # What answers HEAD has no body, but the length of one.
            whole = exchange.body.read_nowait() if call.request.method != b"HEAD" else None
            response.body = exchange.body if whole is None else whole
            response.length_bytes = exchange.body.declared_bytes
            await call.reply.send(call.complete(response))

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
