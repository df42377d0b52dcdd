"""The dialogue with built-in runtimes, without a process; instances test its timeouts too."""

import asyncio
import json
import signal
from contextlib import closing

import pytest
from clock import run_on_clock, settle

from anyfc.model.invocation import Crashed, HttpCall, Raised, Returned, TimedOut, read_whole
from anyfc.runtime.builtin import HAND_OVER_S, UNREAD_BYTES, UNREAD_S, Builtin
from anyfc.runtime.channel import ChannelClosed, fits
from anyfc.runtime.frame import INITIALIZE, INVOKE, PIECE_BYTES, WSGI, Answer
from anyfc.sandbox.failure import SandboxFailed

CALL = HttpCall(
    method="GET",
    path="/a",
    query="b",
    request_uri="/a?b",
    protocol="HTTP/1.1",
    client_ip="192.0.2.1",
    headers=[("a", "\xff")],
)


class FakeProcess:
    def __init__(self):
        self.exited = asyncio.get_running_loop().create_future()
        self.signals = []
        self.signalled = asyncio.Event()

    def signal(self, number):
        self.signals.append(number)
        self.signalled.set()


class FakeChannel:
    """Gives the answers of the test; what is not one is raised, and no answer is none."""

    def __init__(self):
        self.asked = []
        self.answers = []
        self.pieces = []
        self.listener = None

    async def hello(self):
        await self._next()

    def send(self, kind, meta, event, listener):
        self.asked.append((kind, json.loads(meta), event))
        self.listener = listener

    def ignore(self):
        self.listener = None

    async def send_all(self, kind, meta, event):
        self.asked.append((kind, json.loads(meta), event))

    async def answer(self):
        return await self._next()

    def answer_nowait(self):
        return self.answers.pop(0) if self.answers else None

    async def _next(self):
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def next_piece(self):
        return self.pieces.pop(0)


@pytest.fixture
def play():
    """Run a test with a dialogue, its channel and its process, on a clock of its own."""

    def play(body):
        async def main():
            channel, process = FakeChannel(), FakeProcess()
            builtin = Builtin(process, channel, start_s=5, early=lambda: b"early words")
            with closing(builtin) as dialogue:
                await body(dialogue, channel, process)

        run_on_clock(main())

    return play


def now():
    return asyncio.get_running_loop().time()


def small(content=b"ok", *, returned=True):
    return Answer(returned, len(content), 20 * 1024, content)


def test_a_request_says_its_id_and_brings_its_event(play):
    async def body(dialogue, channel, process):
        channel.answers = [small(), small(b"{}", returned=False)]
        assert await dialogue.ask(INVOKE, "r1", b"in", timeout_s=3) == Returned(body=b"ok")
        assert await dialogue.ask(INITIALIZE, "r2", timeout_s=3) == Raised(body=b"{}")
        assert channel.asked == [
            (INVOKE, {"request_id": "r1"}, b"in"),
            (INITIALIZE, {"request_id": "r2"}, b""),
        ]
        assert dialogue.peak_memory_mib() == 20

    play(body)


def test_a_wsgi_call_brings_the_head_of_its_request(play):
    async def body(dialogue, channel, process):
        channel.answers = [small()]
        await dialogue.ask(WSGI, "r1", b"in", timeout_s=3, http=CALL)
        assert channel.asked == [
            (
                WSGI,
                {
                    "request_id": "r1",
                    "http": {
                        "method": "GET",
                        "path": "/a",
                        "query": "b",
                        "request_uri": "/a?b",
                        "protocol": "HTTP/1.1",
                        "client_ip": "192.0.2.1",
                        "headers": [["a", "\xff"]],
                    },
                },
                b"in",
            )
        ]

    play(body)


def test_it_is_ready_again_when_an_answer_was_read_whole(play):
    async def body(dialogue, channel, process):
        channel.answers = [Answer(True, 6, 1024, b"one")]
        channel.pieces = [b"two"]
        result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        assert not dialogue.ready
        assert b"".join([piece async for piece in result.body]) == b"onetwo"
        assert dialogue.ready

    play(body)


def test_it_is_not_ready_while_it_is_asked_or_when_who_asked_has_left(play):
    async def body(dialogue, channel, process):
        asking = asyncio.ensure_future(dialogue.ask(INVOKE, "r", timeout_s=3))
        await settle()
        assert not dialogue.ready
        asking.cancel()
        await asyncio.wait((asking,))
        assert not dialogue.ready
        await asyncio.sleep(100)
        assert process.signals == []  # its alarm is nobody's any more

    play(body)


def test_a_process_that_ends_in_its_time_has_crashed_and_later_it_timed_out(play):
    async def body(dialogue, channel, process):
        process.exited.set_result(7)
        channel.answers = [ChannelClosed()]
        assert await dialogue.ask(INVOKE, "r", timeout_s=3) == Crashed(status=7)

        async def heed():
            await asyncio.sleep(3)
            raise ChannelClosed

        channel._next = heed
        assert await dialogue.ask(INVOKE, "r", timeout_s=3) == TimedOut(timeout_s=3)
        assert process.signals == [signal.SIGTERM]

    play(body)


