"""InvokeFunction: headers → Invocation, Result → headers."""

from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl

from anyfc.errors import InvalidArgument, NotSupported
from anyfc.gateway.address import decode_segment
from anyfc.gateway.guard import Guard
from anyfc.gateway.invocation import HEAD, OLDER_HEAD, EventCall
from anyfc.gateway.older import Invoked
from anyfc.gateway.run import NO_ASYNC, Runnable, Runnables
from anyfc.identity.signature import check_body
from anyfc.model.function import name_in
from anyfc.model.version import LATEST
from anyfc.scheduler.lease import Lease, Scheduler
from anyfc.store.catalog import Catalog
from anyfc.web.message import Reply, Request, Rest
from anyfc.web.spool import collect


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
        self._runnables = Runnables(catalog)
        self._scheduler = scheduler
        self._spool_folder = spool_folder
        self._sync_body_bytes = sync_body_bytes
        self._async_body_bytes = async_body_bytes

    def handle(self, request: Request, reply: Reply, guard: Guard, name: bytes) -> Rest | None:
        """Answer one InvokeFunction whose caller is known; `name` is still percent-encoded."""
        return self._begin(
            request,
            reply,
            guard,
            name=decode_segment(name),
            qualifier=_read_qualifier(request.query) if request.query else LATEST,
            claimed=request.fields[b"x-acs-content-sha256"],
            head=HEAD,
        )

    def handle_older(
        self, request: Request, reply: Reply, guard: Guard, invoked: Invoked, *, body_signed: bool
    ) -> Rest | None:
        """Answer one InvokeFunction of an API before 3.0 whose caller is known."""
        self._catalog.get_service(invoked.service)
        return self._begin(
            request,
            reply,
            guard,
            name=name_in(invoked.service, invoked.function),
            qualifier=invoked.qualifier or _read_qualifier(request.query),
            claimed=request.fields[b"x-acs-content-sha256"] if body_signed else None,
            head=OLDER_HEAD,
        )

    def _begin(
        self,
        request: Request,
        reply: Reply,
        guard: Guard,
        *,
        name: str,
        qualifier: str,
        claimed: bytes | None,
        head: bytes,
    ) -> Rest | None:
        """Run the function and answer. `claimed` is the digest of the body, if that is signed."""
        fields = request.fields
        runnable = self._runnables.resolve(name, qualifier)
        want_log_tail = read_log_type(fields.get(b"x-fc-log-type"))
        if is_async(fields.get(b"x-fc-invocation-type")):
            request.body.set_limit(self._async_body_bytes)
            raise NotSupported(NO_ASYNC)
        request.body.set_limit(self._sync_body_bytes)
        call = EventCall(reply, guard, head, want_log_tail=want_log_tail)
        payload = request.body.read_nowait()
        if payload is None:
            return self._take_whole(request, call, name, qualifier, claimed)
        if claimed is not None:
            check_body(claimed, sha256(payload).digest())
        return call.begin(self._lease(runnable), runnable.version, payload)

    async def _take_whole(
        self, request: Request, call: EventCall, name: str, qualifier: str, claimed: bytes | None
    ) -> None:
        """Run the function when the whole event is there."""
        async with collect(request.body, self._spool_folder) as (spooled, digest):
            if claimed is not None:
                check_body(claimed, digest)
            # The function may have changed while the body arrived.
            runnable = self._runnables.resolve(name, qualifier)
            await call.run(self._lease(runnable), runnable.version, spooled)

    def _lease(self, runnable: Runnable) -> Lease:
        return self._scheduler.lease(runnable.function, runnable.version)


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
