"""Output → lines, the 4 KiB tail of a request, and how a line stands in a log file; no I/O here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
ENTRY_BYTES: Final = 32 * KIB
LOG_TAIL_BYTES: Final = 4 * KIB
LF: Final = 0x0A  # looked for as a number, which is far cheaper than as bytes
CHARACTER_BYTES: Final = 4  # the longest character of UTF-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a function's log. `time` is seconds since 1970, exact to the millisecond.

    Lines about the log itself (some were dropped) belong to no request: their ids are empty.
    """

    time: float
    request_id: str
    instance_id: str
    message: bytes


class LineSplitter:
    """Whole lines, without their newline, out of output that arrives in any pieces.

    Of a line longer than `limit_bytes` the start is kept and the rest is dropped.

    Source: Function Compute, limits, "log entry 32 KB, longer entries are cut".
    """

    def __init__(self, *, limit_bytes: int = ENTRY_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self.unfinished = b""  # the last line, which has no newline yet

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece of output and return the lines that it completes."""
        limit_bytes = self._limit_bytes
        lines = data.split(b"\n")
        lines[0] = self.unfinished + lines[0]
        self.unfinished = lines.pop()[:limit_bytes]
        return [line[:limit_bytes] for line in lines]

    def rest(self) -> bytes:
        """Take out the unfinished line; empty if there is none."""
        unfinished, self.unfinished = self.unfinished, b""
        return unfinished


def tail(lines: Sequence[bytes], *, limit_bytes: int = LOG_TAIL_BYTES) -> bytes:
    """Return the end of a log, lines joined by newlines, at most `limit_bytes` long.

    It begins with a whole character when the log is UTF-8, and is not base64-encoded yet.

    Source: InvokeFunction, header `X-Fc-Log-Type: Tail`, "the last 4 KB of the log".
    """
    text = b"\n".join(lines)
    if len(text) <= limit_bytes:
        return text
    text = text[-limit_bytes:]
    # Clients decode the tail strictly, so it must not begin in the middle of a character.
    start = enumerate(text[:CHARACTER_BYTES])
    return text[next((n for n, byte in start if byte & 0xC0 != 0x80), 0) :]


def format_lines(stamp: bytes, request_id: bytes, instance_id: bytes, lines: list[bytes]) -> bytes:
    """Return lines of one request as they stand in a log file: four columns, split by tabs.

    The columns are milliseconds since 1970, which `stamp` is with its tab, request id, instance id
    and message.
    """
    if len(lines) == 1:
        line = lines[0]
        if len(line) <= ENTRY_BYTES and LF not in line:
            return b"%b%b\t%b\t%b\n" % (stamp, request_id, instance_id, line)
    prefix = b"%b%b\t%b\t" % (stamp, request_id, instance_id)
    text = b"\n".join(lines)
    if text.count(b"\n") != len(lines) - 1:
        lines = text.split(b"\n")
    if len(text) > ENTRY_BYTES:
        lines = [line[:ENTRY_BYTES] for line in lines]
    return prefix + (b"\n" + prefix).join(lines) + b"\n"


def parse_line(line: bytes) -> Entry | None:
    """Read a line of a log file; None if it was torn when the server was killed."""
    try:
        time_ms, request_id, instance_id, message = line.split(b"\t", 3)
        return Entry(
            time=int(time_ms) / 1000,
            request_id=request_id.decode(errors="replace"),
            instance_id=instance_id.decode(errors="replace"),
            message=message,
        )
    except (ValueError, OverflowError):
        return None