def test_the_time_of_a_request_does_not_go_on_while_its_process_ends(play):
    async def body(dialogue, channel, process):
        channel.answers = [ChannelClosed()]
        assert await dialogue.ask(INVOKE, "r", timeout_s=3) == Crashed(status=None)
        assert process.signals == [signal.SIGKILL]

        async def refuse(kind, meta, event):
            raise ChannelClosed

        channel.send_all = refuse
        assert await dialogue.ask(INVOKE, "r", timeout_s=3) == Crashed(status=None)
        assert signal.SIGTERM not in process.signals

    play(body)


def test_a_process_says_hello_or_is_none(play):
    async def body(dialogue, channel, process):
        channel.answers = [None]
        await dialogue.greet()
        with pytest.raises(SandboxFailed, match="said nothing within 5 s"):
            await dialogue.greet()
        process.exited.set_result(70)
        channel.answers = [ChannelClosed()]
        with pytest.raises(SandboxFailed, match="status 70 at once: early words"):
            await dialogue.greet()

    play(body)


# --- without waiting ---


def send(dialogue, listener=lambda: None):
    dialogue.send(INVOKE, "r1", b"in", timeout_s=3, listener=listener)


@pytest.mark.parametrize(
    ("event", "short"),
    [(b"", True), (bytes(PIECE_BYTES), True), (bytes(PIECE_BYTES + 1), False), (object(), False)],
)
def test_an_event_of_one_frame_can_be_sent_without_waiting(event, short):
    assert fits(event) is short


@pytest.mark.parametrize("returned", [True, False])
def test_what_came_of_a_request_can_be_taken_when_it_is_here(play, returned):
    async def body(dialogue, channel, process):
        def listener():
            raise AssertionError("it is the channel that calls it")

        send(dialogue, listener)
        assert channel.asked == [(INVOKE, {"request_id": "r1"}, b"in")]
        assert channel.listener is listener
        assert dialogue.take() is None
        assert not dialogue.ready
        channel.answers = [small(returned=returned)]
        assert dialogue.take() == (Returned if returned else Raised)(body=b"ok")
        assert dialogue.ready
        assert dialogue.peak_memory_mib() == 20
        await asyncio.sleep(100)
        assert process.signals == []

    play(body)


def test_a_long_answer_is_taken_when_it_has_begun_and_its_reader_has_all_the_time(play):
    async def body(dialogue, channel, process):
        send(dialogue)
        channel.answers = [Answer(True, 6, 1024, b"one")]
        channel.pieces = [b"two"]
        result = dialogue.take()
        assert result.body.size_bytes == 6
        assert not dialogue.ready
        await asyncio.sleep(100)
        assert process.signals == []
        assert b"".join([piece async for piece in result.body]) == b"onetwo"
        assert dialogue.ready

    play(body)


def slow_pieces(process, *steps):
    """Pieces, each after some seconds; at the end, and when the process is told to, it ends."""

    async def next_piece():
        if not steps:
            await process.signalled.wait()
            raise ChannelClosed
        seconds, piece = steps[0]
        del steps[:1]
        ending = asyncio.ensure_future(process.signalled.wait())
        await asyncio.wait((ending,), timeout=seconds)
        if ending.done():
            raise ChannelClosed
        ending.cancel()
        return piece

    steps = list(steps)
    return next_piece


@pytest.mark.parametrize(
    ("steps", "at_s"),
    [((), 3), (((1, b"a"), (1, b"b"), (5, b"c")), 3), ([(0.5, b"x")] * 100, 3)],
    ids=["stalls", "slows down", "drips"],
)
@pytest.mark.parametrize("waits", [True, False])
def test_an_instance_that_owes_the_rest_of_an_answer_has_the_time_of_its_request(
    play, steps, at_s, waits
):
    async def body(dialogue, channel, process):
        began = now()
        channel.answers = [Answer(True, 1000, 1024, b"one")]
        channel.next_piece = slow_pieces(process, *steps)
        if waits:
            result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        else:
            send(dialogue)
            result = dialogue.take()
        with pytest.raises(ChannelClosed):
            await read_whole(result.body)
        assert now() == began + at_s
        assert process.signals == [signal.SIGTERM]
        assert not dialogue.ready

    play(body)


def test_the_time_that_a_reader_takes_is_not_that_of_the_instance(play):
    async def body(dialogue, channel, process):
        channel.answers = [Answer(True, 6, 1024, b"one")]
        channel.next_piece = slow_pieces(process, (1, b"t"), (1, b"w"), (0.9, b"o"))
        result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        read = []
        async for piece in result.body:
            read.append(piece)
            await asyncio.sleep(100)
        assert b"".join(read) == b"onetwo"
        assert dialogue.ready
        assert process.signals == []

    play(body)


