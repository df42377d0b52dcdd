import asyncio
import os
from collections import Counter
from itertools import pairwise

import pytest

from anyfc.instance.lines import ENTRY_BYTES
from anyfc.instance.output import EARLY_LINES, MOST_LINES, READ_BYTES, TURN_LINES, Output


class FakeBuffer:
    """Remembers what was written, by request."""

    def __init__(self):
        self.written = []
        self.left_out = Counter()

    def leave_out(self, function, lines):
        self.left_out[function] += lines

    def write(self, function, request_id, instance_id, lines):
        assert (function, instance_id) == ("f", b"c-1")
        self.written += [(request_id, bytes(line)) for line in lines]

    def of(self, request_id):
        return [line for written_for, line in self.written if written_for == request_id]


class Pipe:
    """The two ends of an instance's output."""

    def __init__(self):
        self.buffer = FakeBuffer()
        reader, self._writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(self._writer, False)
        self.output = Output(reader, self.buffer, "f", "c-1")

    def print(self, text):
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(self._writer, rest) :]

    def hang_up(self):
        os.close(self._writer)
        self._writer = -1

    def close(self):
        self.output.close()
        if self._writer >= 0:
            self.hang_up()


def scenario(body):
    """Run a test with a pipe; no descriptor may be left open."""

    def run():
        async def main():
            before = len(os.listdir("/proc/self/fd"))
            pipe = Pipe()
            try:
                await body(pipe)
            finally:
                pipe.close()
            assert len(os.listdir("/proc/self/fd")) == before

        asyncio.run(main())

    run.__name__ = body.__name__
    return run


async def look():
    """Let the loop see what is in the pipe."""
    for _ in range(3):
        await asyncio.sleep(0)


@scenario
async def test_what_a_request_prints_stands_between_its_marks(pipe):
    pipe.output.begin(b"r1", b"start r1", False)
    pipe.print(b"one\ntwo\n")
    pipe.output.end(b"r1", b"end r1")
    assert pipe.buffer.written == [
        (b"r1", text) for text in (b"start r1", b"one", b"two", b"end r1")
    ]


@scenario
async def test_all_of_it_is_taken_in_at_the_end_of_the_request(pipe):
    pipe.output.begin(b"r1", b"start", False)
    lines = [b"%05d" % number for number in range(8000)]  # most of what a pipe holds
    pipe.print(b"\n".join(lines) + b"\n")
    pipe.output.end(b"r1", b"end")
    assert pipe.buffer.of(b"r1") == [b"start", *lines, b"end"]


