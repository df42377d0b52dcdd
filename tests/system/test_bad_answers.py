"""Servers that answer badly, or not at all: what their callers see, and that others are served.

Source: runtime.md 4.1 (broken connections), 8.9 (exits), 12.3 (what is seen of failures).
"""

from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import quote_from_bytes

import pytest
from support import ServerProcess, aside, error_of, refused, wait_until
from transport import Seen
from web_functions import Boxes, Web, deploying, read_folder
from wire import Raw

KIB = 1024
MIB = 1024 * KIB
BARE = {"ANYFC_SPARE_PROCESSES": "0", "ANYFC_SPARE_NETWORKS": "0"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SMUGGLED = b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"

NOT_HTTP = {
    "garbage": b"garbage\r\n\r\n",
    "bytes": bytes(range(256)),
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a strange version": b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + SMUGGLED,
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + SMUGGLED,
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    b"\r\n" + SMUGGLED,
    "an unknown encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + SMUGGLED,
    "a header without a name": b"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok",
    "a zero byte in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "an upgrade that nobody asked for": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n"
    b"\r\n",
    "what is no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    "a head of 100 KiB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100 * KIB + b"\r\n\r\n",
    "a head of 9 KiB": b"HTTP/1.1 200 OK\r\nX: "
    + b"x" * 9 * KIB
    + b"\r\nContent-Length: 0\r\n\r\n",
}
# What comes first, and then again and again.
ENDLESS = {
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * KIB),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * KIB),
}
BROKEN_OFF = {
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    "chunks without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
}


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(env=BARE)


@pytest.fixture(scope="module", autouse=True)
def boxes(server: ServerProcess) -> Iterator[Boxes]:
    made = Boxes(server)
    yield made
    wait_until(lambda: not made.left())
    assert "Traceback" not in server.output


@pytest.fixture(scope="module")
def deploy(server: ServerProcess, boxes: Boxes) -> Iterator[Callable[..., Web]]:
    """Deploy a server that answers as it is told."""
    with deploying(server) as made:
        yield partial(made, read_folder("mirror"), "python3", "server.py")


@pytest.fixture(scope="module")
def web(deploy: Callable[..., Web]) -> Web:
    """One request at a time."""
    return deploy(timeout=5)


@pytest.fixture(scope="module")
def shared(deploy: Callable[..., Web]) -> Web:
    """Ten requests at once."""
    return deploy(instanceConcurrency=10)


def who(web: Web) -> bytes:
    answer = web.ask("GET", "/~who")
    assert answer.status == 200
    return answer.body


def ask_for_broken(web: Web, method: str, target: str, body: bytes = b"") -> Seen:
    """Call, and see the connection end in the middle of the answer."""
    with Raw(web.server) as client:
        client.send(web.request(method, target, body))
        with pytest.raises(ConnectionError):
            client.read()
        assert not client.partly.complete
        return client.partly


def is_exit(text: bytes) -> bool:
    message = error_of(text)["errorMessage"]
    return str(message).startswith("Process exited unexpectedly before completing request (dur")


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_not_http_is_a_bad_response(web: Web, sent: bytes) -> None:
    first = who(web)
    answer = web.ask("POST", "/~raw", sent)
    assert (answer.status, error_of(answer.body)["Code"]) == (502, "BadResponse")
    assert answer.headers[b"x-fc-request-id"]
    assert who(web) == first


def test_an_event_may_be_answered_with_what_is_not_http_too(web: Web) -> None:
    with refused("BadResponse", 502, "cannot be understood"):
        web.invoke(b"/~raw garbage\r\n\r\n")
    assert web.invoke(b"/~who")[1] == who(web)


