"""The codec of the instance dialogue."""

import struct
import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.runtime.frame import (
    DATA,
    FRAME_BYTES,
    HELLO,
    INVOKE,
    RAISED,
    RETURNED,
    BadFrame,
    FrameReader,
    decode_answer,
    encode_data,
    encode_request,
)

FRAMES = st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=300)))


def encode(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!I", len(content)) + content


def feed(reader: FrameReader, data: bytes) -> list[tuple[bytes, bytes]]:
    frames: deque[tuple[bytes, bytes]] = deque()
    reader.feed(data, frames)
    return list(frames)


def cut(wire: bytes, points: list[int]) -> list[bytes]:
    ends = [*sorted({point % (len(wire) + 1) for point in points}), len(wire)]
    return [wire[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@given(FRAMES, st.lists(st.integers(0, 10_000)))
def test_frames_cut_anywhere_are_the_same(frames, points):
    reader = FrameReader()
    wire = b"".join(encode(*frame) for frame in frames)
    assert [frame for piece in cut(wire, points) for frame in feed(reader, piece)] == frames


@given(FRAMES)
def test_frames_that_come_byte_by_byte_are_the_same(frames):
    reader = FrameReader()
    wire = b"".join(encode(*frame) for frame in frames)
    seen = [frame for i in range(len(wire)) for frame in feed(reader, wire[i : i + 1])]
    assert seen == frames


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_garbage_is_frames_or_bad_and_nothing_else(wire, points):
    reader = FrameReader()
    try:
        for piece in cut(wire, points):
            for kind, content in feed(reader, piece):
                decode_answer(kind, content)
    except BadFrame:
        pass


def test_frames_before_a_bad_one_are_there():
    frames: deque[tuple[bytes, bytes]] = deque()
    with pytest.raises(BadFrame):
        FrameReader().feed(encode(DATA, b"a") + DATA + b"\xff" * 4, frames)
    assert list(frames) == [(DATA, b"a")]


def test_the_largest_frame_is_taken_and_a_larger_one_is_refused_at_its_head():
    content = bytes(FRAME_BYTES)
    assert feed(FrameReader(), encode(DATA, content)) == [(DATA, content)]
    with pytest.raises(BadFrame, match=f"{FRAME_BYTES + 1} bytes"):
        feed(FrameReader(), DATA + struct.pack("!I", FRAME_BYTES + 1))


def test_a_large_frame_in_tiny_pieces_costs_time_in_proportion_to_its_size():
    def took_s(size: int) -> float:
        reader = FrameReader()
        wire = encode(DATA, bytes(size))
        began = time.process_time()
        for i in range(0, len(wire), 4):
            feed(reader, wire[i : i + 4])
        return time.process_time() - began

    small = min(took_s(FRAME_BYTES // 8) for _ in range(3))
    assert took_s(FRAME_BYTES) < 30 * small


@given(st.binary(max_size=60), st.integers(0, 2**64 - 1), st.binary(max_size=200))
def test_a_request_can_be_read_as_the_dialogue_says(meta, size_bytes, piece):
    ((kind, content),) = feed(FrameReader(), encode_request(INVOKE, meta, size_bytes, piece))
    size, meta_size = struct.unpack_from("!QI", content)
    assert (kind, size, meta_size) == (INVOKE, size_bytes, len(meta))
    assert content[12:] == meta + piece


def test_data_is_a_frame():
    assert feed(FrameReader(), encode_data(b"abc")) == [(DATA, b"abc")]


@given(st.booleans(), st.binary(max_size=100), st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_an_answer_is_what_was_sent(returned, piece, more, memory):
    kind = RETURNED if returned else RAISED
    content = struct.pack("!QI", len(piece) + more, memory) + piece
    answer = decode_answer(kind, content)
    assert (answer.returned, answer.piece) == (returned, piece)
    assert (answer.size_bytes, answer.peak_memory_kib) == (len(piece) + more, memory)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (HELLO, bytes(12)),
        (DATA, bytes(12)),
        (RETURNED, bytes(11)),
        (RETURNED, b""),
        (RETURNED, struct.pack("!QI", 1, 0) + b"ab"),
    ],
)
def test_what_is_no_answer_is_bad(kind, content):
    with pytest.raises(BadFrame):
        decode_answer(kind, content)
