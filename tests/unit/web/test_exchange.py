"""One connection to a server behind us, and who listens for its answers instead of waiting."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

import httptools
import pytest
from clock import run_on_clock, settle
from transport import FakeTransport

from anyfc.errors import RequestTimeout
from anyfc.web.exchange import RAW_BYTES, Exchange, Hints, NoAnswer, UpstreamFailed
from anyfc.web.message import Body, Header, PeerLost
from anyfc.web.outbox import Outbox

ASK = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: Raw/1\r\n\r\n"


class Ear:
    """Listens for an answer; keeps what there was of it each time that it was called."""

    def __init__(self, **settings: Any) -> None:
        self.heard: list[tuple[int, bytes | None]] = []
        self.exchange = Exchange(Outbox())
        self.wire = FakeTransport(self.exchange)
        self.ask(**settings)

    def ask(self, method: bytes = b"GET", **settings: Any) -> None:
        self.exchange.send(method, ASK, listener=self, **settings)

    def __call__(self) -> None:
        assert self.exchange.answered
        self.heard.append((self.exchange.status, self.exchange.body.read_nowait()))


def listen(*steps: bytes | Callable[[FakeTransport], None], **settings: Any) -> Ear:
    """Answer a request with some pieces, or other things that happen to a connection."""

    async def main() -> Ear:
        ear = Ear(**settings)
        await settle(1)
        for step in steps:
            assert not ear.heard, "the last step is the one to be heard"
            if isinstance(step, bytes):
                ear.wire.deliver(step)
            else:
                step(ear.wire)
        heard = list(ear.heard)
        ear.wire.lose()
        await settle()
        assert ear.heard == heard, "an answer is heard once, and at once"
        return ear

    return run_on_clock(main())


@pytest.mark.parametrize(
    ("steps", "heard"),
    [
        ([OK], (200, b"ok")),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], (200, b"ok")),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], (200, b"ok")),
        ([OK[:20], OK[20:]], (200, b"ok")),
        ([OK[:-1]], (200, None)),
        ([OK[:-2]], (200, None)),
        ([OK.replace(b"2\r", b"0\r")[:-2]], (200, b"")),
        ([b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n"], (304, b"")),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"], (200, None)),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
            (200, b"ok"),
        ),
    ],
)
def test_an_answer_is_heard_once_with_what_came_together_with_its_head(steps, heard):
    assert listen(*steps).heard == [heard]


def test_the_answer_to_head_is_whole_with_its_head():
    async def main() -> None:
        ear = Ear()
        await settle(1)
        ear.wire.deliver(OK)
        ear.exchange.reused = True
        ear.ask(b"HEAD")
        await settle(1)
        ear.wire.deliver(OK[:-2])
        assert ear.heard == [(200, b"ok"), (200, b"")]
        assert ear.exchange.reusable

    run_on_clock(main())


@pytest.mark.parametrize(
    "steps",
    [
        [FakeTransport.lose],
        [lambda wire: wire.lose(ConnectionResetError())],
        [OK[:20], FakeTransport.lose],
        [b"garbage\r\n\r\n"],
        [OK.replace(b"2\r", b"two\r")],
        [OK.replace(b"Content-Length: 2", b"Transfer-Encoding: gzip")],
        [b"HTTP/1.1 200 OK\r\nX: " + b"a" * RAW_BYTES],
        [SWITCH],
    ],
)
def test_that_there_will_be_no_answer_is_heard_once(steps):
    ear = listen(*steps)
    assert len(ear.heard) == 1

    async def main() -> None:
        with pytest.raises(UpstreamFailed):
            await ear.exchange.wait()

    run_on_clock(main())


def test_garbage_behind_a_head_is_taken_in_before_the_answer_is_heard():
    ear = listen(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\ngarbage\r\n")
    assert ear.heard == [(200, None)]
    assert ear.exchange.lost
    assert not ear.exchange.reusable


def test_a_switch_to_another_protocol_that_was_asked_for_is_heard():
    assert listen(SWITCH + b"early", upgrade=b"raw/1").heard == [(101, None)]


@pytest.mark.parametrize(
    "named",
    [
        b"Upgrade: raw\r\n",
        b"Upgrade: raw/1, h2c\r\n",
        b"Upgrade: raw/1\r\nUpgrade: raw/1\r\n",
        b"Upgrade: h2c\r\n",
    ],
)
def test_a_switch_to_what_was_not_asked_for_is_a_failure(named):
    ear = listen(SWITCH.replace(b"Upgrade: Raw/1\r\n", named) + b"early", upgrade=b"raw/1")
    assert ear.heard == [(0, None)]

    async def main() -> None:
        with pytest.raises(UpstreamFailed, match="not asked for"):
            await ear.exchange.wait()

    run_on_clock(main())


class Hinted(Hints):
    """Keeps the hints that it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, list[Header]]] = []

    def take(self, status: int, headers: Sequence[Header]) -> None:
        self.taken.append((status, list(headers)))


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def test_hints_are_passed_on_before_the_answer_and_other_interim_ones_are_not():
    hints = Hinted()
    interim = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + EARLY_HINTS
    assert listen(interim, EARLY_HINTS + OK, hints=hints).heard == [(200, b"ok")]
    early = (103, [(b"Link", b"</a>")])
    assert hints.taken == [(102, []), early, early]


