"""The log files of functions: appended to, rotated, read and removed, by one thread.

FOLDER/
└── resize/                    one folder for each function
    ├── 001735689600000.log    a segment, named for the time of its first line (milliseconds)
    └── 001735693200123.log    the newest segment, the only one that grows
"""

import os
import re
import shutil
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from anyfc.instance.lines import KIB, Entry, parse_line

SEGMENTS = 8
SMALLEST_LIMIT_BYTES = SEGMENTS * 64 * KIB
OPEN_FILES = 64
# Small enough that reading a large log holds up neither the writer nor the loop for long.
PAGE_BYTES = 128 * KIB
# Of a function in a service, with the service's name in front.
FUNCTION_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,127}\$)?[A-Za-z_][A-Za-z0-9_-]{0,127}")

SEGMENT_NAME = re.compile(r"\d+\.log")


class Position(NamedTuple):
    """A place in a function's log: a segment and a number of bytes into it."""

    segment: int
    offset_bytes: int


@dataclass(slots=True)
class _Log:
    """The segments of one function, number → bytes, oldest first; `file` is the newest."""

    folder: Path
    sizes: dict[int, int]
    file: BinaryIO | None = None

    @property
    def end(self) -> Position:
        if not self.sizes:
            return Position(0, 0)
        newest = next(reversed(self.sizes))
        return Position(newest, self.sizes[newest])

    def write(self, text: bytes) -> None:
        assert self.file is not None
        rest = memoryview(text)
        while rest:
            rest = rest[self.file.write(rest) :]
        self.sizes[self.end.segment] += len(text)

    def resume(self) -> None:
        number, size_bytes = self.end
        self.file = open(segment_path(self.folder, number), "a+b", buffering=0)  # noqa: SIM115
        # A server that was killed, or a full disk, may have left half a line.
        if size_bytes and os.pread(self.file.fileno(), 1, size_bytes - 1) != b"\n":
            self.write(b"\n")

    def shut(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


class Segments:
    """The logs of all functions, each at most `limit_bytes` long (at least 512 KiB).

    Not safe for several threads. Keeps at most `open_files` files open.
    """

    def __init__(self, folder: Path, *, limit_bytes: int, open_files: int = OPEN_FILES) -> None:
        self._folder = folder
        self._limit_bytes = max(limit_bytes, SMALLEST_LIMIT_BYTES)
        self._segment_bytes = self._limit_bytes // SEGMENTS
        self._open_files = open_files
        self._logs: OrderedDict[str, _Log] = OrderedDict()  # the last used one is last

    def append(self, function: str, text: bytes) -> None:
        """Add whole lines, in the form of `format_lines`, to the end of a function's log.

        Raises OSError; then a part of the text may have been written.
        """
        try:
            log = self._open(function)
            room_bytes = max(0, self._segment_bytes - log.end.offset_bytes) if log.file else 0
            first, *others = split(text, room_bytes=room_bytes, segment_bytes=self._segment_bytes)
            if first:
                log.write(first)
            for piece in others:
                self._start_segment(log, piece)
                log.write(piece)
        except OSError:
            # The sizes are no longer known, and the last line may be torn: see `_open`.
            self._shut(function)
            raise

    def end(self, function: str) -> Position:
        """Return where the function's log ends at this moment."""
        log = self._logs.get(function)
        return log.end if log else _Log(self._path(function), self._sizes(function)).end

    def pages(
        self, function: str, *, since: float | None, request_id: str | None, end: Position
    ) -> Iterator[list[Entry]]:
        """Yield the entries up to `end`, a page at a time; some pages may be empty.

        Segments that are removed while they are read are left out. No file stays open between
        two pages.
        """
        numbers = list(self._sizes(function))
        since = since or 0.0
        for number, following in pairwise([*numbers, sys.maxsize]):
            if following < since * 1000 or number > end.segment:
                continue
            size_bytes = end.offset_bytes if number == end.segment else sys.maxsize
            for page in read_pages(segment_path(self._path(function), number), size_bytes):
                yield find_entries(page, since=since, request_id=request_id)

    def functions(self) -> list[str]:
        """Name the functions that have a log."""
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []

    def remove(self, function: str) -> None:
        """Delete the function's log, if it has one."""
        self._shut(function)
        folder = self._path(function)
        if folder.exists():
            shutil.rmtree(folder)

    def close(self) -> None:
        for function in list(self._logs):
            self._shut(function)

    def _path(self, function: str) -> Path:
        if not FUNCTION_NAME.fullmatch(function):
            raise ValueError(f"'{function}' is not the name of a function")
        return self._folder / function

    def _sizes(self, function: str) -> dict[int, int]:
        try:
            with os.scandir(self._path(function)) as found:
                segments = (f for f in found if SEGMENT_NAME.fullmatch(f.name))
                return dict(sorted((int(f.name[:-4]), f.stat().st_size) for f in segments))
        except FileNotFoundError:
            return {}

    def _open(self, function: str) -> _Log:
        log = self._logs.get(function)
        if log is None:
            if len(self._logs) >= self._open_files:
                self._shut(next(iter(self._logs)))
            log = self._logs[function] = _Log(self._path(function), self._sizes(function))
            if log.sizes:
                log.resume()
        self._logs.move_to_end(function)
        return log

    def _start_segment(self, log: _Log, text: bytes) -> None:
        log.shut()
        room_bytes = self._limit_bytes - max(self._segment_bytes, len(text))
        while log.sizes and sum(log.sizes.values()) > room_bytes:
            oldest = next(iter(log.sizes))
            segment_path(log.folder, oldest).unlink(missing_ok=True)
            del log.sizes[oldest]
        log.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The clock may have been set back; the order of the numbers is the order of writing.
        number = max(int(text[: text.index(b"\t")]), log.end.segment + 1)
        log.file = open(segment_path(log.folder, number), "ab", buffering=0)  # noqa: SIM115
        log.sizes[number] = 0

    def _shut(self, function: str) -> None:
        log = self._logs.pop(function, None)
        if log is not None:
            log.shut()


def split(text: bytes, *, room_bytes: int, segment_bytes: int) -> Iterator[bytes]:
    """Cut text between lines: what fits into the room that is left, then one piece a segment.

    The first piece may be empty. A line larger than a segment is a piece of its own.
    """
    start = 0
    while True:
        end = start + room_bytes
        if end < len(text):
            end = max(start, text.rfind(b"\n", start, end) + 1)
        if end == start and room_bytes == segment_bytes:
            end = text.index(b"\n", start) + 1
        yield text[start:end]
        if end >= len(text):
            return
        start, room_bytes = end, segment_bytes


def read_pages(path: Path, size_bytes: int) -> Iterator[bytes]:
    """Yield the first `size_bytes` of a file in pages of whole lines; the last may be torn."""
    offset_bytes = 0
    while offset_bytes < size_bytes:
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset_bytes)
                page = file.read(min(PAGE_BYTES, size_bytes - offset_bytes))
        except FileNotFoundError:
            return
        if not page:
            return
        page = page[: page.rfind(b"\n") + 1] or page
        offset_bytes += len(page)
        yield page


def find_entries(page: bytes, *, since: float, request_id: str | None) -> list[Entry]:
    """Return the entries of a page that are wanted."""
    if request_id is not None and f"\t{request_id}\t".encode(errors="replace") not in page:
        return []
    return [
        entry
        for entry in map(parse_line, page.split(b"\n"))
        if entry is not None
        and (request_id is None or entry.request_id == request_id)
        and entry.time >= since
    ]


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:015d}.log"
