"""Pieces of what a request is addressed to, as text."""

from typing import Final
from urllib.parse import unquote_to_bytes

PERCENT: Final = 0x25


def cut_port(host: bytes) -> bytes:
    """`name:9000` → `name`, `[::1]:9000` → `[::1]`."""
    return host.partition(b"]")[0] + b"]" if host.startswith(b"[") else host.partition(b":")[0]


def decode_segment(segment: bytes) -> str:
    """Return a segment of a path without its percent-encoding; what is not UTF-8 is replaced."""
    if PERCENT in segment:
        segment = unquote_to_bytes(segment)
    return segment.decode(errors="replace")
