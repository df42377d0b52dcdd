"""HTTP with a function's own server, without one: how it starts, and what each answer means."""

import asyncio
import json
import socket
from contextlib import closing, suppress

import pytest
from calls import make_body
from clock import run_on_clock, settle
from transport import FakeTransport

from anyfc.errors import (
    BadResponse,
    CAExited,
    EntityTooLarge,
    FunctionNotStarted,
    RequestTimeout,
)
from anyfc.model.function import HealthCheck
from anyfc.model.invocation import Crashed, Raised, Returned, TimedOut
from anyfc.runtime import custom
from anyfc.runtime.custom import (
    ANSWER_BYTES,
    Custom,
    ServerPlan,
    explain_exit,
)
from anyfc.runtime.frame import INITIALIZE, INVOKE, PRE_FREEZE, PRE_STOP
from anyfc.web.outgoing import Outgoing

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHECK = HealthCheck(path="/health?full", timeout_s=2)


def response(status=200, body=b"ok", *lines):
    head = [b"HTTP/1.1 %d Text" % status, *lines, b"content-length: %d" % len(body)]
    return b"\r\n".join([*head, b"", body])


class FakeProcess:
    def __init__(self):
        self.exited = asyncio.get_running_loop().create_future()

    def peak_memory_mib(self):
        return 20.0


class FakeSocket:
    def __init__(self):
        self.closed = False
        self.heard = BlockingIOError()  # nothing yet

    def recv(self, size_bytes, flags):
        assert flags == socket.MSG_PEEK
        if isinstance(self.heard, Exception):
            raise self.heard
        return self.heard

    def close(self):
        self.closed = True


class Peer(FakeTransport):
    """The server's end of a connection: answers each request with the next of the answers.

    None is no answer; an empty one is the end of the connection.
    """

    def __init__(self, protocol, answers):
        self._answers = answers
        super().__init__(protocol)

    def write(self, data):
        super().write(data)
        answer = self._answers.pop(0) if self._answers else None
        if answer:
            asyncio.get_running_loop().call_soon(self.deliver, answer)
        elif answer is not None:
            asyncio.get_running_loop().call_soon(self.lose)


class World:
    """A process whose port the test opens, and who connects to it."""

    def __init__(self, monkeypatch, folder):
        self.process = FakeProcess()
        self.folder = folder
        self.open = True
        self.sockets = []
        self.attempts = 0
        self.peers = []
        self.answers = []
        self.said = b""
        monkeypatch.setattr(custom, "over_socket", self.over)

    async def connect(self):
        self.attempts += 1
        if not self.open:
            raise ConnectionRefusedError
        self.sockets.append(FakeSocket())
        return self.sockets[-1]

    def over(self, take_connection):
        """As `over_socket`, for these sockets."""

        async def connect(exchange):
            await take_connection()
            self.peers.append(Peer(exchange, self.answers))

        return connect

    def dialogue(self, **settings):
        plan = {"port": 9000, "start_command": "python3 server.py", "head": b"x-fc-region: r\r\n"}
        return closing(
            Custom(
                self.process,
                ServerPlan(**plan | settings),
                self.connect,
                host="10.0.0.1",
                start_s=5,
                early=lambda: self.said,
                spool_folder=self.folder,
            )
        )

    @property
    def written(self):
        return b"".join(bytes(peer.written) for peer in self.peers)


@pytest.fixture
def play(monkeypatch, tmp_path):
    """Run a test with a world, on a clock of its own."""

    def play(body):
        async def main():
            await body(World(monkeypatch, tmp_path))

        run_on_clock(main())
        assert not list(tmp_path.iterdir())

    return play


def now():
    return asyncio.get_running_loop().time()


# --- starting ---


def test_a_server_is_there_when_its_port_accepts_and_is_not_asked_anything(play):
    async def body(world):
        world.open = False
        asyncio.get_running_loop().call_later(3, setattr, world, "open", True)
        with world.dialogue() as dialogue:
            began = now()
            await dialogue.greet()
            assert 3 <= now() - began <= 3.1
            assert dialogue.ready
            assert len(world.sockets) == 1
            assert world.peers == []
        assert world.sockets[0].closed

    play(body)


