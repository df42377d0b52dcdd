"""The head of an answer to a WSGI call; see `bootstrap/DIALOGUE.md`, part 2."""

import re
import struct
from typing import Annotated, NamedTuple

import msgspec

from anyfc.runtime.frame import BadFrame

HEAD_LENGTH = struct.Struct("!I")

HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


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
