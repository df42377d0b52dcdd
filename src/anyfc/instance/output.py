"""What an instance prints: read from its log pipe and put under the request that it belongs to."""

import asyncio
import fcntl
import os
import select
import sys
import termios
from typing import Final

from anyfc.instance.buffer import Buffer
from anyfc.instance.lines import KIB, LineSplitter, tail

READ_BYTES: Final = 64 * KIB
# What is read in one turn of the loop while lines are short: a line costs as much as many bytes.
TURN_LINES: Final = 4 * KIB
# Of what was read at once, older ones are dropped: where lines are shorter than three characters.
MOST_LINES: Final = 16 * KIB
EARLY_LINES: Final = 1000
TAIL_LINES: Final = 200
INT_BYTES: Final = 4


class Output:
    """The log pipe of one instance.

    All that a built-in runtime's request printed is in the pipe when its answer arrives
    (`bootstrap/DIALOGUE.md`), so `end` reads the pipe empty and needs no mark in the text. Lines
    between requests are counted to the one before; lines before the first request, to the first.
    What is printed while several requests are under way belongs to none of them for certain: it is
    in the log under the instance alone.
    """

    def __init__(self, pipe: int, buffer: Buffer, function: str, instance_id: str) -> None:
        self._pipe = pipe
        # Most requests print nothing: asking costs a third of a read that fails.
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._buffer = buffer
        self._function = function
        self._instance_id = instance_id.encode()
        self._splitter = LineSplitter()
        self._next_bytes = READ_BYTES  # how much the next turn reads
        self._begun = False
        self._request_id = b""  # whose the next line is
        self._running: set[bytes] = set()
        self._early: list[bytes] = []
        self._tail: list[bytes] | None = None
        self._open = True
        self._loop = asyncio.get_running_loop()
        try:
            self._loop.add_reader(pipe, self._read_next)
        except OSError:
            os.close(pipe)
            raise

    def begin(self, request_id: bytes, line: bytes, keep_tail: bool) -> None:
        """Count what follows to a request; `line` marks its start."""
        running = self._running
        running.add(request_id)
        if len(running) > 1:
            if len(running) == 2:
                self._drain()  # all of it is the first one's
            self._request_id = b""
            self._buffer.write(self._function, request_id, self._instance_id, [line])
            return
        early, self._early = self._early, []
        self._begun = True
        self._request_id = request_id
        self._tail = [] if keep_tail else None
        self._put([*early, line])

    def end(self, request_id: bytes, line: bytes) -> None:
        """Take in all that the request has printed; `line` marks its end."""
        running = self._running
        running.remove(request_id)
        if running:
            if len(running) == 1:
                self._drain()  # what was printed until now is nobody's for certain
                if rest := self._splitter.rest():
                    self._put([rest])
                self._request_id = next(iter(running))
            self._buffer.write(self._function, request_id, self._instance_id, [line])
            return
        self._drain()
        rest = self._splitter.rest()
        self._put([rest, line] if rest else [line])

    def take_tail(self, line: str) -> bytes:
        """Return the last lines of the request that ended, an empty one and `line`."""
        kept, self._tail = self._tail, None
        return tail([*(kept or []), b"", line.encode()])

    def early(self) -> bytes:
        """Return what was printed before any request."""
        self._drain()
        return b"\n".join([*self._early, self._splitter.unfinished])

    def close(self) -> None:
        """Take in what is left, and close the pipe."""
        self._drain()
        if self._open:
            self._loop.remove_reader(self._pipe)
        # The request that was running may still want to end: by then the number is another file's.
        self._open = False
        os.close(self._pipe)
        rest = self._splitter.rest()
        if rest:
            self._put([rest])
        if self._early:
            self._buffer.write(self._function, b"", self._instance_id, self._early)

    def _read_next(self) -> None:
        """Take in what is one turn's work."""
        self._read(self._next_bytes)

    def _read(self, most_bytes: int) -> int:
        """Take in one piece and return its size; 0 if there is none now."""
        try:
            data = os.read(self._pipe, most_bytes)
        except BlockingIOError:
            return 0
        if not data:  # every process that could print is gone
            self._open = False
            self._loop.remove_reader(self._pipe)
            return 0
        lines = self._splitter.feed(data)
        self._next_bytes = min(READ_BYTES, TURN_LINES * len(data) // max(len(lines), 1))
        if len(lines) > MOST_LINES:
            self._buffer.leave_out(self._function, len(lines) - MOST_LINES)
            lines = lines[-MOST_LINES:]
        if lines:
            self._put(lines)
        return len(data)

    def _drain(self) -> None:
        """Take in what is in the pipe now, and no more: somebody may print all the time."""
        if not self._open or not self._poll.poll(0):
            return
        there = bytearray(INT_BYTES)
        fcntl.ioctl(self._pipe, termios.FIONREAD, there)
        left_bytes = int.from_bytes(there, sys.byteorder)
        while left_bytes > 0 and (taken_bytes := self._read(READ_BYTES)):
            left_bytes -= taken_bytes

    def _put(self, lines: list[bytes]) -> None:
        if not self._begun:
            self._early += lines[: EARLY_LINES - len(self._early)]
            return
        if self._tail is not None:
            self._tail += lines
            if len(self._tail) > TAIL_LINES:
                self._tail = [tail(self._tail)]
        self._buffer.write(self._function, self._request_id, self._instance_id, lines)
