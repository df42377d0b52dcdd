"""Built-in runtimes: frames over a local socket."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeGuard

from anyfc.model.invocation import Payload
from anyfc.runtime.frame import (
    DATA,
    HELLO,
    PIECE_BYTES,
    Answer,
    BadFrame,
    FrameReader,
    decode_answer,
    encode_data,
    encode_request,
)
from anyfc.web.transport import Transport

PIECES_AHEAD: Final = 4


class ChannelClosed(Exception):
    """The process at the other end is gone, or does not speak the dialogue."""


class Channel:
    """One request at a time to one instance; see `bootstrap/DIALOGUE.md`, part 2."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Transport
        self._reader = FrameReader()
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._listener: Callable[[], None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._closed = False

    # --- the socket ---

    def connection_made(self, transport: Transport) -> None:
        self._transport = transport

    def eof_received(self) -> None:
        """The transport closes, and says next that it is lost."""

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data, self._frames)
        except BadFrame:
            self.close()
            return
        if len(self._frames) > PIECES_AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._listener is not None and (self._frames or self._closed):
            listener, self._listener = self._listener, None
            listener()

    def close(self) -> None:
        self._closed = True
        self._transport.abort()
        self._wake()

    # --- the dialogue ---

    async def hello(self) -> None:
        """Wait until the process can take a request. Raises ChannelClosed."""
        kind, _ = await self._next()
        if kind != HELLO:
            raise ChannelClosed

    def send(self, kind: bytes, meta: bytes, event: bytes, listener: Callable[[], None]) -> None:
        """Send a request whose event `fits` into one frame.

        `listener` is called when a frame has come, or none will.
        """
        self._listener = listener
        self._transport.write(encode_request(kind, meta, len(event), event))
        if self._closed or self._frames:
            self._loop.call_soon(self._wake)  # nothing may come that would do it

    def ignore(self) -> None:
        """Do not call the listener any more."""
        self._listener = None

    async def send_all(self, kind: bytes, meta: bytes, event: bytes | Payload) -> None:
        """Send a request. Raises ChannelClosed."""
        if fits(event):
            self._transport.write(encode_request(kind, meta, len(event), event))
        else:
            await self._send_pieces(kind, meta, event)

    async def answer(self) -> Answer:
        """Wait for the beginning of an answer. Raises ChannelClosed."""
        frame = await self._next()
        try:
            return decode_answer(*frame)
        except BadFrame as error:
            raise ChannelClosed from error

    def answer_nowait(self) -> Answer | None:
        """Return the beginning of an answer if it is here and can be read."""
        if not self._frames:
            return None
        try:
            answer = decode_answer(*self._frames[0])
        except BadFrame:
            return None
        self._next_nowait()
        return answer

    async def _send_pieces(self, kind: bytes, meta: bytes, event: bytes | Payload) -> None:
        if isinstance(event, bytes):
            size_bytes = len(event)
            pieces = cut(event)
        else:
            size_bytes = event.size_bytes
            pieces = event.pieces()
        frame = encode_request(kind, meta, size_bytes, b"")
        for piece in pieces:
            self._transport.write(frame)
            if self._drained is not None:
                await self._drained
            if self._closed:
                raise ChannelClosed
            frame = encode_data(piece)
        self._transport.write(frame)

    async def next_piece(self) -> bytes:
        """Wait for one more piece of an answer. Raises ChannelClosed."""
        kind, piece = await self._next()
        if kind != DATA or not piece:
            raise ChannelClosed
        return piece

    async def _next(self) -> tuple[bytes, bytes]:
        while not self._frames:
            if self._closed:
                raise ChannelClosed
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._next_nowait()

    def _next_nowait(self) -> tuple[bytes, bytes]:
        frame = self._frames.popleft()
        if self._paused and not self._frames:
            self._paused = False
            if not self._closed:
                self._transport.resume_reading()
        return frame


def fits(event: bytes | Payload) -> TypeGuard[bytes]:
    """Say whether an event is short enough for one frame."""
    return isinstance(event, bytes) and len(event) <= PIECE_BYTES


def cut(event: bytes) -> Iterator[bytes]:
    """Yield an event in pieces that fit into a frame."""
    for start in range(0, len(event), PIECE_BYTES):
        yield event[start : start + PIECE_BYTES]
