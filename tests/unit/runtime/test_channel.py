"""One request at a time to one instance, without an instance."""

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from clock import run_on_clock, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from transport import FakeTransport

from anyfc.model.invocation import read_whole
from anyfc.runtime.builtin import Builtin
from anyfc.runtime.channel import PIECES_AHEAD, Channel, ChannelClosed
from anyfc.runtime.frame import (
    DATA,
    HELLO,
    INVOKE,
    PIECE_BYTES,
    RAISED,
    RETURNED,
    Answer,
    FrameReader,
    encode_data,
)


def encode(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(content)) + content


def answer(piece: bytes, *, kind: bytes = RETURNED, size_bytes: int | None = None) -> bytes:
    size = len(piece) if size_bytes is None else size_bytes
    return encode(kind, struct.pack("!QI", size, 7) + piece)


def play(test: Callable[[Channel, FakeTransport], Awaitable[None]]) -> None:
    async def main() -> None:
        channel = Channel()
        await test(channel, FakeTransport(channel))

    run_on_clock(main())


async def ask(channel: Channel, event: Any = b"") -> Answer:
    await channel.send_all(INVOKE, b"{}", event)
    return await channel.answer()


async def collect(channel: Channel, got: Answer) -> bytes:
    process: Any = SimpleNamespace()  # nothing happens to it
    with closing(Builtin(process, channel, start_s=1.0, early=bytes)) as dialogue:
        dialogue._begin(3)
        return await read_whole(dialogue._judge(got).body)


async def closed(waiting: Awaitable[object]) -> None:
    with pytest.raises(ChannelClosed):
        await waiting


def test_an_instance_says_hello():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(encode(HELLO))
        await channel.hello()
        transport.deliver(encode(DATA))
        await closed(channel.hello())

    play(test)


@pytest.mark.parametrize("kind", [RETURNED, RAISED])
def test_a_small_request_is_one_frame_and_its_answer_another(kind):
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(answer(b"out", kind=kind))
        got = await ask(channel, b"in")
        assert (got.returned, got.piece, got.peak_memory_kib) == (kind == RETURNED, b"out", 7)
        assert bytes(transport.written) == encode(INVOKE, struct.pack("!QI", 2, 2) + b"{}in")

    play(test)


class Pieces:
    """An event from somewhere else than memory."""

    def __init__(self, *pieces: bytes) -> None:
        self.size_bytes = sum(map(len, pieces))
        self._pieces = pieces

    def pieces(self) -> Iterator[bytes]:
        return iter(self._pieces)


@pytest.mark.parametrize(
    "event", [bytes(PIECE_BYTES + 1), Pieces(), Pieces(b"a"), Pieces(b"ab", b"c", bytes(9))]
)
def test_a_large_event_is_sent_in_pieces(event):
    content = event if isinstance(event, bytes) else b"".join(event.pieces())

    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(answer(b"ok"))
        await ask(channel, event)
        frames: deque[tuple[bytes, bytes]] = deque()
        FrameReader().feed(bytes(transport.written), frames)
        (kind, first), *rest = frames
        assert kind == INVOKE
        assert struct.unpack_from("!QI", first) == (len(content), 2)
        assert {kind for kind, _ in rest} <= {DATA}
        assert b"".join([piece for _, piece in rest]) == content
        assert all(0 < len(piece) <= PIECE_BYTES for _, piece in rest)

    play(test)


def test_an_instance_that_does_not_read_makes_the_sender_wait():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.full = True
        async with asyncio.TaskGroup() as group:
            event = Pieces(*[bytes(1000)] * 10)
            group.create_task(ask(channel, event))
            await settle()
            assert len(transport.written) < 1000
            transport.drain()
            await settle()
            assert len(transport.written) > 10_000
            transport.deliver(answer(b"ok"))

    play(test)


@pytest.mark.parametrize("full", [False, True])
def test_an_instance_that_dies_is_noticed_at_once(full):
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.full = full
        async with asyncio.TaskGroup() as group:
            group.create_task(closed(ask(channel, Pieces(b"a", b"b"))))
            await settle()
            transport.lose()
        await closed(ask(channel))
        await closed(channel.hello())

    play(test)


@pytest.mark.parametrize(
    "wire",
    [
        DATA + b"\xff\xff\xff\xff",
        encode(HELLO),
        encode(RETURNED, b"short"),
        encode(RETURNED, struct.pack("!QI", 1, 0) + b"too long"),
    ],
)
def test_what_is_no_answer_closes_the_channel(wire):
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(wire)
        await closed(ask(channel))

    play(test)