@scenario
async def test_a_last_line_without_a_newline_belongs_to_its_request(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.print(b"no newline")
    pipe.output.end(b"r1", b"end")
    pipe.output.begin(b"r2", b"start", False)
    pipe.print(b"other\n")
    pipe.output.end(b"r2", b"end")
    assert pipe.buffer.of(b"r1") == [b"start", b"no newline", b"end"]
    assert pipe.buffer.of(b"r2") == [b"start", b"other", b"end"]


@scenario
async def test_lines_are_read_while_the_request_runs(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.print(b"one\nhalf")
    await look()
    assert pipe.buffer.of(b"r1") == [b"start", b"one"]
    pipe.print(b" a line\n")
    await look()
    assert pipe.buffer.of(b"r1") == [b"start", b"one", b"half a line"]


@scenario
async def test_what_is_printed_before_any_request_belongs_to_the_first(pipe):
    pipe.print(b"hello\n")
    await look()
    assert pipe.buffer.written == []
    pipe.output.begin(b"r1", b"start", False)
    assert pipe.buffer.of(b"r1") == [b"hello", b"start"]


@scenario
async def test_what_is_printed_before_any_request_is_bounded(pipe):
    pipe.print(b"line\n" * (EARLY_LINES + 100))
    await look()
    pipe.output.begin(b"r1", b"start", False)
    assert len(pipe.buffer.of(b"r1")) == EARLY_LINES + 1


@scenario
async def test_what_is_printed_between_requests_belongs_to_the_one_before(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.output.end(b"r1", b"end")
    pipe.print(b"late\n")
    await look()
    assert pipe.buffer.of(b"r1") == [b"start", b"end", b"late"]


def test_what_is_printed_without_any_request_is_kept_when_the_instance_goes():
    async def main():
        pipe = Pipe()
        pipe.print(b"hello\nand no more")
        pipe.close()
        assert pipe.buffer.of(b"") == [b"hello", b"and no more"]

    asyncio.run(main())


def test_what_is_in_the_pipe_when_the_instance_goes_is_not_lost():
    async def main():
        pipe = Pipe()
        pipe.output.begin(b"r1", b"start", False)
        pipe.print(b"last words\nhalf a word")
        pipe.hang_up()
        pipe.close()
        assert pipe.buffer.of(b"r1") == [b"start", b"last words", b"half a word"]

    asyncio.run(main())


@scenario
async def test_a_pipe_whose_writers_are_gone_is_not_asked_again(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.print(b"last words\n")
    pipe.hang_up()
    await look()
    assert pipe.buffer.of(b"r1") == [b"start", b"last words"]
    pipe.output.end(b"r1", b"end")
    assert pipe.buffer.of(b"r1")[-1] == b"end"


@scenario
async def test_early_words_can_be_taken_to_explain_a_failed_start(pipe):
    pipe.print(b"Traceback\nImportError")
    assert pipe.output.early() == b"Traceback\nImportError"
    assert pipe.buffer.written == []


@scenario
async def test_a_line_that_never_ends_is_cut(pipe):
    pipe.output.begin(b"r1", b"start", False)
    for _ in range(ENTRY_BYTES // 1024 + 10):
        pipe.print(b"x" * 1024)
        await look()
    pipe.print(b"\nnext\n")
    pipe.output.end(b"r1", b"end")
    assert pipe.buffer.of(b"r1") == [b"start", b"x" * ENTRY_BYTES, b"next", b"end"]


# --- several requests at once ---


@scenario
async def test_each_of_several_requests_has_its_marks_and_what_is_printed_is_nobodys(pipe):
    pipe.output.begin(b"r1", b"start r1", False)
    pipe.print(b"of r1\n")
    pipe.output.begin(b"r2", b"start r2", False)
    pipe.print(b"of one of them\nor the other")
    pipe.output.end(b"r1", b"end r1")
    pipe.print(b"of r2\n")
    pipe.output.end(b"r2", b"end r2")
    assert pipe.buffer.of(b"r1") == [b"start r1", b"of r1", b"end r1"]
    assert pipe.buffer.of(b"r2") == [b"start r2", b"of r2", b"end r2"]
    assert pipe.buffer.of(b"") == [b"of one of them", b"or the other"]


@scenario
async def test_requests_may_end_in_any_order(pipe):
    for name in (b"r1", b"r2", b"r3"):
        pipe.output.begin(name, b"start", False)
    for name in (b"r2", b"r3", b"r1"):
        pipe.print(b"before the end of %b\n" % name)
        pipe.output.end(name, b"end")
    assert pipe.buffer.of(b"") == [b"before the end of r2", b"before the end of r3"]
    assert pipe.buffer.of(b"r1") == [b"start", b"before the end of r1", b"end"]
    assert pipe.buffer.of(b"r2") == pipe.buffer.of(b"r3") == [b"start", b"end"]


@scenario
async def test_after_several_requests_a_line_belongs_to_the_last_that_was_alone(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.output.begin(b"r2", b"start", False)
    pipe.output.end(b"r1", b"end")
    pipe.output.end(b"r2", b"end")
    pipe.print(b"late\n")
    await look()
    assert pipe.buffer.of(b"r2") == [b"start", b"end", b"late"]
    pipe.output.begin(b"r3", b"start", False)
    pipe.print(b"of r3\n")
    pipe.output.end(b"r3", b"end")
    assert pipe.buffer.of(b"r3") == [b"start", b"of r3", b"end"]


@scenario
async def test_what_was_printed_before_the_first_of_several_requests_belongs_to_it(pipe):
    pipe.print(b"hello\n")
    pipe.output.begin(b"r1", b"start", False)
    pipe.output.begin(b"r2", b"start", False)
    pipe.output.end(b"r1", b"end")
    pipe.output.end(b"r2", b"end")
    assert pipe.buffer.of(b"r1") == [b"start", b"hello", b"end"]


# --- the tail ---


@scenario
async def test_the_tail_ends_with_the_summary_behind_an_empty_line(pipe):
    pipe.output.begin(b"r1", b"start", True)
    pipe.print(b"one\n")
    pipe.output.end(b"r1", b"end")
    assert pipe.output.take_tail("summary") == b"start\none\nend\n\nsummary"


@scenario
async def test_the_tail_of_one_request_holds_nothing_of_another(pipe):
    pipe.output.begin(b"r1", b"start r1", True)
    pipe.print(b"one\n")
    pipe.output.end(b"r1", b"end r1")
    pipe.output.take_tail("summary")
    pipe.output.begin(b"r2", b"start r2", True)
    pipe.output.end(b"r2", b"end r2")
    assert pipe.output.take_tail("summary") == b"start r2\nend r2\n\nsummary"


@scenario
async def test_the_tail_is_the_last_4_kib_however_much_is_printed(pipe):
    pipe.output.begin(b"r1", b"start", True)
    for number in range(2000):
        pipe.print(b"line %04d\n" % number)
        if number % 100 == 0:
            await look()
    pipe.output.end(b"r1", b"end")
    tail = pipe.output.take_tail("summary")
    assert len(tail) == 4096
    assert tail.endswith(b"line 1998\nline 1999\nend\n\nsummary")
    assert len(pipe.buffer.of(b"r1")) == 2002


@scenario
async def test_nobody_who_did_not_ask_for_a_tail_gets_one(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.print(b"one\n")
    pipe.output.end(b"r1", b"end")
    assert pipe.output.take_tail("summary") == b"\nsummary"


# --- more than can be read ---


@pytest.mark.parametrize("text", [b"x" * 1023 + b"\n", b"\n" * READ_BYTES])
def test_a_child_that_prints_without_end_does_not_hold_up_the_end(monkeypatch, text):
    async def main():
        pipe = Pipe()
        taken = 0
        real_read = os.read

        def read(descriptor, size):
            nonlocal taken
            taken_now = real_read(descriptor, size)
            taken += len(taken_now)
            pipe.print(taken_now)  # there is always more
            return taken_now

        pipe.output.begin(b"r1", b"start", False)
        pipe.print(text)
        monkeypatch.setattr("anyfc.instance.output.os.read", read)
        pipe.output.end(b"r1", b"end")
        monkeypatch.undo()
        assert taken == len(text)
        assert pipe.buffer.of(b"r1")[-1] == b"end"
        pipe.close()

    asyncio.run(main())


def test_output_that_somebody_else_has_read_is_not_waited_for(monkeypatch):
    async def main():
        pipe = Pipe()
        real_read = os.read

        def read(descriptor, size):
            real_read(descriptor, size)
            return real_read(descriptor, size)

        pipe.output.begin(b"r1", b"start", False)
        pipe.print(b"stolen\n")
        monkeypatch.setattr("anyfc.instance.output.os.read", read)
        pipe.output.end(b"r1", b"end")
        monkeypatch.undo()
        assert pipe.buffer.of(b"r1") == [b"start", b"end"]
        pipe.close()

    asyncio.run(main())


@scenario
async def test_of_short_lines_a_turn_of_the_loop_takes_in_only_so_many(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.print(b"\n" * 2 * TURN_LINES)
    await look()  # from here on it is known how short they are
    pipe.print(b"\n" * 6 * TURN_LINES)
    seen = [len(pipe.buffer.written)]
    while seen[-1] < 1 + 8 * TURN_LINES:
        await asyncio.sleep(0)
        seen.append(len(pipe.buffer.written))
    assert max(after - before for before, after in pairwise(seen)) == TURN_LINES


@scenario
async def test_after_short_lines_long_ones_are_read_in_large_pieces_again(pipe):
    pipe.output.begin(b"r1", b"start", False)
    pipe.print(b"\n" * 2 * TURN_LINES)
    await look()
    pipe.print(b"x" * 2 * TURN_LINES + b"\n")
    await look()
    pipe.print(b"y\n" + b"z" * (READ_BYTES - 3) + b"\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pipe.buffer.of(b"r1")[-1] == b"z" * ENTRY_BYTES


@scenario
async def test_of_very_many_lines_at_once_the_last_are_kept_and_the_others_are_counted(pipe):
    pipe.output.begin(b"r1", b"start", False)
    lines = [b"abc"] * MOST_LINES
    pipe.print(b"\n".join([*lines, b""]))
    pipe.output.end(b"r1", b"end")
    assert pipe.buffer.of(b"r1") == [b"start", *lines, b"end"]
    assert not pipe.buffer.left_out
    pipe.output.begin(b"r2", b"start", False)
    lines = [b"%d" % (number % 10) for number in range(MOST_LINES + 7)]
    pipe.print(b"\n".join([*lines, b""]))
    pipe.output.end(b"r2", b"end")
    assert pipe.buffer.of(b"r2") == [b"start", *lines[7:], b"end"]
    assert pipe.buffer.left_out == {"f": 7}


@pytest.mark.parametrize("close_first", [True, False])
def test_closing_leaves_no_reader_on_the_loop(close_first):
    async def main():
        pipe = Pipe()
        if close_first:
            pipe.hang_up()
            await look()
        pipe.close()
        reader, writer = os.pipe()  # the same numbers again
        os.write(writer, b"not for us\n")
        await look()
        assert pipe.buffer.written == []
        os.close(reader)
        os.close(writer)

    asyncio.run(main())
