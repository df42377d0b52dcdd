"""Web calls to a function's own server: what of a request reaches it, and what of its answer back.

Source: runtime.md 4.2 and 4.3 (pass-through), 12.3, 13.2 and 13.3 (headers), 14 (limits).
"""

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from support import ServerProcess, error_of
from transport import Seen
from web_functions import Web, deploying, read_folder
from wire import Raw

KIB = 1024
MIB = 1024 * KIB
LIMIT_BYTES = 32 * MIB
# What one large answer may add to the memory of the server.
FLAT_MIB = 24
COMMON = {
    "access-key-id", "access-key-secret", "function-name", "function-handler", "function-memory",
    "region", "account-id", "qualifier", "version-id", "service-name", "service-logproject",
    "service-logstore", "request-id", "control-path",
}  # fmt: skip


@pytest.fixture(scope="module")
def deploy(start_server: Callable[..., ServerProcess]) -> Iterator[Callable[..., Web]]:
    """Deploy the server that shows requests as they come."""
    with deploying(start_server()) as made:
        yield partial(made, read_folder("mirror"), "python3", "server.py")


@pytest.fixture(scope="module")
def web(deploy: Callable[..., Web]) -> Web:
    """With room for ten requests at once."""
    return deploy(instanceConcurrency=10)


@pytest.fixture(scope="module")
def alone(deploy: Callable[..., Web]) -> Web:
    return deploy()