def test_the_connection_that_found_the_port_open_carries_the_first_request(play):
    async def body(world):
        world.answers = [OK]
        with world.dialogue() as dialogue:
            await dialogue.greet()
            assert await dialogue.ask(INVOKE, "r1", timeout_s=3) == Returned(body=b"ok")
            assert (world.attempts, world.sockets[0].closed) == (1, False)

    play(body)


@pytest.mark.parametrize("heard", [b"", b"H", ConnectionResetError()], ids=["end", "408", "reset"])
def test_a_first_connection_that_the_server_gave_up_carries_no_request(play, heard):
    async def body(world):
        world.answers = [OK]
        with world.dialogue() as dialogue:
            await dialogue.greet()
            world.sockets[0].heard = heard
            assert await dialogue.ask(INVOKE, "r1", timeout_s=3) == Returned(body=b"ok")
            assert [opened.closed for opened in world.sockets] == [True, False]

    play(body)


def test_a_first_connection_that_nobody_used_does_not_outlast_a_freeze(play):
    async def body(world):
        world.answers = [OK]
        with world.dialogue() as dialogue:
            await dialogue.greet()
            dialogue.before_freeze()
            assert world.sockets[0].closed
            await dialogue.ask(INVOKE, "r1", timeout_s=3)
            assert world.attempts == 2

    play(body)


def test_a_probe_does_not_rely_on_a_connection_that_waited_as_long_as_it_did(play):
    async def body(world):
        world.answers = [OK]
        with world.dialogue() as dialogue:
            await dialogue.greet()
            assert await dialogue.probe(CHECK) == 200
            assert [opened.closed for opened in world.sockets] == [True, False]

    play(body)


def test_a_port_that_stays_closed_is_said_with_what_was_printed(play):
    async def body(world):
        world.open = False
        world.said = b"listening on 8080\n"
        with world.dialogue() as dialogue:
            began = now()
            with pytest.raises(FunctionNotStarted) as caught:
                await dialogue.greet()
            assert now() - began == 5
        assert str(caught.value) == (
            "Function instance health check failed on port 9000 in 5 seconds.\n"
            "Logs:listening on 8080\n"
        )

    play(body)


def test_a_process_that_ends_before_it_listens_is_said_at_once(play):
    async def body(world):
        world.open = False
        world.said = b"no module named flask"
        asyncio.get_running_loop().call_later(1, world.process.exited.set_result, 1)
        with world.dialogue() as dialogue:
            began = now()
            with pytest.raises(CAExited) as caught:
                await dialogue.greet()
            assert now() - began <= 1.1
        assert str(caught.value) == (
            "Function instance exited unexpectedly(code 1, message:operation not permitted) "
            "with start command 'python3 server.py'.\nLogs:no module named flask"
        )

    play(body)


def test_only_the_end_of_what_was_printed_is_said(play):
    async def body(world):
        world.open = False
        world.said = b"x" * 10_000 + b"the end"
        world.process.exited.set_result(2)
        with world.dialogue() as dialogue, pytest.raises(CAExited) as caught:
            await dialogue.greet()
        assert str(caught.value).partition("Logs:")[2] == "x" * (4096 - 7) + "the end"

    play(body)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "code 1, message:operation not permitted"),
        (2, "code 2, message:no such file or directory"),
        (13, "code 13, message:permission denied"),
        (145, "code 145"),
        (-9, "code 137"),
    ],
)
def test_an_exit_code_is_put_into_the_words_of_the_error_with_its_number(status, words):
    assert explain_exit(status) == words


# --- requests ---


@pytest.mark.parametrize("event", [b"hello world", b""])
def test_an_event_is_posted_with_what_every_request_says(play, event):
    async def body(world):
        world.answers = [OK]
        with world.dialogue() as dialogue:
            await dialogue.ask(INVOKE, "r1", event, timeout_s=3)
        assert world.written == (
            b"POST /invoke HTTP/1.1\r\n"
            b"x-fc-request-id: r1\r\n"
            b"x-fc-control-path: /invoke\r\n"
            b"x-fc-region: r\r\n"
            b"content-type: application/octet-stream\r\n"
            b"host: 10.0.0.1\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(event), event)
        )

    play(body)


