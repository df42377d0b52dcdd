"""A transport without a socket, and what a client makes of the bytes written to it."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import httptools


class FakeTransport(asyncio.Transport):
    """Hands bytes to a protocol as a socket would: not while it is paused, not after the end."""

    def __init__(self, protocol: Any, *, secure: bool = False, **extra: Any) -> None:
        tls = {"ssl_object": object()} if secure else {}
        super().__init__({"peername": ("192.0.2.1", 40000), **tls, **extra})
        self.protocol = protocol
        self.written = bytearray()
        self.full = False  # the other side does not read: what is written next must wait
        self.reading = True
        self.eof_written = False
        self.closing = False
        self.aborted = False
        self.lost = False
        self.ended = asyncio.Event()  # nothing more will be written
        self.unsent_bytes = 0
        self.half_ends = not secure  # TLS has no half of an end
        self._inbox: deque[bytes | None] = deque()
        self._stalled = False
        protocol.connection_made(self)

    # The protocol's side

    def write(self, data: Any) -> None:
        assert not self.eof_written, "nothing is written after the end"
        if self.closing:
            return
        self.written += data
        if self.full:
            self.unsent_bytes += len(data)
        if self.full and not self._stalled:
            self._stalled = True
            self.protocol.pause_writing()

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def can_write_eof(self) -> bool:
        return self.half_ends

    def write_eof(self) -> None:
        assert self.half_ends, "TLS has no half of an end"
        self.eof_written = True
        self.ended.set()

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed, but was not paused"
        self.reading = True
        asyncio.get_running_loop().call_soon(self._pump)

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.ended.set()
            if not self._stalled:
                asyncio.get_running_loop().call_soon(self._lose, None)

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.ended.set()
        asyncio.get_running_loop().call_soon(self._lose, None)

    # The other side

    def deliver(self, data: bytes) -> None:
        self._inbox.append(data)
        self._pump()

    def deliver_eof(self) -> None:
        self._inbox.append(None)
        self._pump()

    def drain(self) -> None:
        """The other side has read all."""
        self.full = False
        self.unsent_bytes = 0
        if self._stalled:
            self._stalled = False
            self.protocol.resume_writing()
            if self.closing:
                self._lose(None)

    def lose(self, error: Exception | None = None) -> None:
        """The connection breaks."""
        self.closing = True
        self.ended.set()
        self._lose(error)

    def _pump(self) -> None:
        while self._inbox and self.reading and not self.closing:
            data = self._inbox.popleft()
            if data is not None:
                self.protocol.data_received(data)
            elif not self.protocol.eof_received():
                self.close()

    def _lose(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)


@dataclass
class Seen:
    """One response as a client reads it."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False


class ResponseReader:
    """Takes written bytes apart, strictly. Raises httptools.HttpParserError."""

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self.seen: list[Seen] = []

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.seen.append(Seen())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.seen[-1].headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.seen[-1].status = self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        self.seen[-1].body += piece

    def on_message_complete(self) -> None:
        self.seen[-1].complete = True


def read_responses(data: bytes) -> list[Seen]:
    reader = ResponseReader()
    reader.feed(bytes(data))
    return reader.seen