def seen_head(answer: Seen) -> tuple[str, list[tuple[str, str]]]:
    """What the server got: the first line, and the headers with their names as they came."""
    first, *lines = answer.body.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return first, [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def raw(data: bytes, *, stay: bool = True) -> str:
    """The path at which the server answers with these bytes."""
    return f"/~raw{'-stay' if stay else ''}?{quote_from_bytes(data, safe='')}"


class TestRequests:
    @pytest.mark.parametrize(
        "target",
        [
            "/",
            "/a/b/",
            "//",
            "//a//b//../c/./d",
            "/%2F%2f%41%7e%00%ff",
            "/a;b=c;d/e,f:g@h!$&'()*+-._~",
            "/?",
            "/?a=b?c=d&&e&=f&%26=%3D",
            "/%E4%BD%A0%E5%A5%BD?q=%E4%BD%A0+%20",
            '/"<>[]\\^`{|}',
            "/" + "x" * 4000 + "?" + "y" * 90,
        ],
    )
    def test_paths_and_queries_arrive_byte_for_byte(self, web: Web, target: str) -> None:
        first, _ = seen_head(web.ask("GET", target))
        assert first == f"GET {target} HTTP/1.1"

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    @pytest.mark.parametrize("body", [b"", b"\x00\xff\r\n\r\n body"])
    def test_every_method_arrives_with_its_body(self, web: Web, method: str, body: bytes) -> None:
        answer = web.ask(method, "/~size", body)
        assert answer.body == b"%d %b" % (len(body), hashlib.sha256(body).hexdigest().encode())
        answer = web.ask(method, "/a", body)
        assert answer.body.endswith(b"\r\n\r\n" + body)
        assert seen_head(answer)[0] == f"{method} /a HTTP/1.1"

    def test_headers_arrive_but_for_those_of_the_connection_and_the_platform(
        self, web: Web
    ) -> None:
        sent = [
            ("x-twice", "1"),
            ("X-Twice", "2"),
            ("cookie", "a=b; c=d"),
            ("authorization", "Bearer x"),
            ("accept-encoding", "br, gzip"),
            ("x-latin", "caf\xe9"),
            ("x-empty", ""),
            ("te", "trailers"),
            ("user-agent", "tests"),
        ]
        dropped = [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("x-fc-foo", "1"),
            ("x-fc-request-id", "mine"),
            ("x-fc-access-key-id", "mine"),
            ("x-fc-control-path", "/invoke"),
        ]
        answer = web.ask("GET", "/", headers=sent + dropped)
        _, lines = seen_head(answer)
        own = [(n.lower(), v) for n, v in lines if not n.lower().startswith("x-fc-")]
        expected = [(name.lower(), value) for name, value in sent]
        expected += [("host", web.host), ("x-forwarded-for", "127.0.0.1")]
        assert sorted(own) == sorted([*expected, ("x-forwarded-proto", "http")])
        assert "mine" not in [value for _, value in lines]

    def test_what_the_platform_says_is_there_even_if_there_is_nothing_to_say(
        self, web: Web
    ) -> None:
        answer = web.ask("GET", "/a/b")
        _, lines = seen_head(answer)
        told = {n.removeprefix("x-fc-"): v for n, v in lines if n.startswith("x-fc-")}
        assert told.keys() >= COMMON
        assert "security-token" not in told
        assert told["request-id"].encode() == answer.headers[b"x-fc-request-id"]
        assert told["control-path"] == "/http-invoke"
        assert told["function-name"] == web.name
        assert told["access-key-id"] == told["version-id"] == ""
        assert told["qualifier"] == "LATEST"

    def test_an_event_is_a_post_with_a_type_of_its_own(self, web: Web) -> None:
        headers, body = web.invoke(b"hello world", content_type="application/json")
        head, _, event = body.partition(b"\r\n\r\n")
        assert event == b"hello world"
        first, lines = seen_head(Seen(body=body))
        told = {name.lower(): value for name, value in lines}
        assert first == "POST /invoke HTTP/1.1"
        assert told["content-type"] == "application/octet-stream"
        assert told["content-length"] == "11"
        assert told["x-fc-control-path"] == "/invoke"
        assert told["x-fc-request-id"] == headers["x-fc-request-id"]
        assert re.fullmatch(r"10\.231\.\d+\.\d+(:\d+)?|127\.0\.0\.1(:\d+)?", told["host"]), head

    def test_chunks_arrive_as_a_body_and_trailers_stay_behind(self, web: Web) -> None:
        head = web.head("POST", "/~size", framing="transfer-encoding: chunked")
        body = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
        with Raw(web.server) as client:
            answer = client.ask(head + body)
            assert answer.body.split()[0] == b"11"
            again = client.ask(head.replace(b"/~size", b"/mirror") + body)
        assert b"hello" in again.body
        assert b"X-Trailer" not in again.body

    def test_who_waits_for_a_word_before_the_body_gets_it_from_us(self, web: Web) -> None:
        head = web.head("POST", "/a", [("expect", "100-continue")], framing="content-length: 5")
        with Raw(web.server) as client:
            client.send(head)
            assert client.read_interim() == 100
            answer = client.ask(b"hello")
        assert answer.body.endswith(b"\r\n\r\nhello")
        assert b"expect" not in answer.body.lower()

    @pytest.mark.parametrize("framing", ["content-length: %d", "transfer-encoding: chunked"])
    def test_32_mib_arrive_and_33_are_refused(self, web: Web, framing: str) -> None:
        chunked = "chunked" in framing
        for size, status in ((LIMIT_BYTES, 200), (LIMIT_BYTES + MIB, 400)):
            body = bytes(size)
            wire = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body
            with Raw(web.server) as client:
                client.send(
                    web.head("POST", "/~size", framing=framing if chunked else framing % size)
                )
                client.send(wire)
                answer = client.read()
            assert answer.status == status
            if status == 200:
                expected = b"%d %b" % (size, hashlib.sha256(body).hexdigest().encode())
                assert answer.body == expected
            else:
                assert error_of(answer.body)["Code"] == "InvalidArgument"
        assert web.ask("GET", "/~who").status == 200

    @pytest.mark.parametrize(
        ("target", "headers"),
        [("/" + "x" * 5 * KIB, []), ("/", [("x-large", "x" * 9 * KIB)])],
        ids=["path", "headers"],
    )
    def test_a_head_above_the_limits_is_refused(
        self, web: Web, target: str, headers: list[tuple[str, str]]
    ) -> None:
        answer = web.ask("GET", target, headers=headers)
        assert (answer.status, error_of(answer.body)["Code"]) == (400, "InvalidArgument")


class TestAnswers:
    def test_status_headers_and_body_come_back_but_for_what_is_reserved(self, web: Web) -> None:
        sent = (
            b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 4\r\nServer: x\r\nDate: y\r\n"
            b"X-Fc-Foo: z\r\nX-Fc-Status: 404\r\nConnection: keep-alive\r\nKeep-Alive: x\r\n"
            b"Content-Type: text/x\r\nX-Own: caf\xe9\r\nContent-Encoding: br\r\n\r\nbody"
        )
        answer = web.ask("GET", raw(sent))
        assert (answer.status, answer.body) == (418, b"body")
        assert answer.headers[b"x-own"] == b"caf\xe9"
        assert answer.headers.keys() == {
            b"content-encoding", b"content-length", b"content-type", b"date", b"x-fc-request-id",
            b"x-own",
        }  # fmt: skip
        assert answer.headers[b"date"] != b"y"

    def test_a_header_may_be_there_twice(self, web: Web) -> None:
        sent = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
        with Raw(web.server) as client:
            client.send(web.request("GET", raw(sent), headers=[("connection", "close")]))
            received = b""
            while data := client.socket.recv(KIB):
                received += data
        assert re.findall(rb"(?im)^set-cookie: (\w=\d)\r$", received) == [b"a=1", b"b=2"]

    @pytest.mark.parametrize("status", [204, 304, 205, 300, 400, 404, 500, 503, 599])
    def test_every_status_is_the_functions(self, web: Web, status: int) -> None:
        length = b"" if status in (204, 304) else b"Content-Length: 0\r\n"
        sent = b"HTTP/1.1 %d X\r\nX-Own: 1\r\n%b\r\n" % (status, length)
        with Raw(web.server) as client:
            for _ in range(2):  # nothing of it is left on the connections
                answer = client.ask(web.request("GET", raw(sent)))
                assert (answer.status, answer.body) == (status, b"")
                assert answer.headers[b"x-own"] == b"1"

    def test_what_answers_head_has_a_length_and_no_body(self, web: Web) -> None:
        sent = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Own: 1\r\n\r\n"
        with Raw(web.server) as client:
            client.send(
                web.request("HEAD", raw(sent)) + web.request("GET", "/", headers=[("x", "y")])
            )
            received = b""
            while b"x: y" not in received:
                received += client.socket.recv(KIB)
        head, _, rest = received.partition(b"\r\n\r\n")
        assert re.search(rb"(?i)\r\ncontent-length: 1000(\r|$)", head)
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")

    def test_interim_answers_are_passed_over(self, web: Web) -> None:
        sent = (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        )
        with Raw(web.server) as client:
            client.send(web.request("GET", raw(sent)))
            answer = client.read()
        assert (answer.status, answer.body) == (200, b"ok")
        assert b"link" not in answer.headers

    @pytest.mark.parametrize(
        "sent",
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3\r\nwho\r\n2;x=y\r\nle\r\n0\r\nX-Sum: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nwhole",
            b"HTTP/1.0 200 OK\r\n\r\nwhole",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhole",
            b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nwhole",
        ],
        ids=["chunks and a trailer", "until the end", "HTTP/1.0", "close", "no reason"],
    )
    def test_a_body_may_be_framed_in_every_way(self, web: Web, sent: bytes) -> None:
        # One that closes without a word would meet the POST below, which is not sent twice.
        stays = b"chunked" in sent or sent.startswith(b"HTTP/1.1 200\r\n")
        with Raw(web.server) as client:
            for _ in range(2):
                answer = client.ask(web.request("GET", raw(sent, stay=stays)))
                assert (answer.status, answer.body) == (200, b"whole")
                assert b"x-sum" not in answer.headers
        assert web.invoke(b"x")[1].endswith(b"x")

    def test_a_client_of_http_1_0_gets_chunks_as_a_plain_body(self, web: Web) -> None:
        sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
        with Raw(web.server) as client:
            client.send(web.head("GET", raw(sent), version="1.0"))
            (answer,) = client.read_to_end()
        assert answer.body == b"whole"
        assert b"transfer-encoding" not in answer.headers

    def test_8_kib_of_headers_come_back_and_more_do_not(self, web: Web) -> None:
        for size, status in ((8 * KIB - 20, 200), (8 * KIB + 1, 502)):
            sent = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: %b\r\n\r\nok" % (b"x" * size)
            answer = web.ask("POST", "/~raw-stay", sent)
            assert answer.status == status
        assert error_of(answer.body)["Code"] == "BadResponse"

    def test_to_who_calls_the_api_only_the_body_counts(self, web: Web) -> None:
        sent = b"HTTP/1.1 400 X\r\nAuthor: A\r\nContent-Length: 3\r\n\r\nbad"
        headers, body = web.invoke(b"/~raw-stay " + sent)
        assert body == b"bad"
        assert "x-fc-error-type" not in headers
        assert "author" not in headers

    def test_a_server_that_reports_its_failure_is_heard_by_who_calls_the_api(
        self, web: Web
    ) -> None:
        sent = b"HTTP/1.1 200 OK\r\nX-Fc-Status: 404\r\nContent-Length: 3\r\n\r\nbad"
        headers, body = web.invoke(b"/~raw-stay " + sent)
        assert (headers["x-fc-error-type"], body) == ("InvocationError", b"bad")
        answer = web.ask("POST", "/~raw-stay", sent)
        assert (answer.status, answer.body) == (200, b"bad")
        for request_id in (headers["x-fc-request-id"], answer.headers[b"x-fc-request-id"].decode()):
            assert web.log(request_id)[-1].endswith(", Error: Unhandled function error")


