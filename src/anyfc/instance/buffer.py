"""Buffer: lines of the functions' logs on their way into the files, and to those who follow.

Lines are brought into the form of the files when they come: it takes little then, and the thread
that writes the files would hold up the loop with it ten times a second.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from anyfc.instance.lines import ENTRY_BYTES, KIB, Entry, format_lines

FOLLOWER_BYTES: Final = 1024 * KIB
# What a record costs in memory beside its text.
RECORD_BYTES: Final = 250
NOTICE: Final = "lines left out here"


class Record:
    """Lines that were written together, as they stand in the file."""

    __slots__ = ("function", "lines", "text")

    def __init__(self, function: str, text: bytes, lines: int) -> None:
        self.function = function
        self.text = text
        self.lines = lines


class Growth:
    """What one function's log is to grow by."""

    __slots__ = ("lines", "texts")

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.lines = 0


def sort_by_function(records: list[Record]) -> dict[str, Growth]:
    """Put together what is one function's."""
    growths: dict[str, Growth] = {}
    for record in records:
        growth = growths.get(record.function)
        if growth is None:
            growth = growths[record.function] = Growth()
        growth.texts.append(record.text)
        growth.lines += record.lines
    return growths


class Follower:
    """New lines for one reader; what it is too slow for is counted instead of kept."""

    def __init__(self, request_id: str | None) -> None:
        self._request_id = request_id.encode() if request_id is not None else None
        self._entries: list[Entry] = []
        self._size_bytes = 0
        self._lost = 0
        self._dismissed = False
        self._changed = asyncio.Event()

    def offer(
        self, time_ms: int, request_id: bytes, instance_id: bytes, lines: list[bytes], size: int
    ) -> None:
        if self._request_id is not None and self._request_id != request_id:
            return
        full = bool(self._entries) and self._size_bytes + size > FOLLOWER_BYTES
        # Once one is lost, so are those behind it, until the reader has been told.
        if full or self._lost:
            self._lost += len(lines)
            return
        for line in lines:
            self._entries.append(
                Entry(
                    time=time_ms / 1000,
                    request_id=request_id.decode(),
                    instance_id=instance_id.decode(),
                    message=line[:ENTRY_BYTES],
                )
            )
        self._size_bytes += size
        self._changed.set()

    async def wait_entries(self) -> list[Entry]:
        """Return what came since the last call, at least one entry; none at the end."""
        await self._changed.wait()
        if not self._dismissed:
            self._changed.clear()
        entries = self._entries
        if self._lost:
            notice = f"{NOTICE} because they came faster than they were read: {self._lost}"
            entries.append(
                Entry(time=entries[-1].time, request_id="", instance_id="", message=notice.encode())
            )
        self._entries = []
        self._size_bytes = 0
        self._lost = 0
        return entries

    def dismiss(self) -> None:
        self._dismissed = True
        self._changed.set()


class Buffer:
    """What waits to be written, at most `limit_bytes`; belongs to the loop."""

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._time_ms = 0
        self._stamp = b"0\t"  # the same time, in the form of the files
        self._records: list[Record] = []
        self._size_bytes = 0
        self._dropped: Counter[str] = Counter()  # function → lines
        self._followers: dict[str, list[Follower]] = {}
        self.some = asyncio.Event()  # there is something
        self.much = asyncio.Event()  # and it should not wait

    def write(
        self, function: str, request_id: bytes, instance_id: bytes, lines: list[bytes]
    ) -> None:
        """Add lines, which hold no newline, to a function's log; only remembers them.

        When the buffer is full, the oldest lines give way, and a line in the log says how many did.
        """
        if not lines:
            return
        time_ms = int(self._clock() * 1000)
        if time_ms != self._time_ms:
            self._time_ms = time_ms
            self._stamp = b"%d\t" % time_ms
        text = format_lines(self._stamp, request_id, instance_id, lines)
        if not self._records:
            self.some.set()
        self._records.append(Record(function, text, len(lines)))
        self._size_bytes += RECORD_BYTES + len(text)
        if self._size_bytes > self._limit_bytes // 4:
            self.much.set()
            self._drop_oldest()
        if self._followers and function in self._followers:
            for follower in self._followers[function]:
                follower.offer(time_ms, request_id, instance_id, lines, len(text))

    def leave_out(self, function: str, lines: int) -> None:
        """Count lines that were dropped before they could be written."""
        self._dropped[function] += lines

    def take(self) -> tuple[list[Record], Counter[str]]:
        """Take out everything: the records, and how many lines of which function were dropped."""
        records, self._records = self._records, []
        dropped, self._dropped = self._dropped, Counter()
        self._size_bytes = 0
        self.some.clear()
        self.much.clear()
        return records, dropped

    def forget(self, function: str) -> None:
        """Drop what is here of a function, without a word."""
        kept = [record for record in self._records if record.function != function]
        self._records = kept
        self._size_bytes = sum([RECORD_BYTES + len(record.text) for record in kept])
        self._dropped.pop(function, None)

    def follow(self, function: str, follower: Follower) -> None:
        """Offer a follower all that is written from now on."""
        self._followers.setdefault(function, []).append(follower)

    def leave(self, function: str, follower: Follower) -> None:
        """Offer a follower, if it is one yet, nothing more."""
        followers = self._followers.get(function, [])
        if follower in followers:
            followers.remove(follower)
        if not followers:
            self._followers.pop(function, None)

    def dismiss_followers(self) -> None:
        for followers in self._followers.values():
            for follower in followers:
                follower.dismiss()

    def _drop_oldest(self) -> None:
        given_way = 0
        while self._size_bytes > self._limit_bytes:
            record = self._records[given_way]
            self._size_bytes -= RECORD_BYTES + len(record.text)
            self._dropped[record.function] += record.lines
            given_way += 1
        del self._records[:given_way]