async def ask_and_collect(channel: Channel) -> bytes:
    return await collect(channel, await ask(channel))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1), st.lists(st.integers(1, 9)))
def test_a_large_answer_arrives_in_pieces_as_it_was_sent(pieces, cuts):
    wire = answer(pieces[0], size_bytes=sum(map(len, pieces)))
    wire += b"".join(encode_data(piece) for piece in pieces[1:])

    async def test(channel: Channel, transport: FakeTransport) -> None:
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(ask_and_collect(channel))
            rest = wire
            for size in cuts:
                transport.deliver(rest[:size])
                rest = rest[size:]
                await settle(2)
            transport.deliver(rest)
        assert collecting.result() == b"".join(pieces)

    play(test)


@pytest.mark.parametrize(
    "wire",
    [
        answer(b"a", size_bytes=3) + encode_data(b"bcd"),
        answer(b"a", size_bytes=3) + encode_data(b""),
        answer(b"a", size_bytes=3) + encode(HELLO, b"b"),
        answer(b"a", size_bytes=3) + answer(b"b"),
    ],
)
def test_a_large_answer_that_is_not_as_it_said_closes_the_channel(wire):
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(wire)
        await closed(ask_and_collect(channel))

    play(test)


def test_a_large_answer_that_breaks_off_is_noticed():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(answer(b"a", size_bytes=3) + encode_data(b"b"))
        transport.deliver_eof()
        await closed(ask_and_collect(channel))

    play(test)


def test_an_answer_that_is_not_read_makes_the_instance_wait():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        count = 3 * PIECES_AHEAD
        transport.deliver(answer(b"a", size_bytes=count + 1))
        got = await ask(channel)
        for _ in range(count):
            transport.deliver(encode_data(b"b"))
        assert not transport.reading
        assert await collect(channel, got) == b"a" + b"b" * count
        assert transport.reading

    play(test)


# --- without waiting ---


def send(channel: Channel) -> list[bool]:
    """Send a request, and return what grows by an item whenever its listener is called."""
    calls: list[bool] = []
    channel.send(INVOKE, b"{}", b"in", lambda: calls.append(True))
    return calls


def test_a_listener_is_told_once_that_an_answer_has_begun():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        calls = send(channel)
        assert bytes(transport.written) == encode(INVOKE, struct.pack("!QI", 2, 2) + b"{}in")
        wire = answer(b"out", size_bytes=4)
        transport.deliver(wire[:-1])
        assert calls == []
        transport.deliver(wire[-1:])
        assert len(calls) == 1
        transport.deliver(encode_data(b"!"))
        transport.lose()
        await settle()
        assert len(calls) == 1
        got = channel.answer_nowait()
        assert got is not None
        assert await collect(channel, got) == b"out!"

    play(test)


@pytest.mark.parametrize(
    "end", [FakeTransport.lose, FakeTransport.deliver_eof, lambda t: t.deliver(DATA + b"\xff" * 4)]
)
def test_a_listener_is_told_once_that_no_answer_will_come(end):
    async def test(channel: Channel, transport: FakeTransport) -> None:
        calls = send(channel)
        end(transport)
        await settle()
        channel.close()
        await settle()
        assert len(calls) == 1
        assert channel.answer_nowait() is None
        await closed(channel.answer())

    play(test)


def test_a_listener_of_a_channel_that_is_closed_already_is_told_and_not_before_it_can_listen():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.lose()
        calls = send(channel)
        assert calls == []
        await settle()
        assert len(calls) == 1
        await closed(channel.answer())

    play(test)


def test_a_listener_is_told_of_a_frame_that_came_before_it_was_asked_for():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(encode(DATA))
        calls = send(channel)
        await settle()
        assert len(calls) == 1
        assert channel.answer_nowait() is None
        await closed(channel.answer())

    play(test)


@pytest.mark.parametrize("early", [False, True])
def test_who_is_ignored_is_not_told_anything(early):
    async def test(channel: Channel, transport: FakeTransport) -> None:
        if early:
            transport.deliver(answer(b"out"))
        calls = send(channel)
        channel.ignore()
        transport.deliver(answer(b"out"))
        transport.lose()
        await settle()
        assert calls == []

    play(test)


def test_an_answer_that_is_not_here_is_none_and_can_be_waited_for():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        send(channel)
        assert channel.answer_nowait() is None
        asyncio.get_running_loop().call_later(1, transport.deliver, answer(b"out"))
        assert (await channel.answer()).piece == b"out"

    play(test)
