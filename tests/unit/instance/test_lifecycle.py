import asyncio
import json
import os
import re
import signal
import socket
from contextlib import asynccontextmanager

import pytest
from clock import run_on_clock, settle
from fake_instances import make_function

from anyfc.errors import BadResponse
from anyfc.instance import lifecycle, opening
from anyfc.instance.lifecycle import InitializerFailed, Instance, State
from anyfc.instance.opening import open_instance
from anyfc.instance.spec import Spec
from anyfc.model.function import Hook
from anyfc.model.invocation import Crashed, Invocation, Raised, Returned, TimedOut, read_whole
from anyfc.runtime.channel import ChannelClosed
from anyfc.runtime.custom import Custom, ServerPlan
from anyfc.runtime.deadlines import Deadline
from anyfc.runtime.frame import INITIALIZE, INVOKE, PRE_FREEZE, PRE_STOP, Answer
from anyfc.sandbox.failure import SandboxFailed
from anyfc.web.message import PeerLost

COST = r" \(duration: \d+ms, maxMemoryUsage: [\d.]+MB\)"
STOP = Hook(handler="index.stop", timeout_s=10)


class FakeProcess:
    """A process that does what signals tell it, unless it is stubborn."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.exited = loop.create_future()
        self.channel, self.other_end = socket.socketpair()
        self.log, self.output = os.pipe2(os.O_NONBLOCK)
        self.seen = []
        self.ignores = set()
        self.ended = []  # called when it has ended

    def signal(self, number):
        if not self.exited.done():
            self.seen.append((number, asyncio.get_running_loop().time()))
            if number not in self.ignores:
                self.exit(143 if number == signal.SIGTERM else -number)

    def freeze(self):
        self.seen.append("freeze")

    def thaw(self):
        self.seen.append("thaw")

    async def terminate(self):
        self.seen.append("terminate")

    def print(self, text):
        os.write(self.output, text)

    def exit(self, status):
        if not self.exited.done():
            self.exited.set_result(status)
            for callback in self.ended:
                callback()


class FakeChannel:
    """The other end of a process, answering from a script."""

    def __init__(self, process):
        self._closed = asyncio.Event()
        process.ended.append(self._closed.set)
        self.transport = None
        self.asked = []
        self.script = {}  # kind → coroutine function that gives the answer
        self.silent = False
        self.pieces = []

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error): ...

    def close(self):
        self._closed.set()
        self.transport.abort()

    async def hello(self):
        if self.silent:
            await self._closed.wait()
            raise ChannelClosed

    async def send_all(self, kind, meta, event):
        self.asked.append((kind, json.loads(meta)["request_id"], event))

    async def answer(self):
        kind, _, _ = self.asked[-1]
        answering = asyncio.ensure_future(self.script.get(kind, returned)())
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((answering, closed), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ChannelClosed
            return answering.result()
        finally:
            answering.cancel()
            closed.cancel()

    async def next_piece(self):
        return self.pieces.pop(0)


async def returned():
    return Answer(True, 2, 20 * 1024, b"ok")


async def raised():
    return Answer(False, 2, 20 * 1024, b"{}")


async def raised_at_length():
    return Answer(False, 6, 20 * 1024, b"one")


async def never():
    await asyncio.Event().wait()


class FakeSandbox:
    """Hands out one process, and sees that it ends."""

    def __init__(self):
        self.process = FakeProcess()
        self.left = False

    @asynccontextmanager
    async def open(self, interpreter, box, program, network):
        try:
            yield self.process
        finally:
            self.process.exit(-9)
            self.left = True


class FakeLogs:
    def __init__(self):
        self.lines = []
        self.buffer = self

    def key(self, function, function_id):
        return f"{function}, which is {function_id}"

    def write(self, function, request_id, instance_id, lines):
        assert function == "f, which is id-of-f"
        self.lines += [f"{request_id.decode()} {line.decode()}" for line in lines]


class World:
    """One instance to be opened, and what it is made of."""

    def __init__(self, monkeypatch, **settings):
        settings.setdefault("timeout_s", 3)
        self.function = make_function(**settings)
        self.sandbox = FakeSandbox()
        self.process = self.sandbox.process
        self.channel = FakeChannel(self.process)
        self.logs = FakeLogs()
        self.born = 0
        monkeypatch.setattr(opening, "Channel", lambda: self.channel)

    @asynccontextmanager
    async def open(self, start_s=30.0):
        spec = Spec(
            id="c-1",
            function=self.function,
            interpreter=None,
            box=None,
            program={},
            start_s=start_s,
        )

        def born():
            self.born += 1

        try:
            async with open_instance(
                spec,
                self.sandbox,
                None,
                self.logs,
                new_request_id=lambda: "hook",
                born=born,
            ) as instance:
                yield instance
        finally:
            os.close(self.process.output)
            self.process.channel.close()
            self.process.other_end.close()
            assert self.sandbox.left
            assert self.channel.transport is None or self.channel.transport.is_closing()

    def ends(self, line):
        """Whether the log ends with a line, which is a pattern."""
        return re.fullmatch(line, self.logs.lines[-1])


def request(name="r1", **settings):
    given = {"request_id": name, "payload": b"event"}
    return Invocation(**given | settings)


@pytest.fixture
def play(monkeypatch):
    """Run a test with a world, on a clock of its own; no descriptor may be left open."""

    def play(body, **settings):
        async def main():
            before = len(os.listdir("/proc/self/fd"))
            await body(World(monkeypatch, **settings))
            assert len(os.listdir("/proc/self/fd")) == before

        run_on_clock(main())

    return play


# --- running ---


def test_what_the_handler_returned_is_reported(play):
    async def body(world):
        async with world.open() as instance:
            report = await instance.run(request())
            assert report.result == Returned(body=b"ok")
            assert (report.instance_id, report.cold, report.peak_memory_mib) == ("c-1", True, 20.0)
            assert report.duration_ms >= 0
            assert world.channel.asked == [(INVOKE, "r1", b"event")]
            assert world.logs.lines == [
                "r1 FC Invoke Start RequestId: r1",
                "r1 FC Invoke End RequestId: r1",
            ]

    play(body)


def test_only_the_first_request_of_an_instance_is_cold(play):
    async def body(world):
        async with world.open() as instance:
            reports = [await instance.run(request()) for _ in range(3)]
            assert [report.cold for report in reports] == [True, False, False]

    play(body)


def test_what_the_handler_raised_is_reported_and_marked_in_the_log(play):
    async def body(world):
        world.channel.script[INVOKE] = raised
        async with world.open() as instance:
            assert (await instance.run(request())).result == Raised(body=b"{}")
            assert world.ends("r1 FC Invoke End RequestId: r1, Error: Unhandled function error")
            assert instance.usable

    play(body)


def test_the_log_tail_is_there_for_who_wants_it(play):
    async def body(world):
        async with world.open() as instance:
            world.process.print(b"early\n")
            assert (await instance.run(request())).log_tail == b""
            tail = (await instance.run(request("r2", want_log_tail=True))).log_tail.decode()
            start, end, empty, summary = tail.split("\n")
            assert (start, end, empty) == (
                "FC Invoke Start RequestId: r2",
                "FC Invoke End RequestId: r2",
                "",
            )
            assert re.fullmatch(
                r"Duration: [\d.]+ ms, Billed Duration: \d+ ms, Memory Size: 512 MB, "
                r"Max Memory Used: 20.00 MB",
                summary,
            )

    play(body)


def test_a_handler_that_takes_too_long_is_told_to_end_and_the_result_is_a_timeout(play):
    async def body(world):
        world.channel.script[INVOKE] = never
        async with world.open() as instance:
            loop = asyncio.get_running_loop()
            began = loop.time()
            report = await instance.run(request())
            assert report.result == TimedOut(timeout_s=3)
            assert world.process.seen == [(signal.SIGTERM, began + 3)]
            assert not instance.usable
            line = "r1 FC Invoke End RequestId: r1, Error: Function timed out after 3 seconds"
            assert world.ends(line + COST)

    play(body)


def test_a_process_that_does_not_heed_the_timeout_is_killed(play):
    async def body(world):
        world.channel.script[INVOKE] = never
        world.process.ignores = {signal.SIGTERM}
        async with world.open() as instance:
            began = asyncio.get_running_loop().time()
            assert (await instance.run(request())).result == TimedOut(timeout_s=3)
            assert world.process.seen == [
                (signal.SIGTERM, began + 3),
                (signal.SIGKILL, began + 3.5),
            ]

    play(body)


def test_an_answer_that_comes_after_the_time_is_a_timeout_all_the_same(play):
    async def late():
        await asyncio.sleep(3.2)
        return await returned()

    async def body(world):
        world.channel.script[INVOKE] = late
        world.process.ignores = {signal.SIGTERM}
        async with world.open() as instance:
            assert (await instance.run(request())).result == TimedOut(timeout_s=3)
            assert world.process.exited.result() == -signal.SIGKILL

    play(body)


def test_each_request_has_the_whole_time(play):
    async def slow():
        await asyncio.sleep(2.9)
        return await returned()

    async def body(world):
        world.channel.script[INVOKE] = slow
        async with world.open() as instance:
            for _ in range(5):
                assert (await instance.run(request())).result == Returned(body=b"ok")
            world.channel.script[INVOKE] = never
            began = asyncio.get_running_loop().time()
            await instance.run(request())
            assert world.process.seen == [(signal.SIGTERM, began + 3)]

    play(body)


def test_the_long_time_of_a_hook_does_not_lengthen_that_of_a_request(play):
    async def body(world):
        world.channel.script[INVOKE] = never
        async with world.open() as instance:
            began = asyncio.get_running_loop().time()
            await instance.run(request())
            assert world.process.seen == [(signal.SIGTERM, began + 3)]

    play(body, initializer=Hook(handler="index.init", timeout_s=300))


def test_time_between_requests_is_nobodys(play):
    async def body(world):
        async with world.open() as instance:
            await instance.run(request())
            await asyncio.sleep(100)
            assert (await instance.run(request())).result == Returned(body=b"ok")
            assert world.process.seen == []

    play(body)


def test_a_process_that_ends_before_its_answer_is_a_crash(play):
    async def body(world):
        async def die():
            world.process.exit(7)
            await never()

        world.channel.script[INVOKE] = die
        async with world.open() as instance:
            assert (await instance.run(request())).result == Crashed(status=7)
            assert not instance.usable
            line = "Process exited unexpectedly before completing request"
            assert world.ends(f"r1 FC Invoke End RequestId: r1, Error: {line}{COST}")

    play(body)


def test_a_process_that_closes_its_channel_and_lives_on_is_killed(play):
    async def body(world):
        async def hide():
            world.channel.close()
            await never()

        world.channel.script[INVOKE] = hide
        async with world.open() as instance:
            assert (await instance.run(request())).result == Crashed(status=-signal.SIGKILL)

    play(body)


def test_a_process_that_cannot_be_killed_does_not_hold_up_its_caller(play):
    async def body(world):
        async def hide():
            world.channel.close()
            await never()

        world.channel.script[INVOKE] = hide
        world.process.ignores = {signal.SIGKILL}
        async with world.open() as instance:
            began = asyncio.get_running_loop().time()
            assert (await instance.run(request())).result == Crashed(status=None)
            assert asyncio.get_running_loop().time() - began <= 6

    play(body)


def test_a_caller_who_hangs_up_is_in_the_log_and_the_instance_is_not_used_again(play):
    async def body(world):
        world.channel.script[INVOKE] = never
        async with world.open() as instance:
            running = asyncio.ensure_future(instance.run(request()))
            await settle()
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            assert not instance.usable
            line = "r1 FC Invoke End RequestId: r1, Error: Invocation canceled by client"
            assert world.ends(line + COST)

    play(body)


def test_an_instance_is_busy_until_its_answer_has_been_read_whole(play):
    async def long():
        return Answer(True, 6, 1024, b"one")

    async def body(world):
        world.channel.script[INVOKE] = long
        world.channel.pieces = [b"two"]
        async with world.open() as instance:
            report = await instance.run(request())
            assert report.result.body.size_bytes == 6
            assert not instance.usable
            assert await read_whole(report.result.body) == b"onetwo"
            assert instance.usable

    play(body)


# --- web calls ---


class FakeCustom(Custom):
    """A server that has come up, and exchanges what it is given."""

    def __init__(self, process):
        self.process = process
        self.begun = []
        self.healthy = True
        self.plan = ServerPlan(port=9000, start_command="", head=b"")
        self._spoiled = False
        self.hooks = []

    async def ask(self, kind, request_id, *, timeout_s):
        self.hooks.append(kind)
        return Returned(body=b"")

    def before_freeze(self):
        self.process.seen.append("hang up")

    async def greet(self):
        assert self.process.seen == []

    def begin(self, timeout_s, expire=None):
        self.begun.append(Deadline(timeout_s, 0.0, expire))
        return self.begun[-1]

    async def forward(self, exchange, deadline):
        assert deadline in self.begun
        return await exchange

    def peak_memory_mib(self):
        return 20.0


@pytest.fixture
def serve(play, monkeypatch):
    """Run a test with an instance whose process is a server."""

    def serve(body, **settings):
        async def opened(world):
            @asynccontextmanager
            async def open_dialogue(spec, process, network, output):
                yield FakeCustom(process)

            monkeypatch.setattr(opening, "open_dialogue", open_dialogue)
            async with world.open() as instance:
                await body(world, instance)

        play(opened, **settings)

    return serve


async def forward(instance, request_id, exchange, **settings):
    """Make a web call."""
    server = instance.server
    deadline = server.begin(instance.spec.function.timeout_s)
    running = instance.begin(request_id, **settings)
    return running.end(await running.watch(server.forward(exchange, deadline)))


def test_a_web_call_is_exchanged_with_the_server_in_its_time(serve):
    async def body(world, instance):
        async def exchange():
            world.process.print(b"serving\n")
            return Returned(body=b"")

        report = await forward(instance, "r1", exchange(), want_log_tail=True)
        assert report.result == Returned(body=b"")
        assert (report.instance_id, report.cold, report.peak_memory_mib) == ("c-1", True, 0.0)
        assert report.log_tail.startswith(b"FC Invoke Start RequestId: r1\nserving\nFC Invoke End")
        assert instance.usable

    serve(body)


def test_a_request_that_nobody_waits_for_any_more_is_in_the_log(serve):
    async def body(world, instance):
        running = instance.begin("r1")
        running.abandon()
        assert world.ends(
            f"r1 FC Invoke End RequestId: r1, Error: Invocation canceled by client{COST}"
        )
        assert not instance.begin("r2").end(Returned(body=b"")).cold

    serve(body)


def test_the_dialogue_with_a_server_is_not_that_with_a_handler(play, serve):
    async def handler(world):
        async with world.open() as instance:
            assert instance.builtin.ready
            with pytest.raises(AssertionError):
                _ = instance.server

    async def server(world, instance):
        assert instance.server.ready
        with pytest.raises(AssertionError):
            _ = instance.builtin

    play(handler)
    serve(server)


def test_several_web_calls_may_be_under_way_in_one_instance(serve):
    async def body(world, instance):
        gates = {name: asyncio.Event() for name in ("r1", "r2")}

        async def exchange(name):
            await gates[name].wait()
            return Returned(body=b"")

        calls = [asyncio.ensure_future(forward(instance, name, exchange(name))) for name in gates]
        await settle()
        world.process.print(b"whose?\n")
        for name in ("r2", "r1"):
            gates[name].set()
            await settle()
        assert [(await call).cold for call in calls] == [True, False]
        assert world.logs.lines == [
            "r1 FC Invoke Start RequestId: r1",
            "r2 FC Invoke Start RequestId: r2",
            " whose?",
            "r2 FC Invoke End RequestId: r2",
            "r1 FC Invoke End RequestId: r1",
        ]

    serve(body, instance_concurrency=2)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (asyncio.CancelledError(), "Invocation canceled by client"),
        (BadResponse("cannot be understood"), "cannot be understood"),
        (PeerLost(), "PeerLost"),
    ],
)
def test_an_exchange_that_breaks_off_is_in_the_log_with_the_reason(serve, error, said):
    async def body(world, instance):
        async def exchange():
            raise error

        with pytest.raises(type(error)):
            await forward(instance, "r1", exchange())
        assert world.ends(f"r1 FC Invoke End RequestId: r1, Error: {said}{COST}")

    serve(body)


def test_a_request_that_is_cut_because_the_server_stops_is_not_canceled_by_its_client(serve):
    async def body(world, instance):
        running = instance.begin("r1")
        instance.server_stops = True
        running.abandon()
        line = "r1 FC Invoke End RequestId: r1, Error: Server stopped before completing request"
        assert world.ends(line + COST)

    serve(body)


# --- freezing ---


def test_a_frozen_instance_is_thawed_before_it_is_asked(play):
    async def body(world):
        async def thawed():
            assert world.process.seen == ["freeze", "thaw"]
            return await returned()

        async with world.open() as instance:
            instance.freeze()
            instance.freeze()
            assert instance.frozen
            world.channel.script[INVOKE] = thawed
            await instance.run(request())
            assert not instance.frozen

    play(body)


def test_a_frozen_instance_is_thawed_when_it_goes(play):
    async def body(world):
        async with world.open() as instance:
            instance.freeze()
        assert world.process.seen == ["freeze", "thaw", "terminate"]

    play(body)


# --- its life ---


def test_an_instance_goes_from_creating_to_gone(play):
    async def body(world):
        async with world.open() as instance:
            assert (instance.state, instance.usable, world.born) == (State.READY, True, 1)
        assert (instance.state, instance.usable) == (State.GONE, False)

    play(body)


def test_a_move_that_is_not_in_the_table_is_our_mistake(play):
    async def body(world):
        async with world.open() as instance:
            with pytest.raises(AssertionError, match="cannot go from"):
                instance.move(State.CREATING)

    play(body)


def test_an_instance_whose_process_has_ended_is_not_usable(play):
    async def body(world):
        async with world.open() as instance:
            world.process.exit(0)
            assert not instance.usable

    play(body)


def test_a_process_that_says_nothing_in_time_is_no_instance(play):
    async def body(world):
        world.channel.silent = True
        began = asyncio.get_running_loop().time()
        with pytest.raises(SandboxFailed, match="said nothing within 30 s"):
            async with world.open():
                pass
        assert asyncio.get_running_loop().time() - began == 30
        assert world.born == 0

    play(body)


def test_a_process_that_ends_before_it_is_ready_explains_itself(play):
    async def body(world):
        world.channel.silent = True
        world.process.print(b"no space left")
        asyncio.get_running_loop().call_later(1, world.process.exit, 70)
        with pytest.raises(SandboxFailed, match="status 70 at once: no space left"):
            async with world.open():
                pass

    play(body)


def test_a_start_that_is_given_up_closes_everything(play):
    async def body(world):
        world.channel.silent = True

        async def start():
            async with world.open():
                pass

        starting = asyncio.ensure_future(start())
        await settle()
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()

    play(body)


@pytest.fixture
def watch_end(play, monkeypatch):
    """Run a test in an instance whose process is a server; return what that saw of its end."""

    def watch_end(body, **settings):
        seen = []

        async def opened(world):
            customs = []

            @asynccontextmanager
            async def open_dialogue(spec, process, network, output):
                customs.append(FakeCustom(process))
                yield customs[0]
                seen.extend([*customs[0].hooks, *process.seen])

            monkeypatch.setattr(opening, "open_dialogue", open_dialogue)
            async with world.open() as instance:
                await body(world, instance)

        play(opened, **settings)
        return seen

    return watch_end


def test_a_server_may_end_by_itself_after_its_last_hook(watch_end):
    async def body(world, instance):
        assert instance.usable

    assert watch_end(body, pre_stop=STOP) == [PRE_STOP, "hang up", "terminate"]


def test_a_frozen_server_is_thawed_to_end(watch_end):
    async def body(world, instance):
        instance.freeze()

    seen = watch_end(body)
    assert seen == ["hang up", "freeze", "thaw", "hang up", "terminate"]


def test_a_server_that_is_of_no_use_any_more_may_end_by_itself_too(watch_end):
    async def body(world, instance):
        instance.server._spoiled = True

    assert watch_end(body, pre_stop=STOP) == ["hang up", "terminate"]


def test_an_instance_that_is_interrupted_ends_at_once(watch_end):
    async def body(world, instance):
        instance.interrupted = True

    assert watch_end(body, pre_stop=STOP) == []


def test_a_handlers_process_is_told_to_end_unless_the_handler_runs(play):
    async def idle(world):
        async with world.open() as instance:
            await instance.run(request())
        assert world.process.seen == ["terminate"]

    async def busy(world):
        world.channel.script[INVOKE] = never
        async with world.open() as instance:
            running = asyncio.ensure_future(instance.run(request()))
            await settle()
            running.cancel()
            await asyncio.wait([running])
        assert world.process.seen == []

    play(idle)
    play(busy)


# --- hooks ---

INIT = Hook(handler="index.init", timeout_s=60)


def test_the_initializer_runs_once_after_the_process_is_up(play):
    async def body(world):
        async def once():
            assert world.born == 1
            return Answer(True, 0, 1024, b"")

        world.channel.script[INITIALIZE] = once
        async with world.open() as instance:
            await instance.run(request())
            await instance.run(request())
        assert [kind for kind, _, _ in world.channel.asked] == [INITIALIZE, INVOKE, INVOKE]
        assert world.logs.lines[:2] == [
            "hook FC Initialize Start RequestId: hook",
            "hook FC Initialize End RequestId: hook",
        ]

    play(body, initializer=INIT)


def test_an_initializer_that_raises_ends_the_instance_with_its_words(play):
    async def body(world):
        world.channel.script[INITIALIZE] = raised
        with pytest.raises(InitializerFailed) as caught:
            async with world.open():
                pass
        assert caught.value.result.body == b"{}"
        line = "hook FC Initialize End RequestId: hook, Error: Unhandled function error"
        assert world.ends(line)

    play(body, initializer=INIT)


def test_an_initializer_that_takes_too_long_ends_the_instance(play):
    async def body(world):
        world.channel.script[INITIALIZE] = never
        with pytest.raises(InitializerFailed) as caught:
            async with world.open():
                pass
        message = json.loads(caught.value.result.body)["errorMessage"]
        assert re.fullmatch("Function initialization timed out after 60 seconds" + COST, message)

    play(body, initializer=INIT)


def test_an_initializer_that_ends_the_process_is_told_as_that(play):
    async def body(world):
        async def die():
            world.process.exit(1)
            await never()

        world.channel.script[INITIALIZE] = die
        with pytest.raises(InitializerFailed) as caught:
            async with world.open():
                pass
        message = json.loads(caught.value.result.body)["errorMessage"]
        words = "Process exited unexpectedly before completing initialization"
        assert re.fullmatch(words + COST, message)

    play(body, initializer=INIT)


def test_what_the_initializer_printed_comes_with_its_failure(play):
    async def body(world):
        async def fail():
            world.process.print(b"no database\n")
            return await raised()

        world.channel.script[INITIALIZE] = fail
        with pytest.raises(InitializerFailed) as caught:
            async with world.open():
                pass
        start, printed, end, empty, summary = caught.value.result.log_tail.decode().split("\n")
        assert (start, printed, empty) == (
            "FC Initialize Start RequestId: hook",
            "no database",
            "",
        )
        assert end.startswith("FC Initialize End RequestId: hook, Error: Unhandled")
        assert summary.startswith("Duration: ")

    play(body, initializer=INIT)


def test_an_initializer_that_does_not_describe_its_failure_to_the_end_has_crashed(play):
    async def body(world):
        async def closed():
            raise ChannelClosed

        world.channel.script[INITIALIZE] = raised_at_length
        world.channel.next_piece = closed
        with pytest.raises(InitializerFailed) as caught:
            async with world.open():
                pass
        message = json.loads(caught.value.result.body)["errorMessage"]
        words = "Process exited unexpectedly before completing initialization"
        assert re.fullmatch(words + COST, message)

    play(body, initializer=INIT)


def test_an_initializer_that_is_cut_off_has_a_last_line(play):
    async def body(world):
        world.channel.script[INITIALIZE] = never

        async def start():
            async with world.open():
                pass

        starting = asyncio.ensure_future(start())
        await settle()
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        line = "Error: Server stopped before completing request"
        assert world.ends(f"hook FC Initialize End RequestId: hook, {line}{COST}")

    play(body, initializer=INIT)


FREEZE = Hook(handler="index.freeze", timeout_s=10)


def test_a_pre_freeze_hook_that_fails_at_length_changes_nothing(play):
    async def body(world):
        world.channel.script[PRE_FREEZE] = raised_at_length
        world.channel.pieces = [b"two"]
        async with world.open() as instance:
            await instance.run(request())
            await instance.pre_freeze("hook")
            assert instance.usable

    play(body, pre_freeze=FREEZE)


def ended(world):
    async def end():
        world.process.exit(1)
        await never()

    return end


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (lambda world: raised, "Unhandled function error"),
        (lambda world: never, "Function timed out after 10 seconds" + COST),
        (ended, "Process exited unexpectedly before completing request" + COST),
    ],
    ids=["raised", "late", "ended"],
)
@pytest.mark.parametrize("name", ["PreFreeze", "PreStop"])
def test_the_last_line_of_a_hook_says_what_went_wrong(play, name, outcome, reason):
    async def body(world):
        world.channel.script[PRE_FREEZE] = world.channel.script[PRE_STOP] = outcome(world)
        async with world.open() as instance:
            await instance.run(request())
            await (instance.pre_freeze if name == "PreFreeze" else instance.pre_stop)("hook")
            assert world.ends(f"hook FC {name} End RequestId: hook, Error: {reason}")
            world.process.exit(0)

    play(body, pre_freeze=FREEZE, pre_stop=STOP)


@pytest.mark.parametrize("outcome", [returned, raised])
def test_the_pre_freeze_hook_is_owed_after_requests_and_once(play, outcome):
    async def body(world):
        world.channel.script[PRE_FREEZE] = outcome
        async with world.open() as instance:
            assert not instance.owes_pre_freeze  # nobody has asked it anything
            for _ in range(2):
                await instance.run(request())
                await instance.run(request())
                assert instance.owes_pre_freeze
                await instance.pre_freeze("hook")
                assert not instance.owes_pre_freeze
                instance.freeze()
            assert instance.usable
        kinds = [kind for kind, _, _ in world.channel.asked]
        assert kinds == [INVOKE, INVOKE, PRE_FREEZE] * 2
        assert "hook FC PreFreeze Start RequestId: hook" in world.logs.lines
        end = "hook FC PreFreeze End RequestId: hook"
        error = ", Error: Unhandled function error" if outcome is raised else ""
        assert end + error in world.logs.lines

    play(body, pre_freeze=FREEZE)


def test_a_pre_freeze_hook_that_takes_too_long_ends_the_process(play):
    async def body(world):
        world.channel.script[PRE_FREEZE] = never
        async with world.open() as instance:
            await instance.run(request())
            began = asyncio.get_running_loop().time()
            await instance.pre_freeze("hook")
            assert asyncio.get_running_loop().time() - began == 10
            assert not instance.usable

    play(body, pre_freeze=FREEZE)


def test_without_a_pre_freeze_hook_none_is_owed(play):
    async def body(world):
        async with world.open() as instance:
            await instance.run(request())
            assert not instance.owes_pre_freeze

    play(body)


@pytest.mark.parametrize("outcome", [returned, raised, never])
def test_the_pre_stop_hook_runs_at_the_end_whatever_comes_of_it(play, outcome):
    async def body(world):
        world.channel.script[PRE_STOP] = outcome
        async with world.open() as instance:
            await instance.run(request())
            instance.freeze()
        assert [kind for kind, _, _ in world.channel.asked] == [INVOKE, PRE_STOP]
        assert world.process.seen[:2] == ["freeze", "thaw"]
        assert "hook FC PreStop Start RequestId: hook" in world.logs.lines

    play(body, pre_stop=STOP)


def test_the_pre_stop_hook_of_a_busy_or_dead_instance_is_not_called(play):
    async def body(world):
        async with world.open():
            world.process.exit(1)
        assert world.channel.asked == []

    play(body, pre_stop=STOP)


def test_every_move_of_the_table_leads_towards_the_end():
    order = list(State)
    for old, news in lifecycle.MOVES.items():
        assert all(order.index(new) > order.index(old) for new in news)
    assert lifecycle.MOVES[State.GONE] == set()
    assert set(lifecycle.MOVES) == set(State)
    assert Instance  # what moves
