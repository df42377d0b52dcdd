"""The codec of the instance dialogue: bytes ↔ values, see `bootstrap/DIALOGUE.md`, part 2."""

import struct
from collections import deque
from typing import Final

KIB: Final = 1024
PIECE_BYTES: Final = 256 * KIB
FRAME_BYTES: Final = 1024 * KIB

INVOKE: Final = b"I"
WSGI: Final = b"W"
INITIALIZE: Final = b"N"
PRE_FREEZE: Final = b"F"
PRE_STOP: Final = b"S"
DATA: Final = b"D"
HELLO: Final = b"H"
RETURNED: Final = b"R"
RAISED: Final = b"E"

HEAD: Final = struct.Struct("!cI")
REQUEST: Final = struct.Struct("!cIQI")  # the head and the fixed part behind it
ANSWER: Final = struct.Struct("!QI")


class BadFrame(Exception):
    """The other side does not keep to the dialogue."""


class Answer:
    """The beginning of an answer; the rest, if any, follows in data frames."""

    __slots__ = ("peak_memory_kib", "piece", "returned", "size_bytes")

    def __init__(self, returned: bool, size_bytes: int, peak_memory_kib: int, piece: bytes) -> None:
        self.returned = returned
        self.size_bytes = size_bytes
        self.peak_memory_kib = peak_memory_kib
        self.piece = piece


def encode_request(kind: bytes, meta: bytes, size_bytes: int, piece: bytes) -> bytes:
    """Return the first frame of a request whose event has `size_bytes` in all."""
    length = REQUEST.size - HEAD.size + len(meta) + len(piece)
    return REQUEST.pack(kind, length, size_bytes, len(meta)) + meta + piece


def encode_data(piece: bytes) -> bytes:
    return HEAD.pack(DATA, len(piece)) + piece


def decode_answer(kind: bytes, content: bytes) -> Answer:
    """Raises BadFrame."""
    if kind not in (RETURNED, RAISED) or len(content) < ANSWER.size:
        raise BadFrame(f"an answer cannot begin with {kind!r} and {len(content)} bytes")
    size_bytes, peak_memory_kib = ANSWER.unpack_from(content)
    piece = content[ANSWER.size :]
    if len(piece) > size_bytes:
        raise BadFrame(f"an answer of {size_bytes} bytes cannot begin with {len(piece)}")
    return Answer(kind == RETURNED, size_bytes, peak_memory_kib, piece)


class FrameReader:
    """Frames out of a byte stream that arrives in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted_bytes = 0

    def feed(self, data: bytes, frames: deque[tuple[bytes, bytes]]) -> None:
        """Add kind and content of every frame that is whole now to `frames`. Raises BadFrame."""
        if self._buffer:
            self._buffer += data
            # Looked at once and not with every byte: a function may send them one by one.
            if len(self._buffer) < self._wanted_bytes:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        start = 0
        self._wanted_bytes = HEAD.size
        while len(data) - start >= HEAD.size:
            kind, length = HEAD.unpack_from(data, start)
            if length > FRAME_BYTES:
                raise BadFrame(f"a frame of {length} bytes is longer than {FRAME_BYTES}")
            end = start + HEAD.size + length
            if len(data) < end:
                self._wanted_bytes = end - start
                break
            frames.append((kind, data[start + HEAD.size : end]))
            start = end
        if start < len(data):
            self._buffer += data[start:]
