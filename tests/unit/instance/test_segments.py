import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.instance.lines import KIB, format_lines
from anyfc.instance.segments import PAGE_BYTES, Position, Segments, split

LIMIT_BYTES = 512 * KIB


def text(time_ms: int, *messages: bytes, request_id: str = "1-a") -> bytes:
    return format_lines(b"%d\t" % time_ms, request_id.encode(), b"c-1", list(messages))


def messages(
    segments: Segments,
    *,
    since: float | None = None,
    request_id: str | None = None,
    end: Position | None = None,
) -> list[bytes]:
    end = end or segments.end("f")
    pages = segments.pages("f", since=since, request_id=request_id, end=end)
    return [entry.message for page in pages for entry in page]


def stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.log"))


def open_segments(folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> "closing[Segments]":
    return closing(Segments(folder, limit_bytes=limit_bytes))


@pytest.fixture
def segments(tmp_path: Path) -> Iterator[Segments]:
    with open_segments(tmp_path) as segments:
        yield segments


def test_a_function_that_never_wrote_has_an_empty_log(segments: Segments) -> None:
    assert messages(segments) == []
    segments.remove("f")


def test_entries_come_back_in_order(segments: Segments) -> None:
    segments.append("f", text(1, b"one", b"two"))
    segments.append("g", text(1, b"other"))
    segments.append("f", text(2, b"three"))
    assert messages(segments) == [b"one", b"two", b"three"]


def test_a_log_goes_on_after_a_restart(segments: Segments, tmp_path: Path) -> None:
    segments.append("f", text(1, b"one"))
    with open_segments(tmp_path) as after:
        after.append("f", text(2, b"two"))
        assert messages(after) == [b"one", b"two"]
    assert len(list(tmp_path.rglob("*.log"))) == 1


def test_a_log_never_outgrows_its_limit_and_keeps_the_newest(
    segments: Segments, tmp_path: Path
) -> None:
    wrote = []
    for n in range(300):
        new = [b"%d-%d-" % (n, m) + b"x" * 300 for m in range(n % 40 + 1)]
        segments.append("f", text(n, *new))
        wrote += new
        assert stored_bytes(tmp_path) <= LIMIT_BYTES
    kept = messages(segments)
    assert kept == wrote[-len(kept) :]
    assert stored_bytes(tmp_path) > LIMIT_BYTES * 3 // 4


def test_one_batch_larger_than_the_limit_leaves_its_end(segments: Segments, tmp_path: Path) -> None:
    wrote = [b"%06d" % n + b"x" * 100 for n in range(10_000)]
    segments.append("f", text(1, *wrote))
    kept = messages(segments)
    assert kept == wrote[-len(kept) :]
    assert LIMIT_BYTES // 2 < stored_bytes(tmp_path) <= LIMIT_BYTES


def test_a_smaller_limit_than_before_holds_after_the_next_rotation(tmp_path: Path) -> None:
    with open_segments(tmp_path, limit_bytes=4 * LIMIT_BYTES) as before:
        before.append("f", text(1, *[b"x" * 1000] * 2000))
    with open_segments(tmp_path) as after:
        after.append("f", text(2, *[b"y" * 1000] * 100))
    assert stored_bytes(tmp_path) <= LIMIT_BYTES


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1),
    room_bytes=st.integers(0, 20),
    segment_bytes=st.integers(1, 20),
)
def test_a_text_is_split_only_between_lines(
    sizes: list[int], room_bytes: int, segment_bytes: int
) -> None:
    whole = b"".join(b"x" * (size - 1) + b"\n" for size in sizes)
    first, *others = split(whole, room_bytes=room_bytes, segment_bytes=segment_bytes)
    assert first + b"".join(others) == whole
    assert len(first) <= room_bytes or (room_bytes == segment_bytes and first.count(b"\n") == 1)
    for piece in others:
        assert piece.endswith(b"\n")
        assert len(piece) <= segment_bytes or piece.count(b"\n") == 1


