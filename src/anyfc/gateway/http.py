"""HTTP calls: through a trigger's address or a custom domain, to a function of any runtime.

What kind of call a function gets is decided by its runtime and by how it was made, never by what
its handler looks like: an event, a WSGI call, or the request itself (`web.py`).

Source: runtime.md 0.4, 3, 12.3 and 15; "HTTP triggers" in the Function Compute documentation.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from anyfc.errors import EntityTooLarge, FunctionComputeError, InvalidArgument, NotSupported
from anyfc.gateway.call import Call
from anyfc.gateway.cors import answer_preflight, is_preflight
from anyfc.gateway.door import Door, check_knock, check_method, host_name
from anyfc.gateway.event import FAILED, BadResult, build_event, read_result
from anyfc.gateway.guard import Guard
from anyfc.gateway.headers import ATTACHMENT, check_default_domain
from anyfc.gateway.options import NO_ASYNC, is_async, read_log_type
from anyfc.gateway.run import FunctionCall
from anyfc.gateway.runnable import Runnables
from anyfc.gateway.web import WebCall
from anyfc.gateway.wsgi import build_http_call, read_answer
from anyfc.identity.claims import FORM_BYTES, Parts, check_form, needs_form, show
from anyfc.identity.signature import KeySource, check_body
from anyfc.identity.trigger import EVERYBODY, Granted, authorise
from anyfc.instance.lifecycle import UNHANDLED, Instance
from anyfc.model.access import Jwt
from anyfc.model.invocation import (
    Crashed,
    Invocation,
    Payload,
    Raised,
    Result,
    Returned,
    Stream,
    read_whole,
)
from anyfc.model.report import Report, explain
from anyfc.runtime.builtin import Builtin
from anyfc.runtime.channel import ChannelClosed
from anyfc.runtime.frame import INVOKE, WSGI, BadFrame
from anyfc.web.message import Reply, Request, Response, Rest, Source
from anyfc.web.outgoing import Outgoing
from anyfc.web.spool import collect

HTTPS_PORT: Final = 443


class HttpCalls:
    """Answers HTTP calls to functions."""

    def __init__(
        self,
        runnables: Runnables,
        keys: KeySource,
        *,
        account_id: str,
        spool_folder: Path,
        body_bytes: int,
        strict: bool,
        https_port: Callable[[], int],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._runnables = runnables
        self._keys = keys
        self._account_id = account_id
        self._spool_folder = spool_folder
        self._body_bytes = body_bytes
        self._strict = strict
        self._https_port = https_port
        self._now = now

    def handle(self, request: Request, reply: Reply, door: Door, guard: Guard) -> Rest | None:
        """Answer one call. Raises what its caller is told, which `guard` puts into words."""
        guard.attachment = self._strict and door.attachment
        check_knock(door, request.peer)
        if door.https_only and not request.secure:
            return reply.send(self._redirect(request, guard.request_id))
        if is_preflight(request.method, request.fields):
            preflight = answer_preflight(door.cors, request.fields, door.methods)
            if preflight is not None:
                preflight.head = b"X-Fc-Request-Id: %b\r\n" % guard.request_id.encode()
                if guard.attachment:
                    preflight.headers = [*preflight.headers, ATTACHMENT]
                return reply.send(preflight)
        else:
            check_method(door, request.method.decode("latin-1"))
        return self._admit(request, reply, door, guard)

    def _redirect(self, request: Request, request_id: str) -> Response:
        """Send a client to HTTPS. Source: "Configure custom domain names"; 301 was observed."""
        port = self._https_port()
        host = host_name(request.fields.get(b"host", b"")).encode()
        place = host if port == HTTPS_PORT else b"%b:%d" % (host, port)
        return Response(
            status=301,
            head=b"X-Fc-Request-Id: %b\r\n" % request_id.encode(),
            headers=((b"Location", b"https://" + place + request.target),),
        )

    def _admit(self, request: Request, reply: Reply, door: Door, guard: Guard) -> Rest | None:
        """See whether a call may pass, and let it."""
        runnable = self._runnables.resolve(door.function, door.qualifier)
        if is_async(request.fields.get(b"x-fc-invocation-type")):
            raise NotSupported(NO_ASYNC)
        want_log_tail = read_log_type(request.fields.get(b"x-fc-log-type"))
        request.body.set_limit(self._body_bytes)
        call = Call(
            request=request,
            reply=reply,
            guard=guard,
            door=door,
            runnable=runnable,
            want_log_tail=want_log_tail and runnable.concurrency == 1,
            attachment=guard.attachment,
        )
        if runnable.custom and door.anonymous:
            return self._pass_through(call, request.body).begin()
        if isinstance(door.access, Jwt) and needs_form(door.access, request.headers):
            return self._take_form(call)
        granted = self._authorise(call)
        if not runnable.custom or granted.content_sha256:
            return self._take_whole(call, granted)
        if granted.shown:
            _show(call, granted, None)
        return self._pass_through(call, request.body).begin()

    async def _take_whole(self, call: Call, granted: Granted) -> None:
        """Let a call pass whose body must be whole first."""
        async with collect(call.request.body, self._spool_folder) as (body, digest):
            if granted.content_sha256:
                check_body(granted.content_sha256, digest)
            await self._go_on(call, granted, body, None)

    async def _take_form(self, call: Call) -> None:
        """Let a call pass whose body is a form that is looked into before it is let in."""
        limit_bytes = min(FORM_BYTES, self._body_bytes)
        try:
            call.request.body.set_limit(limit_bytes)
            async with collect(call.request.body, self._spool_folder) as (body, _):
                form = body if isinstance(body, bytes) else b"".join(body.pieces())
        except EntityTooLarge as error:
            raise InvalidArgument(
                f"the form is larger than {limit_bytes} bytes, and a token or claims are among its "
                "fields here; send less"
            ) from error
        check_form(form)
        await self._go_on(call, self._authorise(call, form), form, form)

    async def _go_on(
        self, call: Call, granted: Granted, body: bytes | Payload, form: bytes | None
    ) -> None:
        """Have a call answered that is let in and whole; `form`: its body, if it is looked into."""
        # The function may have changed while the body arrived.
        call.runnable = self._runnables.resolve(call.door.function, call.door.qualifier)
        form = _show(call, granted, form)
        if form is not None:
            body = form
        if call.runnable.custom:
            await self._pass_through(call, Outgoing(body)).run()
        else:
            await self._run(call, body)

    def _authorise(self, call: Call, form: bytes | None = None) -> Granted:
        request = call.request
        if call.door.anonymous:
            return EVERYBODY
        return authorise(
            call.door.access,
            method=request.method,
            target=request.target,
            headers=request.headers,
            keys=self._keys,
            now=self._now(),
            form=form,
            base_path=call.door.base_path,
        )

    def _pass_through(self, call: Call, body: Source) -> WebCall:
        return WebCall(call, body, self._spool_folder)

    async def _run(self, call: Call, body: bytes | Payload) -> None:
        """Have a handler of a built-in runtime called."""
        wsgi = bool(call.runnable.function.service)
        invocation = Invocation(
            request_id=call.guard.request_id,
            payload=body if wsgi else self._build_event(call, body),
            want_log_tail=call.want_log_tail,
            http=build_http_call(call) if wsgi else None,
        )
        await HandlerCall(call, invocation).run()

    def _build_event(self, call: Call, body: bytes | Payload) -> bytes:
        path, _, query = call.target.partition(b"?")
        request = call.request
        return build_event(
            method=request.method,
            path=path,
            query=query,
            headers=call.headers,
            body=body if isinstance(body, bytes) else b"".join(body.pieces()),
            peer=request.peer,
            request_id=call.guard.request_id,
            account_id=self._account_id,
            host=request.fields.get(b"host", b""),
            protocol="HTTP/1.0" if request.old else "HTTP/1.1",
            now=self._now(),
        )


class HandlerCall(FunctionCall):
    """An HTTP call that a handler answers; it is always waited for."""

    __slots__ = ("_call", "_failure", "_invocation", "_problem", "_response")

    def __init__(self, call: Call, invocation: Invocation) -> None:
        super().__init__(call.reply, call.guard, call.runnable)
        self._call = call
        self._invocation = invocation
        self._failure = UNHANDLED  # what the function's log calls it
        self._response: Response | None = None
        self._problem: FunctionComputeError | None = None  # why it cannot be sent

    async def _work(self, instance: Instance) -> Report:
        invocation = self._invocation
        running = instance.begin(invocation.request_id, want_log_tail=invocation.want_log_tail)
        builtin = instance.builtin
        result = await running.watch(self._ask(builtin))
        return running.end(result, peak_memory_mib=builtin.peak_memory_mib(), failure=self._failure)

    async def _ask(self, builtin: Builtin) -> Result:
        """Have the handler called, and read what it returns: what is wrong there is its failure.

        What the bootstrap does not send (BadFrame) comes of user code in its place.
        """
        invocation = self._invocation
        result = await builtin.ask(
            INVOKE if invocation.http is None else WSGI,
            invocation.request_id,
            invocation.payload,
            timeout_s=self._runnable.timeout_s,
            http=invocation.http,
        )
        if not isinstance(result, Returned):
            return result
        try:
            self._response = await self._read(result.body)
        except ChannelClosed:  # the instance ended in the middle of a large result
            return Crashed(status=None)
        except (BadResult, BadFrame) as error:
            self._failure = str(error)
        except FunctionComputeError as problem:
            self._problem = problem
            self._failure = problem.message
        else:
            return result
        return Raised(body=explain(self._failure))

    async def _read(self, body: bytes | Stream) -> Response:
        """Return the response that a handler's result stands for.

        Raises BadResult, BadFrame, ChannelClosed, BadResponse, and what default domains do not
        serve.
        """
        call = self._call
        if self._invocation.http is None:
            response = await _read_event(body)
        else:
            response = await _read_wsgi(body, call.request.method)
        if call.attachment:
            check_default_domain(response.status, response.headers)
        return response

    async def _answer(self, report: Report) -> None:
        """Send the response; a failure's details stay inside. Source: runtime.md 12.3."""
        if self._problem is not None:
            response = self._guard.explain(self._problem)
        else:
            response = self._call.complete(self._response or _failure(), report)
        await self._reply.send(response)


def _show(call: Call, granted: Granted, form: bytes | None) -> bytes | None:
    """Put the verified claims into their places in a call; return the form in it."""
    if not granted.shown:
        return form
    parts = show(granted.shown, Parts(target=call.target, headers=call.headers, form=form))
    call.target = parts.target
    call.headers = list(parts.headers)
    return parts.form


async def _read_event(body: bytes | Stream) -> Response:
    result = read_result(await read_whole(body))
    return Response(status=result.status, headers=result.headers, body=result.body)


async def _read_wsgi(body: bytes | Stream, method: bytes) -> Response:
    return await read_answer(body, head_only=method == b"HEAD")


def _failure() -> Response:
    return Response(status=FAILED.status, headers=FAILED.headers, body=FAILED.body)