def test_hints_that_nobody_wants_are_passed_over():
    async def main() -> None:
        hints = Hinted()
        ear = Ear(hints=hints)
        await settle(1)
        ear.exchange.ignore()
        ear.wire.deliver(EARLY_HINTS + OK)
        ear.exchange.reused = True
        ear.ask()
        await settle(1)
        ear.wire.deliver(EARLY_HINTS + OK)
        assert ear.heard == [(200, b"ok")]
        assert hints.taken == []

    run_on_clock(main())


def test_who_stops_listening_hears_nothing():
    async def main() -> None:
        for end in (lambda wire: wire.deliver(OK), FakeTransport.lose):
            ear = Ear()
            await settle(1)
            ear.exchange.ignore()
            end(ear.wire)
            assert ear.heard == []
            assert ear.exchange.answered

    run_on_clock(main())


def test_an_answer_that_was_heard_can_still_be_waited_for():
    async def main() -> None:
        ear = Ear()
        await settle(1)
        ear.wire.deliver(OK[:-1])
        await ear.exchange.wait()
        ear.wire.deliver(OK[-1:])
        assert ear.heard == [(200, None)]
        assert await ear.exchange.body.read() == b"o"
        assert await ear.exchange.body.read() == b"k"
        assert ear.exchange.reusable

    run_on_clock(main())


def test_what_comes_before_the_request_has_left_is_no_answer_to_it():
    async def main() -> None:
        ear = Ear()
        await settle(1)
        ear.wire.deliver(OK)
        ear.exchange.reused = True
        ear.ask()
        ear.wire.deliver(OK)
        await settle()
        assert ear.heard == [(200, b"ok"), (0, None)]
        assert ear.wire.written == ASK
        with pytest.raises(NoAnswer):
            await ear.exchange.wait()

    run_on_clock(main())


def test_who_hears_an_answer_may_use_the_connection_again_at_once():
    async def main() -> None:
        exchange = Exchange(Outbox())
        wire = FakeTransport(exchange)
        heard = []

        def hear() -> None:
            heard.append(exchange.body.read_nowait())
            assert exchange.reusable
            exchange.reused = True
            if len(heard) < 3:
                exchange.send(b"GET", ASK, listener=hear)

        exchange.send(b"GET", ASK, listener=hear)
        for body in (b"aa", b"bb", b"cc"):
            await settle(1)
            wire.deliver(OK[:-2] + body)
        assert heard == [b"aa", b"bb", b"cc"]
        assert wire.written == 3 * ASK

    run_on_clock(main())


def test_a_sender_of_the_body_that_fails_is_heard():
    async def main() -> None:
        ear = Ear()
        await settle(1)
        ear.wire.deliver(OK)
        ear.exchange.reused = True
        body = Body(ear.wire, None)
        ear.exchange.send(b"POST", ASK, body, listener=ear)
        body.fail(RequestTimeout())
        assert ear.heard == [(200, b"ok"), (0, None)]
        with pytest.raises(RequestTimeout):
            await ear.exchange.wait()

    run_on_clock(main())


def test_an_answer_of_which_no_more_comes_is_heard_before_it_breaks_off():
    async def main() -> None:
        ear = Ear()
        await settle(1)
        ear.wire.deliver(OK[:-1])
        ear.wire.lose()
        assert ear.heard == [(200, None)]
        assert await ear.exchange.body.read() == b"o"
        with pytest.raises(PeerLost):
            await ear.exchange.body.read()

    run_on_clock(main())


def test_what_came_before_a_failed_write_is_heard_and_its_connection_is_not_used_again():
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(OK)
            exchange = Exchange(Outbox())
            wire = FakeTransport(exchange, socket=ours)
            heard = []

            def hear() -> None:
                heard.append((exchange.status, exchange.body.read_nowait(), exchange.reusable))

            exchange.send(b"POST", ASK, listener=hear)
            await settle(1)
            wire.lose(BrokenPipeError())
            assert heard == [(200, b"ok", False)]

    run_on_clock(main())


def test_our_own_mistakes_in_reading_do_not_leave_a_listener_waiting(monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        monkeypatch.setattr(Exchange, "on_headers_complete", fail)
        ear = Ear()
        await settle(1)
        with pytest.raises(httptools.HttpParserCallbackError):
            ear.wire.deliver(OK)
        await settle()
        assert ear.wire.aborted
        assert ear.heard == [(0, None)]
        with pytest.raises(NoAnswer):
            await ear.exchange.wait()

    run_on_clock(main())
