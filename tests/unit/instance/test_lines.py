from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.instance.lines import (
    ENTRY_BYTES,
    LOG_TAIL_BYTES,
    Entry,
    LineSplitter,
    format_lines,
    parse_line,
    tail,
)

OUTPUT = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bcdefgh", "é€".encode(), b"\0"])).map(
    b"".join
)


def split(pieces: list[bytes], *, limit_bytes: int) -> tuple[list[bytes], bytes]:
    splitter = LineSplitter(limit_bytes=limit_bytes)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines, splitter.rest()


@given(output=OUTPUT, cuts=st.lists(st.integers(0, 60)), limit_bytes=st.integers(1, 12))
def test_the_lines_do_not_depend_on_how_the_output_is_cut_into_pieces(
    output: bytes, cuts: list[int], limit_bytes: int
) -> None:
    edges = [0, *sorted(min(cut, len(output)) for cut in cuts), len(output)]
    pieces = [output[a:b] for a, b in pairwise(edges)]
    *lines, rest = (line[:limit_bytes] for line in output.split(b"\n"))
    assert split(pieces, limit_bytes=limit_bytes) == (lines, rest)


def test_a_carriage_return_stays_in_the_line() -> None:
    assert LineSplitter().feed(b"a\r\n\r\n") == [b"a\r", b"\r"]


def test_an_unfinished_line_is_taken_out_once() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.rest() == b"tw"
    assert splitter.rest() == b""
    assert splitter.feed(b"o\n") == [b"o"]


def test_of_a_line_that_is_too_long_the_start_is_kept_and_the_next_line_is_whole() -> None:
    lines = LineSplitter().feed(b"x" * (ENTRY_BYTES + 1) + b"\nnext\n")
    assert lines == [b"x" * ENTRY_BYTES, b"next"]


def test_a_line_without_an_end_takes_no_more_memory_than_an_entry() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        assert splitter.feed(b"x" * 10_000) == []
    assert splitter.rest() == b"x" * ENTRY_BYTES


@pytest.mark.parametrize(
    ("lines", "text"),
    [([], b""), ([b"a"], b"a"), ([b"a", b"", b"b"], b"a\n\nb"), ([b"x" * 4096], b"x" * 4096)],
)
def test_a_short_log_is_its_own_tail(lines: list[bytes], text: bytes) -> None:
    assert tail(lines) == text


def test_the_tail_of_a_long_log_is_its_last_4_kib() -> None:
    lines = [b"line %d" % n for n in range(2000)]
    assert tail(lines) == b"\n".join(lines)[-LOG_TAIL_BYTES:]


@given(text=st.text(alphabet="aé€🦊", min_size=1), limit_bytes=st.integers(4, 40))
def test_a_tail_begins_with_a_whole_character(text: str, limit_bytes: int) -> None:
    end = tail([text.encode()], limit_bytes=limit_bytes)
    assert text.endswith(end.decode())
    assert min(len(text.encode()), limit_bytes - 3) <= len(end) <= limit_bytes


def test_a_tail_that_is_not_text_is_cut_at_its_limit() -> None:
    assert tail([b"\x80" * 100], limit_bytes=10) == b"\x80" * 10


@given(
    time_ms=st.integers(0, 2**42),
    lines=st.lists(st.binary().map(lambda line: line.replace(b"\n", b"")), min_size=1),
)
def test_what_is_formatted_is_parsed_to_the_same_entries(time_ms: int, lines: list[bytes]) -> None:
    text = format_lines(b"%d\t" % time_ms, "1-ü".encode(), b"c-1", lines)
    assert text.endswith(b"\n")
    assert [parse_line(line) for line in text[:-1].split(b"\n")] == [
        Entry(time=time_ms / 1000, request_id="1-ü", instance_id="c-1", message=line)
        for line in lines
    ]


def test_a_log_file_has_one_line_with_four_columns_for_each_entry() -> None:
    assert format_lines(b"1000\t", b"1-a", b"c-1", [b"x\ty", b""]) == (
        b"1000\t1-a\tc-1\tx\ty\n1000\t1-a\tc-1\t\n"
    )


def test_a_newline_inside_a_line_makes_two_entries() -> None:
    assert format_lines(b"1\t", b"r", b"c", [b"a\nb"]) == b"1\tr\tc\ta\n1\tr\tc\tb\n"


def test_a_formatted_entry_is_never_too_long() -> None:
    text = format_lines(b"1\t", b"r", b"c", [b"x" * (ENTRY_BYTES + 1), b"y"])
    assert text == b"1\tr\tc\t" + b"x" * ENTRY_BYTES + b"\n1\tr\tc\ty\n"


@pytest.mark.parametrize(
    "line", [b"", b"17", b"17\t1-a", b"17\t1-a\tc-1", b"x\t1-a\tc-1\tm", b"9" * 400 + b"\ta\tb\tc"]
)
def test_a_torn_line_is_not_an_entry(line: bytes) -> None:
    assert parse_line(line) is None
