"""Built-in runtimes: frames over a local socket."""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

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

PIECES_AHEAD = 4


class ChannelClosed(Exception):
    """The process at the other end is gone, or does not speak the dialogue."""


class Channel(asyncio.Protocol):
    """One request at a time to one instance; see `bootstrap/DIALOGUE.md`, part 2."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until it is made
        self._reader = FrameReader()
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._closed = False

    # --- the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._frames.extend(self._reader.feed(data))
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

    async def ask(self, kind: bytes, meta: bytes, event: bytes | Payload) -> Answer:
        """Send a request and wait for the beginning of its answer. Raises ChannelClosed."""
        if isinstance(event, bytes) and len(event) <= PIECE_BYTES:
            self._transport.write(encode_request(kind, meta, len(event), event))
        else:
            await self._send_pieces(kind, meta, event)
        try:
            return decode_answer(*await self._next())
        except BadFrame as error:
            raise ChannelClosed from error

    async def _send_pieces(self, kind: bytes, meta: bytes, event: bytes | Payload) -> None:
        if isinstance(event, bytes):
            size_bytes = len(event)
            pieces = (event[i : i + PIECE_BYTES] for i in range(0, size_bytes, PIECE_BYTES))
        else:
            size_bytes = event.size_bytes
            pieces = (piece for piece in event.pieces())
        frame = encode_request(kind, meta, size_bytes, b"")
        for piece in pieces:
            self._transport.write(frame)
            if self._drained is not None:
                await self._drained
            if self._closed:
                raise ChannelClosed
            frame = encode_data(piece)
        self._transport.write(frame)

    async def rest(self, answer: Answer) -> AsyncIterator[bytes]:
        """Yield the pieces of an answer, the first one included. Raises ChannelClosed."""
        yield answer.piece
        missing = answer.size_bytes - len(answer.piece)
        while missing:
            kind, piece = await self._next()
            missing -= len(piece)
            if kind != DATA or missing < 0 or not piece:
                raise ChannelClosed
            yield piece

    async def _next(self) -> tuple[bytes, bytes]:
        while not self._frames:
            if self._closed:
                raise ChannelClosed
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        frame = self._frames.popleft()
        if self._paused and not self._frames:
            self._paused = False
            if not self._closed:
                self._transport.resume_reading()
        return frame


@asynccontextmanager
async def open_channel(end: socket.socket) -> AsyncIterator[Channel]:
    """Speak through `end`, which is closed on leaving."""
    with end:
        _, channel = await asyncio.get_running_loop().create_unix_connection(Channel, sock=end)
        try:
            yield channel
        finally:
            channel.close()