@pytest.mark.parametrize(
    ("kind", "line", "length"),
    [
        (INITIALIZE, b"POST /initialize", b"content-length: 0\r\n"),
        (PRE_FREEZE, b"GET /pre-freeze", b""),
        (PRE_STOP, b"GET /pre-stop", b""),
    ],
)
def test_a_hook_is_a_request_without_a_body(play, kind, line, length):
    async def body(world):
        world.answers = [OK]
        with world.dialogue() as dialogue:
            assert await dialogue.ask(kind, "r1", timeout_s=3) == Returned(body=b"")
        assert world.written == (
            b"%b HTTP/1.1\r\nx-fc-request-id: r1\r\nx-fc-control-path: %b\r\nx-fc-region: r\r\n"
            b"host: 10.0.0.1\r\n%b\r\n" % (line, line.partition(b" ")[2], length)
        )

    play(body)


class Pieces:
    size_bytes = 6

    def pieces(self):
        return iter((b"one", b"two"))


def test_a_large_event_is_sent_in_pieces(play):
    async def body(world):
        with world.dialogue() as dialogue:
            asking = asyncio.ensure_future(dialogue.ask(INVOKE, "r1", Pieces(), timeout_s=3))
            await settle()
            assert world.written.endswith(b"content-length: 6\r\n\r\nonetwo")
            world.peers[0].deliver(OK)
            assert await asking == Returned(body=b"ok")

    play(body)


@pytest.mark.parametrize("status", [200, 302, 400, 404, 500])
def test_of_the_answer_to_an_event_only_the_body_counts(play, status):
    async def body(world):
        world.answers = [response(status, b"own words", b"author: me")]
        with world.dialogue() as dialogue:
            assert await dialogue.ask(INVOKE, "r", timeout_s=3) == Returned(body=b"own words")
            assert dialogue.ready

    play(body)


@pytest.mark.parametrize(
    ("value", "is_failure"), [(b"404", True), (b" 404 ", True), (b"200", False)]
)
def test_a_server_may_say_that_it_failed(play, value, is_failure):
    async def body(world):
        world.answers = [response(200, b"words", b"X-Fc-Status: " + value)]
        with world.dialogue() as dialogue:
            result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        failed = Raised(body=b"words", error_type="InvocationError")
        assert result == (failed if is_failure else Returned(body=b"words"))

    play(body)


@pytest.mark.parametrize("status", [201, 204, 299])
def test_a_hook_has_succeeded_when_its_status_says_so(play, status):
    async def body(world):
        world.answers = [response(status, b"")]
        with world.dialogue() as dialogue:
            assert await dialogue.ask(INITIALIZE, "r", timeout_s=3) == Returned(body=b"")

    play(body)


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_a_hook_with_any_other_status_has_failed(play, status):
    async def body(world):
        world.answers = [response(status, b"{}")]
        with world.dialogue() as dialogue:
            result = await dialogue.ask(INITIALIZE, "r", timeout_s=3)
        assert json.loads(result.body) == {
            "errorMessage": f"the server answered /initialize with status {status}",
            "errorType": "InitializationError",
        }

    play(body)


def test_a_large_answer_is_kept_outside_of_memory_and_outlives_its_connection(play):
    async def body(world):
        content = bytes(range(256)) * 4096
        world.answers = [response(200, content)]
        with world.dialogue() as dialogue:
            result = await dialogue.ask(INVOKE, "r", timeout_s=3)
            assert dialogue.ready
        assert result.body.size_bytes == len(content)
        assert b"".join([piece async for piece in result.body]) == content

    play(body)


def test_an_answer_above_the_limit_is_a_failure_of_the_function(play):
    async def body(world):
        world.answers = [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (ANSWER_BYTES + 1)]
        with world.dialogue() as dialogue:
            result = await dialogue.ask(INVOKE, "r", timeout_s=3)
        assert json.loads(result.body)["errorType"] == "ResponseTooLarge"

    play(body)


