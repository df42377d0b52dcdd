"""The codec of the instance dialogue: bytes ↔ values, see `bootstrap/DIALOGUE.md`, part 2."""

import re
import struct
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec

KIB = 1024
PIECE_BYTES = 256 * KIB
FRAME_BYTES = 1024 * KIB

INVOKE, WSGI, DATA = b"I", b"W", b"D"
INITIALIZE, PRE_FREEZE, PRE_STOP = b"N", b"F", b"S"
HELLO, RETURNED, RAISED = b"H", b"R", b"E"

HEAD = struct.Struct("!cI")
REQUEST = struct.Struct("!cIQI")  # the head and the fixed part behind it
ANSWER = struct.Struct("!QI")
HEAD_LENGTH = struct.Struct("!I")

HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class BadFrame(Exception):
    """The other side does not keep to the dialogue."""


class Answer(NamedTuple):
    """The beginning of an answer; the rest, if any, follows in data frames."""

    returned: bool
    size_bytes: int
    peak_memory_kib: int
    piece: bytes


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


class HttpAnswer(NamedTuple):
    """The beginning of an answer to a WSGI call: its head, and what of its body came with it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    piece: bytes


class HttpHead(msgspec.Struct):
    """The head as it is sent: texts in latin-1, one character for each byte."""

    status: Annotated[int, msgspec.Meta(ge=200, le=999)]
    headers: list[tuple[str, str]]


_decode_head = msgspec.json.Decoder(HttpHead).decode


def decode_http_answer(piece: bytes) -> HttpAnswer:
    """Take the head off the first piece of what a WSGI call returned; it is whole in there.

    What it says can be sent on as it is. Raises BadFrame: the bootstrap has refused such a head, so
    this one is not the bootstrap's.
    """
    end = HEAD_LENGTH.size
    if len(piece) >= end:
        end += HEAD_LENGTH.unpack_from(piece)[0]
    if len(piece) < end:
        raise BadFrame(f"the head of an HTTP answer is not whole in {len(piece)} bytes")
    try:
        head = _decode_head(piece[HEAD_LENGTH.size : end])
        headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers
        ]
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadFrame(f"the head of an HTTP answer cannot be read: {error}") from error
    for name, value in headers:
        if not (HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value)):
            raise BadFrame(f"HTTP cannot send the header {name!r}: {value!r}")
    return HttpAnswer(head.status, headers, piece[end:])


class FrameReader:
    """Frames out of a byte stream that arrives in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted_bytes = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield kind and content of every frame that is whole now. Raises BadFrame."""
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
            yield kind, data[start + HEAD.size : end]
            start = end
        self._buffer += data[start:]
