"""One request at a time to one instance, without an instance."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator

import pytest
from clock import run_on_clock, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from transport import FakeTransport

from anyfc.runtime.channel import PIECES_AHEAD, Channel, ChannelClosed
from anyfc.runtime.frame import (
    DATA,
    HELLO,
    INVOKE,
    PIECE_BYTES,
    RAISED,
    RETURNED,
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
        got = await channel.ask(INVOKE, b"{}", b"in")
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
        await channel.ask(INVOKE, b"{}", event)
        (kind, first), *rest = FrameReader().feed(bytes(transport.written))
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
            group.create_task(channel.ask(INVOKE, b"{}", event))
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
            group.create_task(closed(channel.ask(INVOKE, b"{}", Pieces(b"a", b"b"))))
            await settle()
            transport.lose()
        await closed(channel.ask(INVOKE, b"{}", b""))
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
        await closed(channel.ask(INVOKE, b"{}", b""))

    play(test)


async def collect(channel: Channel) -> bytes:
    got = await channel.ask(INVOKE, b"{}", b"")
    return b"".join([piece async for piece in channel.rest(got)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1), st.lists(st.integers(1, 9)))
def test_a_large_answer_arrives_in_pieces_as_it_was_sent(pieces, cuts):
    wire = answer(pieces[0], size_bytes=sum(map(len, pieces)))
    wire += b"".join(encode_data(piece) for piece in pieces[1:])

    async def test(channel: Channel, transport: FakeTransport) -> None:
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(collect(channel))
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
        await closed(collect(channel))

    play(test)


def test_a_large_answer_that_breaks_off_is_noticed():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        transport.deliver(answer(b"a", size_bytes=3) + encode_data(b"b"))
        transport.deliver_eof()
        await closed(collect(channel))

    play(test)


def test_an_answer_that_is_not_read_makes_the_instance_wait():
    async def test(channel: Channel, transport: FakeTransport) -> None:
        count = 3 * PIECES_AHEAD
        transport.deliver(answer(b"a", size_bytes=count + 1))
        got = await channel.ask(INVOKE, b"{}", b"")
        for _ in range(count):
            transport.deliver(encode_data(b"b"))
        assert not transport.reading
        assert b"".join([piece async for piece in channel.rest(got)]) == b"a" + b"b" * count
        assert transport.reading

    play(test)
