"""Event calls: one InvokeFunction on its way to a handler and back."""

from base64 import b64encode
from typing import Final, assert_never

from anyfc.gateway.guard import Guard
from anyfc.gateway.run import FunctionCall
from anyfc.gateway.runnable import Runnable
from anyfc.instance.lifecycle import Instance, Running
from anyfc.model.invocation import (
    Crashed,
    InitializationFailed,
    Invocation,
    Payload,
    Raised,
    Result,
    Returned,
    Stream,
    TimedOut,
)
from anyfc.model.report import Report
from anyfc.runtime.builtin import Builtin
from anyfc.runtime.channel import fits
from anyfc.runtime.frame import INVOKE
from anyfc.web.message import Reply, Response, Rest

HEAD: Final = (
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
OLDER_HEAD: Final = HEAD.replace(b"-Function-Version", b"-Service-Version")
BYTES: Final = b"Content-Type: application/octet-stream\r\n"
JSON: Final = b"Content-Type: application/json\r\n"
UNHANDLED: Final = b"X-Fc-Error-Type: UnhandledInvocationError\r\n" + JSON
ERROR_TYPE: Final = b"X-Fc-Error-Type: %b\r\n" + JSON
INITIALIZATION: Final = b"X-Fc-Error-Type: InitializationError\r\n" + JSON


class EventCall(FunctionCall):
    """One event on its way. `head` is the pattern of the header lines that its answer begins with.

    Where a built-in instance is free, and event and answer are short, nothing is waited for.
    """

    __slots__ = ("_builtin", "_event", "_head", "_result", "_running", "_want_log_tail")

    def __init__(
        self, reply: Reply, guard: Guard, runnable: Runnable, head: bytes, *, want_log_tail: bool
    ) -> None:
        super().__init__(reply, guard, runnable)
        self._head = head
        self._want_log_tail = want_log_tail
        self._event: bytes | Payload = b""
        self._builtin: Builtin | None = None  # these two when an instance has been asked
        self._running: Running | None = None
        self._result: Result | None = None  # it has come without waiting, but is long

    def lead_to(self, runnable: Runnable, event: bytes | Payload) -> None:
        """Say what is to run, and with which event, before it does."""
        self._runnable = runnable
        self._lease = runnable.lease()
        self._event = event

    # --- without waiting ---

    def begin(self, event: bytes) -> Rest | None:
        """Take the call as far as it goes; see `web.connection.Application.handle`."""
        self._event = event
        instance = None
        if not self._runnable.custom and fits(event):
            instance = self._lease.take_nowait()
        if instance is None:
            return self.run()
        try:
            self._ask(instance, event)
        except BaseException:
            self._lease.end()
            raise
        self._reply.entrust(self)
        return None

    def _ask(self, instance: Instance, event: bytes) -> None:
        request_id = self._guard.request_id
        self._running = instance.begin(request_id, want_log_tail=self._log_tail_wanted)
        self._builtin = instance.builtin
        self._builtin.send(
            INVOKE,
            request_id,
            event,
            timeout_s=self._runnable.timeout_s,
            listener=self._hear,
        )

    def _pass_on(self) -> None:
        assert self._builtin is not None
        result = self._builtin.take()
        if result is None or not isinstance(result.body, bytes):
            self._result = result
            self._resume(self.run())
            return
        report = self._end(result)
        self._lease.end()
        self._record(report)
        self._reply.send_now(self._present(report))

    def abandon(self) -> None:
        """The caller has gone, and no task waits that could be cancelled."""
        assert self._builtin is not None
        assert self._running is not None
        self._builtin.abandon()
        self._running.abandon()
        self._lease.end()

    # --- with a task that waits ---

    async def _work(self, instance: Instance) -> Report:
        if self._running is None:
            return await instance.run(
                Invocation(
                    request_id=self._guard.request_id,
                    payload=self._event,
                    want_log_tail=self._log_tail_wanted,
                )
            )
        result = self._result
        if result is None:
            assert self._builtin is not None
            result = await self._running.watch(self._builtin.wait(self._runnable.timeout_s))
        return self._end(result)

    async def _answer(self, report: Report) -> None:
        await self._reply.send(self._present(report))

    # --- both ---

    @property
    def _log_tail_wanted(self) -> bool:
        return self._want_log_tail and self._runnable.concurrency == 1

    def _end(self, result: Result) -> Report:
        assert self._builtin is not None
        assert self._running is not None
        return self._running.end(result, peak_memory_mib=self._builtin.peak_memory_mib())

    def _present(self, report: Report) -> Response:
        return present(
            report,
            request_id=self._guard.request_id,
            version=self._runnable.version.version,
            checksum=self._runnable.checksum,
            head=self._head,
            with_log_tail=self._log_tail_wanted,
        )


def present(
    report: Report,
    *,
    request_id: str,
    version: str,
    checksum: bytes,
    head: bytes,
    with_log_tail: bool,
) -> Response:
    """Return the response that tells the caller what came of an invocation.

    `head` is the pattern of the lines that are always there.

    Source: runtime.md 12.3 (what the caller sees) and 13.4 (headers).
    """
    head %= (
        request_id.encode(),
        report.duration_ms,
        report.peak_memory_mib,
        version.encode(),
        checksum,
        report.instance_id.encode(),
    )
    if with_log_tail:
        head += b"X-Fc-Log-Result: %b\r\n" % b64encode(report.log_tail)
    body: bytes | Stream
    match report.result:
        case Returned(body=body):
            head += BYTES
        case Raised(body=body, error_type=error_type):
            head += ERROR_TYPE % error_type.encode()
        case TimedOut() | Crashed() as failure:
            body = report.explain(failure)
            head += UNHANDLED
        case InitializationFailed(body=body):
            head += INITIALIZATION
        case _:
            assert_never(report.result)
    if isinstance(body, bytes):
        return Response(status=200, head=head, body=body)
    return Response(status=200, head=head, body=body, length_bytes=body.size_bytes)