@pytest.mark.parametrize(("begin", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_what_says_nothing_without_an_end_is_broken_off(
    web: Web, begin: bytes, piece: bytes
) -> None:
    target = f"/~endless?{quote_from_bytes(piece)}"
    if b"chunked" in begin:
        assert ask_for_broken(web, "POST", target, begin).status == 200
    else:
        answer = web.ask("POST", target, begin)
        assert (answer.status, error_of(answer.body)["Code"]) == (502, "BadResponse")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["none", "half"])
def test_a_connection_that_ends_before_the_answer_looks_like_an_exit(web: Web, sent: bytes) -> None:
    first = who(web)
    answer = web.ask("POST", "/~raw", sent)
    assert answer.status == 502
    assert is_exit(answer.body)
    headers, body = web.invoke(b"/~raw " + sent)
    assert headers["x-fc-error-type"] == "UnhandledInvocationError"
    assert is_exit(body)
    assert who(web) == first


@pytest.mark.parametrize("sent", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_half_an_answer_never_looks_whole(web: Web, sent: bytes) -> None:
    seen = ask_for_broken(web, "POST", "/~raw", sent)
    assert (seen.status, seen.body) == (200, b"half")
    assert web.ask("GET", "/~size").status == 200


def test_of_two_answers_the_first_counts_and_nobody_gets_the_second(web: Web) -> None:
    second = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
    for sent in (OK + second, OK + b"garbage", OK + OK + second):
        assert web.ask("POST", "/~raw-stay", sent).body == b"ok"
        assert web.ask("GET", "/~size").body.startswith(b"0 ")
        assert web.invoke(b"/~raw-stay " + sent)[1] == b"ok"
        assert web.invoke(b"hello")[1].endswith(b"hello")


class TestKeepAlive:
    def test_a_get_that_meets_a_closed_connection_is_sent_again(self, web: Web) -> None:
        first = who(web)
        for _ in range(3):
            answer = web.ask("GET", "/~once")
            assert (answer.status, answer.body + b" ") == (200, first)

    def test_a_post_that_meets_one_fails_and_the_next_does_not(self, web: Web) -> None:
        first = who(web)
        assert web.ask("POST", "/~once", b"1").status == 200
        answer = web.ask("POST", "/~once", b"2")
        assert answer.status == 502
        assert is_exit(answer.body)
        answer = web.ask("POST", "/~once", b"3")
        assert (answer.status, answer.body) == (200, first.strip() + b"3")

    def test_a_server_may_close_after_every_answer(self, web: Web) -> None:
        for _ in range(10):
            assert web.ask("GET", f"/~raw?{quote_from_bytes(OK)}").body == b"ok"


class TestBodies:
    @pytest.mark.parametrize(
        ("target", "size"), [("/~early", 10), ("/~early", 8 * MIB), ("/~early?stay", 8 * MIB)]
    )
    def test_an_answer_may_come_before_the_body_was_read(
        self, shared: Web, target: str, size: int
    ) -> None:
        answer = shared.ask("POST", target, bytes(size))
        assert (answer.status, answer.body) == (200, b"early")

    def test_a_body_that_is_never_read_ends_with_the_time_of_the_request(
        self, deploy: Callable[..., Web]
    ) -> None:
        hasty = deploy(timeout=1)
        answer = hasty.ask("POST", "/~never", bytes(8 * MIB))
        assert (answer.status, error_of(answer.body)["Code"]) == (502, "FunctionTimeout")
        assert hasty.ask("GET", "/~who").status == 200


class TestExits:
    @pytest.mark.parametrize("how", ["0", "3", "kill"])
    def test_before_the_answer(self, web: Web, boxes: Boxes, how: str) -> None:
        first = who(web)
        boxes.look()
        answer = web.ask("GET", f"/~die?{how}")
        assert (answer.status, answer.headers[b"content-type"]) == (502, b"application/json")
        assert is_exit(answer.body)
        end = web.log(answer.headers[b"x-fc-request-id"].decode())[-1]
        assert "Error: Process exited unexpectedly before completing request (duration: " in end
        assert who(web) != first

    def test_in_the_middle_of_the_answer(self, web: Web) -> None:
        first = who(web)
        seen = ask_for_broken(web, "GET", "/~leave?3")
        assert (seen.status, seen.body) == (200, b"begun")
        second = who(web)
        assert second != first
        headers, body = web.invoke(b"/~leave?3")
        assert headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert is_exit(body)
        assert who(web) not in (first, second)

    def test_all_who_share_the_instance_fail_and_later_ones_do_not(
        self, shared: Web, boxes: Boxes
    ) -> None:
        first = who(shared)
        clients = [Raw(shared.server) for _ in range(8)]
        for client in clients[:4]:
            client.send(shared.request("GET", "/~never"))
        for client in clients[4:]:
            client.send(shared.head("POST", "/~talk", framing="transfer-encoding: chunked"))
            client.receive()
        boxes.look()
        api = aside(lambda: shared.invoke(b"/~never"))
        wait_until(lambda: sum("Invoke Start" in line for line in shared.log()) >= 10)
        assert shared.ask("GET", "/~die?3").status == 502
        assert all(is_exit(client.read().body) for client in clients[:4])
        assert is_exit(api.result(10)[1])
        for client in clients[4:]:
            with pytest.raises(ConnectionError):
                client.read()
        for client in clients:
            client.socket.close()
        assert who(shared) != first
