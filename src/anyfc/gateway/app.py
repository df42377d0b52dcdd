"""Which door: an HTTP call, an invocation, or the control API."""

import logging
import time
from collections.abc import Callable

from anyfc.errors import AccessDenied, FunctionComputeError, InternalServerError
from anyfc.gateway.call import describe_refusal
from anyfc.gateway.door import TARGET_HEADER, Doors
from anyfc.gateway.http import HttpCalls
from anyfc.gateway.invoke import Invoke
from anyfc.gateway.older import VERSIONS, find_invoked, identify
from anyfc.gateway.problem import describe, new_request_id
from anyfc.identity.key import Caller
from anyfc.identity.signature import KeySource, verify
from anyfc.runtime.channel import ChannelClosed
from anyfc.web.message import PeerLost, Reply, Request, Response
from anyfc.web.upstream import HOP_BY_HOP, Upstream, UpstreamFailed

log = logging.getLogger("anyfc")

FUNCTIONS = b"/2023-03-30/functions/"
INVOCATIONS = b"/invocations"
CODE = b"/anyfc/code/"  # its addresses carry a signature of their own
REQUEST_ID = b"x-fc-request-id"
UNSIGNED_BODY = b"x-anyfc-unsigned-body"  # the signature that was verified does not cover it
OURS = (REQUEST_ID, UNSIGNED_BODY)  # what clients send under these names stays behind
READING = (b"GET", b"HEAD")


class Gateway:
    """Answers everything that arrives on the one port."""

    def __init__(
        self,
        invoke: Invoke,
        http_calls: HttpCalls,
        doors: Doors,
        control: Upstream,
        keys: KeySource,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._invoke = invoke
        self._http_calls = http_calls
        self._doors = doors
        self._control = control
        self._keys = keys
        self._now = now

    def refuse(self, problem: FunctionComputeError) -> Response:
        return describe(problem, new_request_id())

    async def handle(self, request: Request, reply: Reply) -> None:
        request_id = new_request_id()
        try:
            path = request.path
            fields = request.fields
            try:
                door = self._doors.find(
                    fields.get(b"host", b""), request.target, fields.get(TARGET_HEADER)
                )
            except FunctionComputeError as problem:  # an HTTP call that leads nowhere
                await reply.send(describe_refusal(problem, request_id, request, None))
                return
            if door is not None:
                await self._http_calls.handle(request, reply, request_id, door)
            elif (
                path.endswith(INVOCATIONS)
                and path.startswith(FUNCTIONS)
                and request.method == b"POST"
            ):
                self._identify(request)
                name = path[len(FUNCTIONS) : -len(INVOCATIONS)]
                await self._invoke.handle(request, reply, request_id, name)
            elif path.startswith(VERSIONS):
                await self._handle_older(request, reply, request_id)
            else:
                if not path.startswith(CODE):
                    self._authorise(self._identify(request), request)
                await self._forward(request, reply, request_id)
        except FunctionComputeError as problem:
            if reply.started:
                raise self._broken_off(request_id, problem) from problem
            await reply.send(describe(problem, request_id))
        except (PeerLost, ChannelClosed) as error:
            if reply.started:
                raise self._broken_off(request_id, error) from error
            raise
        except Exception as error:
            log.exception("request failed", extra={"request_id": request_id})
            if reply.started:
                raise PeerLost from error
            await reply.send(describe(InternalServerError(), request_id))

    async def _handle_older(self, request: Request, reply: Reply, request_id: str) -> None:
        """Answer a request to the API before 3.0."""
        signed = identify(request, keys=self._keys, now=self._now())
        invoked = find_invoked(request)
        if invoked is not None:
            await self._invoke.handle_older(
                request, reply, request_id, invoked, body_signed=signed.with_body
            )
        else:
            self._authorise(signed.caller, request)
            await self._forward(request, reply, request_id, body_signed=signed.with_body)

    def _broken_off(self, request_id: str, error: Exception) -> PeerLost:
        """Say that an answer has begun and will not end; its caller sees the connection end."""
        why = str(error) or type(error).__name__
        log.warning("answer broken off", extra={"request_id": request_id, "why": why})
        return PeerLost()

    def _identify(self, request: Request) -> Caller:
        return verify(
            request.method, request.target, request.headers, keys=self._keys, now=self._now()
        )

    def _authorise(self, caller: Caller, request: Request) -> None:
        """A function's role may invoke and look, and change nothing."""
        if caller.role is not None and request.method not in READING:
            raise AccessDenied(f"role '{caller.role}' may only invoke functions and read")

    async def _forward(
        self, request: Request, reply: Reply, request_id: str, *, body_signed: bool = True
    ) -> None:
        headers = [header for header in request.headers if header[0] not in OURS]
        headers.append((REQUEST_ID, request_id.encode()))
        if not body_signed:
            headers.append((UNSIGNED_BODY, b"true"))
        try:
            async with self._control.ask(
                request.method, request.target, headers, request.body
            ) as exchange:
                passed_on = [
                    (name, value)
                    for name, value in exchange.headers
                    if name.lower() not in HOP_BY_HOP and name.lower() not in (b"date", b"server")
                ]
                # What answers HEAD has no body, but the length of one.
                whole = exchange.body.read_nowait() if request.method != b"HEAD" else None
                await reply.send(
                    Response(
                        status=exchange.status,
                        headers=passed_on,
                        body=exchange.body if whole is None else whole,
                        length_bytes=exchange.body.declared_bytes,
                    )
                )
        except UpstreamFailed as error:
            log.error("control API failed", extra={"request_id": request_id, "why": str(error)})
            raise InternalServerError from error