class TestStreams:
    def test_an_event_arrives_before_the_last_one_is_sent(self, web: Web) -> None:
        with Raw(web.server) as client:
            client.send(web.request("GET", "/~events", headers=[("accept", "text/event-stream")]))
            while client.partly.body != b"data: first\n\n":
                client.receive()
            assert client.partly.headers[b"content-type"] == b"text/event-stream"
            assert web.ask("POST", "/~go").status == 200
            answer = client.read()
        assert answer.body == b"data: first\n\ndata: last\n\n"

    def test_what_is_sent_in_chunks_is_one_body_to_who_calls_the_api(self, web: Web) -> None:
        event = b"/~raw-stay HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert web.invoke(event + b"2\r\non\r\n1\r\ne\r\n0\r\n\r\n")[1] == b"one"

    def test_client_and_server_talk_while_both_have_more_to_say(self, web: Web) -> None:
        with Raw(web.server) as client:
            client.send(web.head("POST", "/~talk", framing="transfer-encoding: chunked"))
            for n in range(20):
                word = b"word %d." % n
                client.send(b"%x\r\n%b\r\n" % (len(word), word))
                while not client.partly.body.endswith(word):
                    client.receive()
            answer = client.ask(b"0\r\n\r\n")
        assert answer.body.endswith(b"".join(b"word %d." % n for n in range(20)))

    def test_a_gibibyte_flows_down_and_memory_stays_flat(self, web: Web) -> None:
        web.ask("GET", "/~big?1")
        before_mib = peak_mib(web.server.pid)
        received_bytes = 0
        buffer = bytearray(MIB)
        with Raw(web.server) as client:
            client.send(web.request("GET", "/~big?1024", headers=[("connection", "close")]))
            while size := client.socket.recv_into(buffer):
                received_bytes += size
        assert 0 < received_bytes - 1024 * MIB < KIB
        assert peak_mib(web.server.pid) - before_mib < FLAT_MIB

    def test_who_reads_slowly_slows_the_server_down(self, web: Web) -> None:
        before_mib = peak_mib(web.server.pid)
        with Raw(web.server, receive_bytes=4 * KIB) as client:
            client.send(web.request("GET", "/~big?64"))
            client.socket.recv(KIB)
            assert web.ask("GET", "/~who").status == 200
            assert peak_mib(web.server.pid) - before_mib < FLAT_MIB