@pytest.mark.parametrize("cut", range(1, len(text(2, b"torn"))))
def test_a_line_that_a_crash_has_torn_harms_no_other(tmp_path: Path, cut: int) -> None:
    with open_segments(tmp_path) as before:
        before.append("f", text(1, b"whole"))
        before.append("f", text(2, b"torn"))
    (path,) = tmp_path.rglob("*.log")
    os.truncate(path, path.stat().st_size - cut)

    with open_segments(tmp_path) as after:
        first, *torn = messages(after)
        assert first == b"whole"
        assert all(b"torn".startswith(message) for message in torn)
        after.append("f", text(3, b"next"))
        assert messages(after) == [b"whole", *torn, b"next"]


def test_entries_can_be_chosen_by_time_and_by_request(segments: Segments) -> None:
    for n in range(1000):
        new = [b"%d" % n, b"x" * 500]
        segments.append("f", text(n * 10, *new, request_id=f"1-{n % 3}"))
    assert messages(segments, since=9.98) == [b"998", b"x" * 500, b"999", b"x" * 500]
    assert messages(segments, since=9.981) == [b"999", b"x" * 500]
    chosen = messages(segments, request_id="1-2")
    assert chosen[::2][-3:] == [b"992", b"995", b"998"]
    assert messages(segments, request_id="1-") == []


def test_segments_that_are_too_old_are_not_opened(segments: Segments, tmp_path: Path) -> None:
    for n in range(300):
        segments.append("f", text(n, b"x" * 1000))
    oldest, *_ = sorted(tmp_path.rglob("*.log"))
    oldest.unlink()
    oldest.mkdir()  # to open it would raise
    assert len(messages(segments, since=0.290)) == 10


def test_a_page_boundary_inside_a_line_does_not_matter(tmp_path: Path) -> None:
    wrote = [b"%d-" % n + b"x" * (n % 700) for n in range(2000)]
    with open_segments(tmp_path, limit_bytes=32 * LIMIT_BYTES) as segments:
        segments.append("f", text(1, *wrote))
        assert stored_bytes(tmp_path) > 3 * PAGE_BYTES
        assert messages(segments) == wrote


def test_reading_stops_at_the_given_end(segments: Segments) -> None:
    segments.append("f", text(1, b"before"))
    end = segments.end("f")
    segments.append("f", text(2, *[b"x" * 1000] * 100))
    assert messages(segments, end=end) == [b"before"]


def test_segments_may_vanish_while_they_are_read(tmp_path: Path) -> None:
    with open_segments(tmp_path, limit_bytes=4 * LIMIT_BYTES) as segments:
        segments.append("f", text(1, *[b"x" * 1000] * 2000))
        pages = segments.pages("f", since=None, request_id=None, end=segments.end("f"))
        assert next(pages)
        segments.remove("f")
        assert list(pages) == []


def test_a_clock_that_is_set_back_does_not_change_the_order(segments: Segments) -> None:
    for n in range(300):
        segments.append("f", text(10_000 - n, b"%d-" % n + b"x" * 1000))
    assert [message.split(b"-")[0] for message in messages(segments)] == [
        b"%d" % n for n in range(300)
    ]


def test_a_removed_log_leaves_nothing_and_can_begin_again(
    segments: Segments, tmp_path: Path
) -> None:
    segments.append("f", text(1, b"old"))
    segments.remove("f")
    assert list(tmp_path.iterdir()) == []
    segments.append("f", text(2, b"new"))
    assert messages(segments) == [b"new"]


def test_few_files_stay_open_however_many_functions_write(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    segments = Segments(tmp_path, limit_bytes=LIMIT_BYTES, open_files=8)
    for round_number in range(2):
        for n in range(1000):
            segments.append(f"f{n}", text(round_number, b"hello"))
    assert len(os.listdir("/dev/fd")) <= before + 8
    segments.close()
    assert len(os.listdir("/dev/fd")) == before
    assert stored_bytes(tmp_path) == 2000 * len(text(1, b"hello"))


def test_a_function_of_a_service_has_a_log_of_its_own(segments: Segments, tmp_path: Path) -> None:
    for name in ("s", "f", "s$f"):
        segments.append(name, text(1, b"hello"))
    segments.remove("s$f")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "s"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../f", "a/b", "/etc", "f\n", "f" * 129, "$f", "s$", "s$../f", "a$b$c"],
)
def test_what_is_not_the_name_of_a_function_reaches_no_file(segments: Segments, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a function"):
        segments.append(name, text(1, b"x"))
    with pytest.raises(ValueError, match="is not the name of a function"):
        segments.remove(name)
