"""The dialogue with built-in runtimes, without a process; instances test its timeouts too."""

import asyncio
import json
import signal
import socket
from contextlib import asynccontextmanager

import pytest
from clock import run_on_clock, settle

from anyfc.model.invocation import Crashed, HttpCall, Raised, Returned, TimedOut
from anyfc.runtime import builtin
from anyfc.runtime.builtin import open_builtin
from anyfc.runtime.channel import ChannelClosed
from anyfc.runtime.frame import INITIALIZE, INVOKE, WSGI, Answer
from anyfc.sandbox.zygote import SandboxFailed

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
    channel: socket.socket | None = None

    def __init__(self):
        self.exited = asyncio.get_running_loop().create_future()
        self.signals = []

    def signal(self, number):
        self.signals.append(number)


class FakeChannel:
    """Gives the answers of the test; what is not one is raised, and no answer is none."""

    def __init__(self):
        self.asked = []
        self.answers = []
        self.pieces = []
        self.closed = False

    async def hello(self):
        await self._next()

    async def ask(self, kind, meta, event):
        self.asked.append((kind, json.loads(meta), event))
        return await self._next()

    async def _next(self):
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def rest(self, answer):
        yield answer.piece
        for piece in self.pieces:
            yield piece


@pytest.fixture
def play(monkeypatch):
    """Run a test with a dialogue, its channel and its process, on a clock of its own."""

    def play(body):
        async def main():
            channel, process = FakeChannel(), FakeProcess()

            @asynccontextmanager
            async def opened(end):
                yield channel
                channel.closed = True

            monkeypatch.setattr(builtin, "open_channel", opened)
            async with open_builtin(process, start_s=5, early=lambda: b"early words") as dialogue:
                await body(dialogue, channel, process)
            assert channel.closed

        run_on_clock(main())

    return play


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