def test_connections_are_used_again(play):
    async def body(world):
        world.answers = [OK, OK]
        with world.dialogue() as dialogue:
            await dialogue.ask(INVOKE, "r1", timeout_s=3)
            await dialogue.ask(INVOKE, "r2", timeout_s=3)
        assert len(world.peers) == 1
        assert world.written.count(b"POST /invoke") == 2

    play(body)


def test_no_connection_outlasts_a_freeze(play):
    async def body(world):
        world.answers = [OK, OK]
        with world.dialogue() as dialogue:
            await dialogue.ask(INVOKE, "r1", b"", timeout_s=3)
            dialogue.before_freeze()
            assert world.peers[0].is_closing()
            await dialogue.ask(INVOKE, "r2", b"", timeout_s=3)
            assert len(world.peers) == 2

    play(body)


def test_several_requests_may_be_under_way(play):
    async def body(world):
        with world.dialogue(concurrency=2) as dialogue:
            asked = [
                asyncio.ensure_future(dialogue.ask(INVOKE, f"r{n}", timeout_s=3)) for n in "12"
            ]
            await settle()
            world.peers[1].deliver(response(200, b"two"))
            world.peers[0].deliver(response(200, b"one"))
            assert [await result for result in asked] == [
                Returned(body=b"one"),
                Returned(body=b"two"),
            ]

    play(body)


def test_what_is_exchanged_for_somebody_else_says_so(play):
    async def body(world):
        with world.dialogue() as dialogue:
            world.answers = [OK]

            async def exchange():
                head = dialogue.plan.web_head("r1", b"/b")
                asked = dialogue.upstream.ask(b"GET", b"/a", (), Outgoing(b""), head=head)
                async with asked as answer:
                    return Returned(body=await answer.body.read())

            deadline = dialogue.begin(3)
            assert await dialogue.forward(exchange(), deadline) == Returned(body=b"ok")
            assert world.written == (
                b"GET /a HTTP/1.1\r\nx-fc-request-id: r1\r\n"
                b"x-fc-control-path: /http-invoke\r\nx-fc-base-path: /b\r\nx-fc-region: r\r\n\r\n"
            )

    play(body)


# --- failures ---


def test_a_request_has_its_time_and_its_instance_is_not_used_again(play):
    async def body(world):
        with world.dialogue() as dialogue:
            began = now()
            assert await dialogue.ask(INVOKE, "r", timeout_s=3) == TimedOut(timeout_s=3)
            assert now() - began == 3
            assert world.peers[0].aborted
            assert not dialogue.ready

    play(body)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_pre_freeze_hook_that_takes_too_long_changes_nothing(play, concurrency):
    async def body(world):
        with world.dialogue(concurrency=concurrency) as dialogue:
            asking = asyncio.ensure_future(dialogue.ask(PRE_FREEZE, "r", timeout_s=3))
            await settle()
            world.open = False
            assert await asking == TimedOut(timeout_s=3)
            assert world.peers[0].aborted
            assert dialogue.ready

    play(body)


@pytest.mark.parametrize("answers", [True, False])
def test_one_slow_request_of_several_ends_the_instance_only_if_its_port_is_closed(play, answers):
    async def body(world):
        with world.dialogue(concurrency=2) as dialogue:
            asyncio.get_running_loop().call_later(1, setattr, world, "open", answers)
            assert await dialogue.ask(INVOKE, "r", timeout_s=3) == TimedOut(timeout_s=3)
            assert dialogue.ready is answers
            assert all(opened.closed for opened in world.sockets[1:])

    play(body)


@pytest.mark.parametrize(
    ("settings", "ready"),
    [({}, False), ({"health_check": CHECK}, True), ({"concurrency": 2}, True)],
)
def test_a_caller_who_hangs_up_spoils_an_instance_that_nobody_vouches_for(play, settings, ready):
    async def body(world):
        with world.dialogue(**settings) as dialogue:
            asking = asyncio.ensure_future(dialogue.ask(INVOKE, "r", timeout_s=3))
            await settle()
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            assert asking.cancelled()
            assert world.peers[0].aborted
            assert dialogue.ready is ready

    play(body)


