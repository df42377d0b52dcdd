"""InvokeFunction: headers → Invocation, Result → headers."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import assert_never
from urllib.parse import parse_qsl

import msgspec

from anyfc.errors import InvalidArgument, NotSupported
from anyfc.gateway.address import decode_segment
from anyfc.gateway.older import Invoked
from anyfc.gateway.run import NO_ASYNC, check_runnable, run
from anyfc.identity.signature import check_body
from anyfc.model.function import Function, name_in
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Invocation,
    Payload,
    Raised,
    Report,
    Returned,
    Stream,
    TimedOut,
)
from anyfc.model.version import LATEST, VersionId
from anyfc.scheduler.lease import Scheduler
from anyfc.store.catalog import Catalog
from anyfc.web.message import Reply, Request, Response
from anyfc.web.spool import collect

HEAD = (
    b"X-Fc-Request-Id: %b\r\n"
    b"X-Fc-Invocation-Duration: %.2f\r\n"
    b"X-Fc-Max-Memory-Usage: %.2f\r\n"
    b"X-Fc-Invocation-Function-Version: %b\r\n"
    b"X-Fc-Code-Checksum: %b\r\n"
    b"X-Fc-Instance-Id: %b\r\n"
    b"Access-Control-Expose-Headers: Date,x-fc-request-id,x-fc-error-type,x-fc-code-checksum,"
    b"x-fc-invocation-duration,x-fc-max-memory-usage,x-fc-log-result,x-fc-invocation-code-version"
    b"\r\n"
)
# Before 3.0 it is services that have versions.
OLDER_HEAD = HEAD.replace(b"-Function-Version", b"-Service-Version")
BYTES = b"Content-Type: application/octet-stream\r\n"
JSON = b"Content-Type: application/json\r\n"
UNHANDLED = b"X-Fc-Error-Type: UnhandledInvocationError\r\n" + JSON
ERROR_TYPE = b"X-Fc-Error-Type: %b\r\n" + JSON
INITIALIZATION = b"X-Fc-Error-Type: InitializationError\r\n" + JSON


class Invoke:
    """Runs functions for callers who wait."""

    def __init__(
        self,
        catalog: Catalog,
        scheduler: Scheduler,
        *,
        spool_folder: Path,
        sync_body_bytes: int,
        async_body_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._spool_folder = spool_folder
        self._sync_body_bytes = sync_body_bytes
        self._async_body_bytes = async_body_bytes

    async def handle(self, request: Request, reply: Reply, request_id: str, name: bytes) -> None:
        """Answer one InvokeFunction whose caller is known; `name` is still percent-encoded."""
        await self._serve(
            request,
            reply,
            request_id,
            name=decode_segment(name),
            qualifier=_read_qualifier(request.query) if request.query else LATEST,
            claimed=request.fields[b"x-acs-content-sha256"],
            head=HEAD,
        )

    async def handle_older(
        self,
        request: Request,
        reply: Reply,
        request_id: str,
        invoked: Invoked,
        *,
        body_signed: bool,
    ) -> None:
        """Answer one InvokeFunction of an API before 3.0 whose caller is known."""
        self._catalog.get_service(invoked.service)
        await self._serve(
            request,
            reply,
            request_id,
            name=name_in(invoked.service, invoked.function),
            qualifier=invoked.qualifier or _read_qualifier(request.query),
            claimed=request.fields[b"x-acs-content-sha256"] if body_signed else None,
            head=OLDER_HEAD,
        )

    async def _serve(
        self,
        request: Request,
        reply: Reply,
        request_id: str,
        *,
        name: str,
        qualifier: str,
        claimed: bytes | None,
        head: bytes,
    ) -> None:
        """Run the function and answer. `claimed` is the digest of the body, if that is signed."""
        fields = request.fields
        function, version = self._catalog.resolve(name, qualifier)
        check_runnable(function)
        want_log_tail = read_log_type(fields.get(b"x-fc-log-type"))
        if is_async(fields.get(b"x-fc-invocation-type")):
            request.body.set_limit(self._async_body_bytes)
            raise NotSupported(NO_ASYNC)
        request.body.set_limit(self._sync_body_bytes)
        payload = request.body.read_nowait()
        if payload is not None:
            if claimed is not None:
                check_body(claimed, sha256(payload).digest())
            await self._run(function, version, request_id, payload, want_log_tail, reply, head)
            return
        async with collect(request.body, self._spool_folder) as (spooled, digest):
            if claimed is not None:
                check_body(claimed, digest)
            # The function may have changed while the body arrived.
            function, version = self._catalog.resolve(name, qualifier)
            check_runnable(function)
            await self._run(function, version, request_id, spooled, want_log_tail, reply, head)

    async def _run(
        self,
        function: Function,
        version: VersionId,
        request_id: str,
        payload: bytes | Payload,
        want_log_tail: bool,
        reply: Reply,
        head: bytes,
    ) -> None:
        invocation = Invocation(
            request_id=request_id,
            function=function.name,
            qualifier=version.version,
            payload=payload,
            want_log_tail=want_log_tail and function.instance_concurrency == 1,
        )
        await run(
            self._scheduler,
            function,
            version,
            request_id,
            lambda instance: instance.run(invocation),
            lambda report: reply.send(present(report, invocation, function, head)),
        )


def present(
    report: Report, invocation: Invocation, function: Function, head: bytes = HEAD
) -> Response:
    """Return the response that tells the caller what came of an invocation.

    `head` is the pattern of the lines that are always there.

    Source: runtime.md 12.3 (what the caller sees) and 13.4 (headers).
    """
    head %= (
        invocation.request_id.encode(),
        report.duration_ms,
        report.peak_memory_mib,
        invocation.qualifier.encode(),
        function.code.checksum.encode() if function.code else b"",
        report.instance_id.encode(),
    )
    if invocation.want_log_tail:
        head += b"X-Fc-Log-Result: %b\r\n" % b64encode(report.log_tail)
    body: bytes | Stream
    match report.result:
        case Returned(body=body):
            head += BYTES
        case Raised(body=body, error_type=error_type):
            head += ERROR_TYPE % error_type.encode()
        case TimedOut(timeout_s=timeout_s):
            body = explain_timeout(timeout_s, report)
            head += UNHANDLED
        case Crashed():
            body = explain_crash(report)
            head += UNHANDLED
        case InitializationFailed(body=body):
            head += INITIALIZATION
        case _:
            assert_never(report.result)
    if isinstance(body, bytes):
        return Response(status=200, head=head, body=body)
    return Response(status=200, head=head, body=body, length_bytes=body.size_bytes)


def explain_timeout(timeout_s: int, report: Report) -> bytes:
    return _explain(f"Function timed out after {timeout_s} seconds {_cost(report)}")


def explain_crash(report: Report) -> bytes:
    return _explain(f"Process exited unexpectedly before completing request {_cost(report)}")


def _cost(report: Report) -> str:
    memory = f"maxMemoryUsage: {report.peak_memory_mib:.2f}MB"
    return f"(duration: {report.duration_ms:.0f}ms, {memory})"


def _explain(message: str) -> bytes:
    return msgspec.json.encode({"errorMessage": message})


def _read_qualifier(query: bytes) -> str:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace")
    return dict(pairs).get("qualifier") or LATEST


def is_async(value: bytes | None) -> bool:
    if value is None or (kind := value.strip().lower()) == b"sync":
        return False
    if kind == b"async":
        return True
    raise InvalidArgument(
        f"X-Fc-Invocation-Type must be Sync or Async, not '{value.decode('latin-1')}'"
    )


def read_log_type(value: bytes | None) -> bool:
    if value is None or (kind := value.strip().lower()) == b"none":
        return False
    if kind == b"tail":
        return True
    raise InvalidArgument(f"X-Fc-Log-Type must be None or Tail, not '{value.decode('latin-1')}'")