class TestLog:
    def test_the_end_of_the_log_comes_to_who_asks_for_it(self, alone: Web) -> None:
        answer = alone.ask("GET", "/~say?hello%20there", headers=[("x-fc-log-type", "Tail")])
        request_id = answer.headers[b"x-fc-request-id"].decode()
        first, *lines = b64decode(answer.headers[b"x-fc-log-result"]).decode().split("\n")
        assert answer.body == b"said"
        assert first == f"FC Invoke Start RequestId: {request_id}"
        assert lines[:3] == ["hello there", f"FC Invoke End RequestId: {request_id}", ""]
        assert lines[3].startswith("Duration: ")
        headers, _ = alone.invoke(x_fc_log_type="Tail")
        assert "x-fc-log-result" in headers

    def test_nobody_else_gets_it(self, web: Web, alone: Web) -> None:
        assert b"x-fc-log-result" not in alone.ask("GET", "/~say?a").headers
        shared = web.ask("GET", "/~say?a", headers=[("x-fc-log-type", "Tail")])
        assert b"x-fc-log-result" not in shared.headers

    def test_what_is_printed_is_in_the_log_of_its_request(self, alone: Web) -> None:
        answer = alone.ask("GET", "/~say?%E4%BD%A0%E5%A5%BD")
        request_id = answer.headers[b"x-fc-request-id"].decode()
        assert alone.log(request_id) == [
            f"FC Invoke Start RequestId: {request_id}",
            "你好",
            f"FC Invoke End RequestId: {request_id}",
        ]


def peak_mib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // KIB