def test_what_a_handler_returns_at_the_end_of_its_time_can_still_be_handed_over(play):
    async def body(dialogue, channel, process):
        async def late():
            await asyncio.sleep(2.9)
            return Answer(True, 4, 1024, b"one")

        channel._next = late
        channel.next_piece = slow_pieces(process, (HAND_OVER_S - 0.1, b"2"))
        result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        assert await read_whole(result.body) == b"one2"
        assert dialogue.ready

    play(body)


def test_an_instance_that_was_told_to_end_is_not_asked_again_whatever_it_still_sends(play):
    async def body(dialogue, channel, process):
        async def stubborn():
            await asyncio.sleep(3.1)
            return b"two"

        channel.answers = [Answer(True, 6, 1024, b"one")]
        channel.next_piece = stubborn
        result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        with pytest.raises(ChannelClosed):
            await read_whole(result.body)
        await dialogue.drain()
        assert [piece async for piece in result.body] == []
        assert not dialogue.ready

    play(body)


@pytest.mark.parametrize("returned", [True, False])
@pytest.mark.parametrize("pieces_read", [0, 1, 2, 3])
def test_what_nobody_has_read_of_an_answer_is_no_reason_to_lose_its_instance(
    play, pieces_read, returned
):
    async def body(dialogue, channel, process):
        channel.answers = [Answer(returned, 9, 1024, b"one"), small()]
        channel.pieces = [b"two", b"six"]
        result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        for _ in range(pieces_read):
            await anext(result.body)
        await dialogue.drain()
        assert dialogue.ready
        assert channel.pieces == []
        assert await dialogue.ask(INVOKE, "r", timeout_s=3) == Returned(body=b"ok")

    play(body)


def test_only_what_has_begun_is_drained(play):
    async def body(dialogue, channel, process):
        channel.pieces = [b"x"]
        await dialogue.drain()
        assert dialogue.ready
        send(dialogue)  # and who was to wait for its answer does not
        await dialogue.drain()
        assert not dialogue.ready
        channel.answers = [small()]
        dialogue.take()
        await dialogue.drain()
        assert dialogue.ready
        assert channel.pieces == [b"x"]

    play(body)


def test_what_is_not_read_is_bounded_in_time_and_size(play):
    async def body(dialogue, channel, process):
        channel.answers = [Answer(True, UNREAD_BYTES + 4, 1024, b"one")]
        channel.pieces = [b"x"]
        await dialogue.ask(INVOKE, "r", timeout_s=60)
        await dialogue.drain()
        assert channel.pieces == [b"x"]
        channel.answers = [Answer(True, 1000, 1024, b"one")]
        channel.next_piece = slow_pieces(process, *[(0.5, b"x")] * 100)
        began = now()
        await dialogue.ask(INVOKE, "r", timeout_s=60)
        await dialogue.drain()
        assert now() == began + UNREAD_S
        assert not dialogue.ready
        await asyncio.sleep(100)
        assert process.signals == []  # who owns the instance ends it

    play(body)


def test_the_rest_of_an_answer_may_end_with_its_process(play):
    async def body(dialogue, channel, process):
        async def end():
            raise ChannelClosed

        channel.answers = [Answer(True, 6, 1024, b"one")]
        channel.next_piece = end
        await dialogue.ask(INVOKE, "r", timeout_s=3)
        await dialogue.drain()
        assert not dialogue.ready

    play(body)


def test_an_answer_that_is_longer_than_it_said_is_not_read(play):
    async def body(dialogue, channel, process):
        channel.answers = [Answer(True, 4, 1024, b"one")]
        channel.pieces = [b"two"]
        result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        with pytest.raises(ChannelClosed):
            _ = [piece async for piece in result.body]
        assert not dialogue.ready

    play(body)


def test_what_was_sent_without_waiting_can_be_waited_for(play):
    async def body(dialogue, channel, process):
        send(dialogue)
        channel.answers = [small()]
        assert await dialogue.wait(3) == Returned(body=b"ok")
        assert dialogue.ready
        process.exited.set_result(7)
        send(dialogue)
        channel.answers = [ChannelClosed()]
        assert await dialogue.wait(3) == Crashed(status=7)

    play(body)


def test_what_was_sent_without_waiting_has_its_time_and_an_answer_is_then_too_late(play):
    async def body(dialogue, channel, process):
        send(dialogue)
        await asyncio.sleep(2.9)
        assert process.signals == []
        await asyncio.sleep(0.2)
        assert process.signals == [signal.SIGTERM]
        channel.answers = [small()]
        assert dialogue.take() is None
        process.exited.set_result(-15)
        assert await dialogue.wait(3) == TimedOut(timeout_s=3)

    play(body)


def test_an_abandoned_request_has_no_listener_and_no_alarm_and_its_instance_is_not_ready(play):
    async def body(dialogue, channel, process):
        send(dialogue)
        dialogue.abandon()
        assert channel.listener is None
        await asyncio.sleep(100)
        assert process.signals == []
        assert not dialogue.ready

    play(body)
