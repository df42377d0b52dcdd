"""Which door: an HTTP call, an invocation, or the control API."""

import logging
import time
from collections.abc import Callable
from typing import Final

from anyfc.errors import AccessDenied, FunctionComputeError, InternalServerError
from anyfc.gateway.door import TARGET_HEADER, Doors
from anyfc.gateway.guard import Guard
from anyfc.gateway.http import HttpCalls
from anyfc.gateway.invoke import Invoke
from anyfc.gateway.older import VERSIONS, find_invoked, identify
from anyfc.gateway.problem import describe, new_request_id
from anyfc.identity.key import Caller
from anyfc.identity.signature import KeySource, verify
from anyfc.model import address
from anyfc.web.message import Reply, Request, Response, Rest
from anyfc.web.upstream import HOP_BY_HOP, Upstream, UpstreamFailed

log = logging.getLogger("anyfc")

FUNCTIONS: Final = f"/{address.API_VERSION}/functions/".encode()
INVOCATIONS: Final = b"/invocations"
CODE: Final = address.CODE.encode()
REQUEST_ID: Final = b"x-fc-request-id"
UNSIGNED_BODY: Final = address.UNSIGNED_BODY.encode()
# What clients send under our names stays behind, and what is about their connection.
WITHHELD: Final = HOP_BY_HOP | {REQUEST_ID, UNSIGNED_BODY}
READING: Final = (b"GET", b"HEAD")


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

    def handle(self, request: Request, reply: Reply) -> Rest | None:
        """Answer a request; see `web.connection.Application`."""
        guard = Guard(request, reply, new_request_id())
        try:
            rest = self._begin(request, reply, guard)
        except FunctionComputeError as problem:
            return reply.send(guard.explain(problem))
        except Exception as error:
            return reply.send(guard.explain_bug(error))
        return guard.watch(rest) if rest is not None else None

    def _begin(self, request: Request, reply: Reply, guard: Guard) -> Rest | None:
        """Open the door that a request knocks at."""
        path = request.path
        fields = request.fields
        guard.by_http = True  # so is one that leads nowhere
        door = self._doors.find(fields.get(b"host", b""), request.target, fields.get(TARGET_HEADER))
        if door is not None:
            guard.door = door
            return self._http_calls.handle(request, reply, door, guard)
        guard.by_http = False
        if path.endswith(INVOCATIONS) and path.startswith(FUNCTIONS) and request.method == b"POST":
            self._identify(request)
            name = path[len(FUNCTIONS) : -len(INVOCATIONS)]
            return self._invoke.handle(request, reply, guard, name)
        if path.startswith(VERSIONS):
            return self._begin_older(request, reply, guard)
        if not path.startswith(CODE):
            self._authorise(self._identify(request), request)
        return self._forward(request, reply, guard.request_id)

    def _begin_older(self, request: Request, reply: Reply, guard: Guard) -> Rest | None:
        """Answer a request to the API before 3.0."""
        signed = identify(request, keys=self._keys, now=self._now())
        invoked = find_invoked(request)
        if invoked is not None:
            return self._invoke.handle_older(
                request, reply, guard, invoked, body_signed=signed.with_body
            )
        self._authorise(signed.caller, request)
        return self._forward(request, reply, guard.request_id, body_signed=signed.with_body)

    def _identify(self, request: Request) -> Caller:
        return verify(
            request.method,
            request.target,
            request.headers,
            fields=request.fields,
            keys=self._keys,
            now=self._now(),
        )

    def _authorise(self, caller: Caller, request: Request) -> None:
        """A function's role may invoke and look, and change nothing."""
        if caller.role is not None and request.method not in READING:
            raise AccessDenied(f"role '{caller.role}' may only invoke functions and read")

    async def _forward(
        self, request: Request, reply: Reply, request_id: str, *, body_signed: bool = True
    ) -> None:
        headers = [header for header in request.headers if header[0] not in WITHHELD]
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
