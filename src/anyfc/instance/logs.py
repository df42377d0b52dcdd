"""The functions' logs: written behind the back of invocations, read and followed by request.

A line goes from `write` into a buffer and to those who follow, and from the buffer, at most 0.1 s
later, into the files of `segments.py`. All files are touched on one thread of their own, in order.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from anyfc.instance.lines import ENTRY_BYTES, KIB, Entry, format_lines
from anyfc.instance.segments import Position, Segments

MIB = 1024 * KIB
BUFFER_BYTES = 16 * MIB
FOLLOWER_BYTES = 1 * MIB
FLUSH_S = 0.1
# What a record and a line of it cost in memory beside their text.
RECORD_BYTES = 250
LINE_BYTES = 50
NOTICE = "lines left out here"

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class _Record(NamedTuple):
    """Lines that were written together."""

    time_ms: int
    function: str
    request_id: str
    instance_id: str
    lines: Sequence[bytes]
    size_bytes: int

    def entries(self) -> Iterable[Entry]:
        for line in self.lines:
            yield Entry(
                time=self.time_ms / 1000,
                request_id=self.request_id,
                instance_id=self.instance_id,
                message=line[:ENTRY_BYTES],
            )


class _Follower:
    """New records for one reader; what it is too slow for is counted instead of kept."""

    def __init__(self, request_id: str | None) -> None:
        self._request_id = request_id
        self._records: list[_Record] = []
        self._size_bytes = 0
        self._lost = 0
        self._dismissed = False
        self._changed = asyncio.Event()

    def offer(self, record: _Record) -> None:
        if self._request_id not in (None, record.request_id):
            return
        full = self._records and self._size_bytes + record.size_bytes > FOLLOWER_BYTES
        # Once one is lost, so are those behind it, until the reader has been told.
        if full or self._lost:
            self._lost += len(record.lines)
            return
        self._records.append(record)
        self._size_bytes += record.size_bytes
        self._changed.set()

    async def wait_entries(self) -> list[Entry]:
        """Return what came since the last call, at least one entry; none at the end."""
        await self._changed.wait()
        if not self._dismissed:
            self._changed.clear()
        entries = [entry for record in self._records for entry in record.entries()]
        if self._lost:
            notice = f"{NOTICE} because they came faster than they were read: {self._lost}"
            entries.append(
                Entry(time=entries[-1].time, request_id="", instance_id="", message=notice.encode())
            )
        self._records, self._size_bytes, self._lost = [], 0, 0
        return entries

    def dismiss(self) -> None:
        self._dismissed = True
        self._changed.set()


class Logs:
    """The logs of all functions. `write` and the rest are called on the loop, not on threads.

    `limit_bytes` bounds the files of one function, `buffer_bytes` what waits to be written.
    """

    def __init__(
        self,
        segments: Segments,
        thread: Executor,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._segments = segments
        self._thread = thread
        self._buffer_bytes = buffer_bytes
        self._clock = clock
        self._buffer: deque[_Record] = deque()
        self._buffered_bytes = 0
        self._dropped: Counter[str] = Counter()  # function → lines
        self._followers: defaultdict[str, list[_Follower]] = defaultdict(list)
        self._some = asyncio.Event()
        self._much = asyncio.Event()
        self._flushing = asyncio.Lock()
        # These two belong to the thread.
        self._lost: Counter[str] = Counter()  # function → lines
        self._failing: set[str] = set()  # functions

    def write(
        self, function: str, request_id: str, instance_id: str, lines: Sequence[bytes]
    ) -> None:
        """Add lines, which hold no newline, to a function's log; only remembers them.

        The sequence is kept and must not be changed afterwards. When the buffer is full, the
        oldest lines give way, and a line in the log says how many did.
        """
        if not lines:
            return
        size_bytes = RECORD_BYTES + LINE_BYTES * len(lines) + sum(map(len, lines))
        time_ms = int(self._clock() * 1000)
        record = _Record(time_ms, function, request_id, instance_id, lines, size_bytes)
        if not self._buffer:
            self._some.set()
        self._buffer.append(record)
        self._buffered_bytes += size_bytes
        if self._buffered_bytes > self._buffer_bytes // 4:
            self._much.set()
            self._drop_oldest()
        if function in self._followers:
            for follower in self._followers[function]:
                follower.offer(record)

    async def read(
        self, function: str, *, since: float | None = None, request_id: str | None = None
    ) -> AsyncGenerator[Entry, None]:
        """Yield what has been written, oldest first; `since` is seconds since 1970."""
        end = await self._flush(function)
        async for entry in self._stored(function, since, request_id, end):
            yield entry

    async def follow(
        self, function: str, *, since: float | None = None, request_id: str | None = None
    ) -> AsyncGenerator[Entry, None]:
        """Yield what has been written, as `read` does, and then what is written from now on.

        A reader that is too slow loses lines, and an entry without request id says how many.
        """
        follower = _Follower(request_id)
        try:
            end = await self._flush(function, follower)
            async for entry in self._stored(function, since, request_id, end):
                yield entry
            while entries := await follower.wait_entries():
                for entry in entries:
                    yield entry
        finally:
            self._leave(function, follower)

    def dismiss_followers(self) -> None:
        """End every `follow` that is under way, after what has been written until now."""
        for followers in self._followers.values():
            for follower in followers:
                follower.dismiss()

    async def remove(self, function: str) -> None:
        """Delete a function's log, with what of it is still in the buffer."""
        async with self._flushing:
            kept = [record for record in self._buffer if record.function != function]
            self._buffer = deque(kept)
            self._buffered_bytes = sum(record.size_bytes for record in kept)
            del self._dropped[function]
            await self._on_thread(self._forget, function)

    async def sweep(self, kept: set[str]) -> None:
        """Delete the logs of all functions but these."""
        await self._flush()
        for function in await self._on_thread(self._segments.functions):
            if function not in kept:
                await self.remove(function)

    def _drop_oldest(self) -> None:
        while self._buffered_bytes > self._buffer_bytes:
            record = self._buffer.popleft()
            self._buffered_bytes -= record.size_bytes
            self._dropped[record.function] += len(record.lines)

    def _leave(self, function: str, follower: _Follower) -> None:
        followers = self._followers[function]
        with suppress(ValueError):  # cancelled before it was one
            followers.remove(follower)
        if not followers:
            del self._followers[function]

    async def _write_forever(self) -> None:
        while True:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._much.wait()
            await self._flush()

    async def _close(self) -> None:
        try:
            await self._flush()
        finally:
            await self._on_thread(self._segments.close)

    async def _flush(
        self, function: str | None = None, follower: _Follower | None = None
    ) -> Position:
        """Empty the buffer into the files, and return where the function's log ends then.

        What is written later comes after that place, and goes to `follower`: nothing may wait
        between taking the buffer and adding the follower.
        """
        async with self._flushing:
            records, self._buffer = self._buffer, deque()
            dropped, self._dropped = self._dropped, Counter()
            self._buffered_bytes = 0
            self._some.clear()
            self._much.clear()
            if function is not None and follower is not None:
                self._followers[function].append(follower)
            return await self._on_thread(self._store, records, dropped, function)

    async def _on_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # Shielded: what was taken out of the buffer is written even if who waits is cancelled.
        future = asyncio.wrap_future(self._thread.submit(work, *args, **kwargs))
        return await asyncio.shield(future)

    async def _stored(
        self, function: str, since: float | None, request_id: str | None, end: Position
    ) -> AsyncGenerator[Entry, None]:
        pages = self._segments.pages(function, since=since, request_id=request_id, end=end)
        while (page := await self._on_thread(next, pages, None)) is not None:
            for entry in page:
                yield entry

    # On the thread

    def _store(
        self, records: Iterable[_Record], dropped: Counter[str], function: str | None
    ) -> Position:
        self._lost += dropped
        texts: defaultdict[str, list[bytes]] = defaultdict(list)
        lines: Counter[str] = Counter()
        for time_ms, name, request_id, instance_id, new, _ in records:
            if name not in texts and self._lost[name]:
                notice = f"{NOTICE} because they could not be written: {self._lost[name]}"
                texts[name].append(format_lines(time_ms, "", "", [notice.encode()]))
            texts[name].append(format_lines(time_ms, request_id, instance_id, new))
            lines[name] += len(new)
        for name, text in texts.items():
            self._append(name, b"".join(text), lines[name])
        return self._segments.end(function) if function is not None else Position(0, 0)

    def _append(self, function: str, text: bytes, lines: int) -> None:
        try:
            self._segments.append(function, text)
        except OSError:
            self._lost[function] += lines
            # Said once, not ten times a second for as long as a disk is full.
            if function not in self._failing:
                self._failing.add(function)
                log.exception("function log not written", extra={"function": function})
        else:
            del self._lost[function]
            self._failing.discard(function)

    def _forget(self, function: str) -> None:
        del self._lost[function]
        self._failing.discard(function)
        self._segments.remove(function)


@asynccontextmanager
async def open_logs(
    folder: Path,
    *,
    limit_bytes: int,
    buffer_bytes: int = BUFFER_BYTES,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Logs]:
    """Yield the logs kept in `folder`; on exit, all that was written is in the files.

    `limit_bytes` bounds the files of one function, `buffer_bytes` what waits to be written.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="logs") as thread:
        segments = Segments(folder, limit_bytes=limit_bytes)
        logs = Logs(segments, thread, buffer_bytes=buffer_bytes, clock=clock)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(logs._write_forever(), name="log-writer")
                try:
                    yield logs
                finally:
                    writer.cancel()
        finally:
            await logs._close()
