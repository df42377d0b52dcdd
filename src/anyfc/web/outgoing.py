"""Bodies of requests that we make ourselves."""

from collections.abc import Iterator

from anyfc.model.invocation import Payload
from anyfc.web.message import Sink, Source


class Outgoing(Source):
    """A payload as the body of one request to a server behind us."""

    __slots__ = ("_held", "_payload", "_pieces", "_sink")

    def __init__(self, payload: bytes | Payload) -> None:
        super().__init__(len(payload) if isinstance(payload, bytes) else payload.size_bytes)
        self._payload = payload
        self._pieces: Iterator[bytes] = iter(())
        self._sink: Sink | None = None
        self._held = False

    def read_nowait(self) -> bytes | None:
        return self._payload if isinstance(self._payload, bytes) else None

    def pour(self, sink: Sink) -> None:
        payload = self._payload
        self._pieces = iter((payload,)) if isinstance(payload, bytes) else payload.pieces()
        self._sink = sink
        if not self._held:
            self.flow()

    def hold(self) -> None:
        self._held = True

    def flow(self) -> None:
        sink = self._sink
        if sink is None:
            return
        self._held = False
        for piece in self._pieces:
            sink.take(piece)
            if self._held or self._sink is None:
                return
        self._sink = None
        sink.take_end()

    def discard(self) -> None:
        self._sink = None