@pytest.mark.parametrize(
    ("settings", "ready"),
    [({}, False), ({"health_check": CHECK}, True), ({"concurrency": 2}, True)],
)
def test_so_does_one_who_hangs_up_while_no_task_waits(play, settings, ready):
    async def body(world):
        with world.dialogue(**settings) as dialogue:
            called = []
            deadline = dialogue.begin(3, lambda: called.append(True))
            dialogue.abandon(deadline)
            assert dialogue.ready is ready
            await asyncio.sleep(60)
            assert (called, deadline.expire) == ([], None)

    play(body)


@pytest.mark.parametrize(
    ("settings", "ready"),
    [({}, False), ({"health_check": CHECK}, True), ({"concurrency": 2}, True)],
)
@pytest.mark.parametrize("problem", [RequestTimeout(), EntityTooLarge(3)], ids=["408", "413"])
def test_so_does_one_whose_request_has_no_end(play, problem, settings, ready):
    async def body(world):
        with world.dialogue(**settings) as dialogue:
            upload = make_body(b"half", complete=False, declared_bytes=8)

            async def exchange():
                async with dialogue.upstream.ask(b"POST", b"/", (), upload):
                    raise AssertionError("nobody answers")

            deadline = dialogue.begin(3)
            forwarding = asyncio.ensure_future(dialogue.forward(exchange(), deadline))
            await settle()
            assert world.written.endswith(b"half")
            upload.fail(problem)
            with pytest.raises(type(problem)):
                await forwarding
            assert world.peers[0].aborted
            assert dialogue.ready is ready
            assert deadline.expire is None

    play(body)


def test_the_time_of_a_request_runs_from_its_beginning_until_its_end(play):
    async def body(world):
        with world.dialogue() as dialogue:
            began, called = now(), []
            ended, late = (dialogue.begin(3, lambda: called.append(now())) for _ in range(2))
            await asyncio.sleep(2)
            dialogue.end(ended)
            await asyncio.sleep(60)
            assert called == [began + 3]
            assert (ended.expired, late.expired, dialogue.ready) == (False, True, True)

    play(body)


@pytest.mark.parametrize("seconds_before", [0, 2])
def test_what_is_left_of_the_time_is_for_who_waits(play, seconds_before):
    async def body(world):
        with world.dialogue() as dialogue:
            began, called = now(), []
            deadline = dialogue.begin(3, lambda: called.append(True))
            await asyncio.sleep(seconds_before)
            result = await dialogue.forward(asyncio.Event().wait(), deadline)
            assert result == TimedOut(timeout_s=3)
            assert now() == began + 3
            assert asyncio.current_task().cancelling() == 0
            assert (called, deadline.expire) == ([], None)
            assert not dialogue.ready

    play(body)


@pytest.mark.parametrize(
    ("settings", "answers", "ready"),
    [({}, True, False), ({"concurrency": 2}, True, True), ({"concurrency": 2}, False, False)],
)
def test_what_is_forwarded_too_late_is_not_exchanged(play, settings, answers, ready):
    async def body(world):
        async def exchange():
            raise AssertionError("its time is over")

        with world.dialogue(**settings) as dialogue:
            called = []
            deadline = dialogue.begin(3, lambda: called.append(True))
            world.open = answers
            await asyncio.sleep(4)
            assert await dialogue.forward(exchange(), deadline) == TimedOut(timeout_s=3)
            assert (called, deadline.expire) == ([True], None)
            assert dialogue.ready is ready

    play(body)


@pytest.mark.parametrize("cancelled_after_s", [1, 3])
def test_a_cancellation_that_is_not_ours_is_passed_on(play, cancelled_after_s):
    async def body(world):
        with world.dialogue() as dialogue:
            deadline = dialogue.begin(3)
            forwarding = dialogue.forward(asyncio.Event().wait(), deadline)
            waiting = asyncio.ensure_future(forwarding)
            asyncio.get_running_loop().call_later(cancelled_after_s, waiting.cancel)
            await asyncio.wait((waiting,))
            assert waiting.cancelled()
            assert deadline.expired is (cancelled_after_s == 3)
            assert not dialogue.ready

    play(body)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"], ids=["none", "half"]
)
@pytest.mark.parametrize("status", [None, 1])
def test_a_connection_that_ends_early_is_a_crash_with_the_status_if_there_is_one(
    play, status, answer
):
    async def body(world):
        world.answers = [answer]
        loop = asyncio.get_running_loop()
        if status is not None:
            loop.call_later(0.1, world.process.exited.set_result, status)
        with world.dialogue() as dialogue:
            asking = asyncio.ensure_future(dialogue.ask(INVOKE, "r", timeout_s=3))
            await settle()
            world.peers[0].lose()
            assert await asking == Crashed(status=status)

    play(body)


