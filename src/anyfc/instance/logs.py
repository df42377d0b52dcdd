"""The functions' logs: written behind the back of invocations, read and followed by request.

A line goes into a buffer and to those who follow (`buffer.py`), and from there, at most 0.1 s
later, into the files of `segments.py`. All files are touched on one thread of their own,
in order.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from anyfc.instance.buffer import NOTICE, Buffer, Follower, Record, sort_by_function
from anyfc.instance.lines import KIB, Entry, format_lines
from anyfc.instance.segments import Position, Segments

MIB = 1024 * KIB
BUFFER_BYTES = 16 * MIB
FLUSH_S = 0.1

# Between the name of a function and its id; in no name.
SEPARATOR = "\n"

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class Logs:
    """The logs of all functions. What is to be written goes into the `buffer`. For the loop only.

    `limit_bytes` bounds the files of one function, `buffer_bytes` what waits to be written. `owner`
    gives the id of the function that has a name now, None if there is none: what instances of an
    earlier one write is left out. Without it, a name is all that tells functions apart.
    """

    def __init__(
        self,
        segments: Segments,
        thread: Executor,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        clock: Callable[[], float] = time.time,
        owner: Callable[[str], str | None] | None = None,
    ) -> None:
        self.buffer = Buffer(buffer_bytes, clock)
        self._owner = owner
        self._followers: dict[Follower, str] = {}  # → its key in the buffer
        self._segments = segments
        self._thread = thread
        self._flushing = asyncio.Lock()
        # These two belong to the thread.
        self._lost: Counter[str] = Counter()  # function → lines
        self._failing: set[str] = set()  # functions

    def key(self, function: str, function_id: str) -> str:
        """Return what the instances of a function call it when they write to the buffer."""
        return function if self._owner is None else f"{function}{SEPARATOR}{function_id}"

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
        follower = Follower(request_id)
        try:
            end = await self._flush(function, follower)
            async for entry in self._stored(function, since, request_id, end):
                yield entry
            while entries := await follower.wait_entries():
                for entry in entries:
                    yield entry
        finally:
            if follower in self._followers:
                self.buffer.leave(self._followers.pop(follower), follower)

    def dismiss_followers(self) -> None:
        """End every `follow` that is under way, after what has been written until now."""
        self.buffer.dismiss_followers()

    async def remove(self, function: str) -> None:
        """Delete a function's log, with what of it is still in the buffer.

        Who follows it goes on with what the function that has the name now writes.
        """
        async with self._flushing:
            self.buffer.forget(self._current_key(function))
            for follower, key in list(self._followers.items()):
                if _name(key) == function:
                    self.buffer.leave(key, follower)
                    self._follow(function, follower)
            await self._on_thread(self._forget, function)

    async def sweep(self, kept: set[str]) -> None:
        """Delete the logs of all functions but these."""
        await self._flush()
        for function in await self._on_thread(self._segments.functions):
            if function not in kept:
                await self.remove(function)

    async def _write_forever(self) -> None:
        while True:
            await self.buffer.some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self.buffer.much.wait()
            await self._flush()

    async def _close(self) -> None:
        try:
            await self._flush()
        finally:
            await self._on_thread(self._segments.close)

    async def _flush(
        self, function: str | None = None, follower: Follower | None = None
    ) -> Position:
        """Empty the buffer into the files, and return where the function's log ends then.

        What is written later comes after that place, and goes to `follower`: nothing may wait
        between taking the buffer and adding the follower.
        """
        async with self._flushing:
            records, dropped = self.buffer.take()
            if function is not None and follower is not None:
                self._follow(function, follower)
            return await self._on_thread(self._store, records, dropped, function)

    def _follow(self, function: str, follower: Follower) -> None:
        key = self._followers[follower] = self._current_key(function)
        self.buffer.follow(key, follower)

    def _current_key(self, function: str) -> str:
        return function if self._owner is None else self.key(function, self._owner(function) or "")

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
        self, records: list[Record], dropped: Counter[str], function: str | None
    ) -> Position:
        for key, lines in dropped.items():
            if (name := self._function_of(key)) is not None:
                self._lost[name] += lines
        for key, growth in sort_by_function(records).items():
            if (name := self._function_of(key)) is None:
                continue
            texts = growth.texts
            if self._lost[name]:
                notice = f"{NOTICE} because they could not be written: {self._lost[name]}"
                stamp = texts[0].partition(b"\t")[0] + b"\t"
                texts.insert(0, format_lines(stamp, b"", b"", [notice.encode()]))
            self._append(name, b"".join(texts), growth.lines)
        return self._segments.end(function) if function is not None else Position(0, 0)

    def _function_of(self, key: str) -> str | None:
        """Return the function that a key stands for, None if it is one that is gone."""
        name = _name(key)
        return name if key == self._current_key(name) else None

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


def _name(key: str) -> str:
    return key.partition(SEPARATOR)[0]


@asynccontextmanager
async def open_logs(
    folder: Path,
    *,
    limit_bytes: int,
    buffer_bytes: int = BUFFER_BYTES,
    clock: Callable[[], float] = time.time,
    owner: Callable[[str], str | None] | None = None,
) -> AsyncIterator[Logs]:
    """Yield the logs kept in `folder`; on exit, all that was written is in the files.

    `limit_bytes` bounds the files of one function; for the rest see `Logs`.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="logs") as thread:
        segments = Segments(folder, limit_bytes=limit_bytes)
        logs = Logs(segments, thread, buffer_bytes=buffer_bytes, clock=clock, owner=owner)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(logs._write_forever(), name="log-writer")
                try:
                    yield logs
                finally:
                    writer.cancel()
        finally:
            await logs._close()
