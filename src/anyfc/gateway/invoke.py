"""InvokeFunction: headers → Invocation, Result → headers."""

from hashlib import sha256
from pathlib import Path

from anyfc.errors import NotSupported
from anyfc.gateway.address import decode_segment
from anyfc.gateway.guard import Guard
from anyfc.gateway.invocation import HEAD, OLDER_HEAD, EventCall
from anyfc.gateway.older import Invoked
from anyfc.gateway.options import NO_ASYNC, is_async, read_log_type, read_qualifier
from anyfc.gateway.runnable import Runnables
from anyfc.identity.signature import check_body
from anyfc.model.function import name_in
from anyfc.model.version import LATEST
from anyfc.store.catalog import Catalog
from anyfc.web.message import Reply, Request, Rest
from anyfc.web.spool import collect


class Invoke:
    """Runs functions for callers who wait."""

    def __init__(
        self,
        catalog: Catalog,
        runnables: Runnables,
        *,
        spool_folder: Path,
        sync_body_bytes: int,
        async_body_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._runnables = runnables
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
            qualifier=read_qualifier(request.query) if request.query else LATEST,
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
            qualifier=invoked.qualifier or read_qualifier(request.query),
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
        call = EventCall(reply, guard, runnable, head, want_log_tail=want_log_tail)
        event = request.body.read_nowait()
        if event is None:
            return self._take_whole(request, call, name, qualifier, claimed)
        if claimed is not None:
            check_body(claimed, sha256(event).digest())
        return call.begin(event)

    async def _take_whole(
        self, request: Request, call: EventCall, name: str, qualifier: str, claimed: bytes | None
    ) -> None:
        """Run the function when the whole event is there."""
        async with collect(request.body, self._spool_folder) as (spooled, digest):
            if claimed is not None:
                check_body(claimed, digest)
            # The function may have changed while the event arrived.
            call.lead_to(self._runnables.resolve(name, qualifier), spooled)
            await call.run()