def test_a_port_that_is_closed_later_is_a_crash_and_the_end_of_the_instance(play):
    async def body(world):
        world.open = False
        with world.dialogue() as dialogue:
            assert await dialogue.ask(INVOKE, "r", timeout_s=3) == Crashed(status=None)
            assert not dialogue.ready

    play(body)


def test_a_lost_connection_is_not_the_end_of_a_server_that_takes_new_ones(play):
    async def body(world):
        world.answers = [b""]
        with world.dialogue() as dialogue:
            assert await dialogue.ask(INVOKE, "r", timeout_s=3) == Crashed(status=None)
            assert dialogue.ready
            assert all(opened.closed for opened in world.sockets[1:])

    play(body)


def test_whether_it_still_answers_is_seen_at_its_port(play):
    async def body(world):
        with world.dialogue() as dialogue:
            assert await dialogue.outlives()
            world.open = False
            assert not await dialogue.outlives()

    play(body)


def test_a_process_that_is_ending_may_still_take_connections(play):
    async def body(world):
        with world.dialogue() as dialogue:
            asyncio.get_running_loop().call_later(0.01, world.process.exited.set_result, 3)
            assert not await dialogue.outlives()

    play(body)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 099 No\r\n\r\n"])
def test_a_server_that_does_not_speak_http_is_a_bad_response(play, answer):
    async def body(world):
        world.answers = [answer]
        with (
            world.dialogue() as dialogue,
            pytest.raises(BadResponse, match="cannot be understood"),
        ):
            await dialogue.ask(INVOKE, "r", timeout_s=3)

    play(body)


def test_a_hook_of_a_server_that_does_not_speak_http_has_failed(play):
    async def body(world):
        world.answers = [b"SSH-2.0-OpenSSH\r\n"]
        with world.dialogue() as dialogue:
            result = await dialogue.ask(PRE_STOP, "r", timeout_s=3)
            assert json.loads(result.body)["errorType"] == "BadResponse"

    play(body)


def test_a_connection_that_was_closed_meanwhile_fails_an_event_and_not_a_probe(play):
    async def body(world):
        world.answers = [OK, b""]
        with world.dialogue() as dialogue:
            await dialogue.ask(INVOKE, "r1", timeout_s=3)
            assert await dialogue.ask(INVOKE, "r2", timeout_s=3) == Crashed(status=None)
            world.answers += [OK, b"", response(204, b"")]
            await dialogue.ask(INVOKE, "r3", timeout_s=3)
            assert await dialogue.probe(CHECK) == 204

    play(body)


# --- probes ---


def test_a_probe_gives_the_status_of_its_path(play):
    async def body(world):
        world.answers = [response(500, b"ill")]
        with world.dialogue() as dialogue:
            assert await dialogue.probe(CHECK) == 500
        assert world.written == b"GET /health?full HTTP/1.1\r\nhost: 10.0.0.1\r\n\r\n"

    play(body)


@pytest.mark.parametrize("answer", [None, b"", b"SSH-2.0\r\n"])
def test_a_probe_that_is_not_answered_is_a_zero(play, answer):
    async def body(world):
        world.answers = [answer]
        with world.dialogue() as dialogue:
            began = now()
            assert await dialogue.probe(CHECK) == 0
            assert now() - began <= 2
            assert dialogue.ready

    play(body)


def test_an_instance_that_is_unwell_takes_no_requests(play):
    async def body(world):
        with world.dialogue() as dialogue:
            dialogue.healthy = False
            assert not dialogue.ready

    play(body)
