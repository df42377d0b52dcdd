"""The HTTP of a real server: what clients get up to, and that nothing of it is left behind."""

import hashlib
import io
import json
import os
import resource
import select
import signal
import socket
import struct
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support import (
    KEY,
    ServerProcess,
    create_function,
    invoke,
    make_sdk,
    wait_until,
)
from wire import Raw, ask_once, invocation, signed_head

from anyfc.client import Client

KIB = 1024
MIB = 1024 * KIB
LIMIT_BYTES = 32 * MIB
# What 16 connections may hold at once, in both directions, with much to spare.
GROWTH_BYTES = 64 * MIB
SHORT = {"ANYFC_HEADER_S": "1", "ANYFC_BODY_STALL_S": "2", "ANYFC_KEEP_ALIVE_S": "3"}
# Longer than instances and the connections to the control API are idle.
QUIET_S = 10.0

ECHO = "def handler(event, context):\n    return event\n"
SIZE = "def handler(event, context):\n    return str(len(event))\n"
LARGE = "def handler(event, context):\n    return b'x' * int(event)\n"
MEET = """
import json
import socket


def handler(event, context):
    with socket.create_connection(("127.0.0.1", json.loads(event)["port"])) as peer:
        return peer.recv(100)
"""
GET = b"GET / HTTP/1.1\r\nHost: h\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\n"
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


MALFORMED = {
    "nothing that is HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n",
    "two Content-Lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + SMUGGLED,
    "the same Content-Length twice": POST + b"Content-Length: 5\r\n" * 2 + b"\r\n" + SMUGGLED,
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\n" + SMUGGLED,
    "a negative length": POST + b"Content-Length: -5\r\n\r\n" + SMUGGLED,
    "a signed length": POST + b"Content-Length: +5\r\n\r\n" + SMUGGLED,
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\n" + SMUGGLED,
    "a length out of range": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "CL.TE": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + SMUGGLED,
    "TE.TE": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n" + SMUGGLED,
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + SMUGGLED,
    "TE behind a tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + SMUGGLED,
    "TE with a space": POST + b"Transfer-Encoding : chunked\r\n\r\n" + SMUGGLED,
    "TE quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + SMUGGLED,
    "TE that is not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + SMUGGLED,
    "TE behind a bare CR": POST + b"X: 1\rTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
    "TE behind a bare LF": POST + b"X: 1\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
    "TE in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n",
    "a chunk without a size": POST + b"Transfer-Encoding: chunked\r\n\r\n\r\n\r\n",
    "a chunk that is too long": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    "a chunk size out of range": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20,
    "a negative chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n",
    "a chunk that ends with LF": POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "a folded header": GET + b"X-A: 1\r\n 2\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\nHost: h\n\n",
    "a zero byte in a header": GET + b"X-A: 1\x002\r\n\r\n",
    "a header without a name": GET + b": 1\r\n\r\n",
    "a space in a header name": GET + b"X A: 1\r\n\r\n",
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT": b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "HTTP/2": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "a relative target": b"GET a HTTP/1.1\r\nHost: h\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: h\r\n\r\n",
    "an unknown expectation": GET + b"Expect: magic\r\n\r\n",
    "10,000 tiny headers": GET + b"a:b\r\n" * 10_000 + b"\r\n",
    "9 KiB of headers": GET + b"X-A: " + b"x" * 9 * KIB + b"\r\n\r\n",
    "a target of 5 KiB": b"GET /" + b"x" * 5 * KIB + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "a head without an end": GET + b"X-A: " + b"x" * MIB,
    "a target without an end": b"GET /" + b"x" * MIB,
    "trailers without an end": POST
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    + b"X: 1\r\n" * 100_000,
}


class Edge:
    """A server with little patience, and functions on it."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.sdk = make_sdk(server)
        for name, code in (("echo", ECHO), ("size", SIZE), ("large", LARGE), ("meet", MEET)):
            create_function(self.sdk, code, function_name=name, timeout=60)
        for name in ("echo", "size", "large", "meet"):
            invoke(self.sdk, name, b"1")
        self.descriptors: list[str] = []

    def list_descriptors(self) -> list[str]:
        """What the server has open."""
        found = []
        for link in Path(f"/proc/{self.server.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(link))
        return sorted(found)

    def list_when_quiet(self, enough: int) -> list[str]:
        """What is open when nothing goes on; not more than `enough` is few enough."""
        fewest = self.list_descriptors()
        give_up = time.monotonic() + QUIET_S
        while len(fewest) > enough and time.monotonic() < give_up:
            select.select([], [], [], 0.05)
            fewest = min(fewest, self.list_descriptors(), key=len)
        return fewest

    def connections(self) -> int:
        """TCP connections that the server has not closed."""
        inodes = set(self.list_descriptors())
        mine = f":{self.server.port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = "0A"
        return sum(
            row[1].endswith(mine) and row[3] != listening and f"socket:[{row[9]}]" in inodes
            for row in rows
        )

    def check_connections(self) -> None:
        """It serves, no connection is open, and there was no stack trace."""
        with Raw(self.server) as raw:
            assert raw.ask(invocation(self.server, "echo", b"still there")).body == b"still there"
        wait_until(lambda: self.connections() == 0)
        assert "Traceback" not in self.server.output

    def check_descriptors(self) -> None:
        """There are no more descriptors than at the start."""
        now = self.list_when_quiet(len(self.descriptors))
        new = [name for name in now if name not in self.descriptors]
        assert len(now) <= len(self.descriptors), new


@pytest.fixture(scope="module")
def opened(start_server: Callable[..., ServerProcess]) -> Edge:
    edge = Edge(start_server(env={**SHORT, "ANYFC_IDLE_S": "1"}))
    edge.descriptors = edge.list_when_quiet(0)
    return edge


@pytest.fixture(scope="class")
def watched(opened: Edge) -> Iterator[Edge]:
    yield opened
    opened.check_descriptors()


@pytest.fixture
def edge(watched: Edge) -> Iterator[Edge]:
    yield watched
    watched.check_connections()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestMalformed:
    @pytest.mark.parametrize("wire", MALFORMED.values(), ids=MALFORMED)
    def test_it_is_answered_once_with_an_error_and_the_connection_ends(
        self, edge: Edge, wire: bytes
    ) -> None:
        (seen,) = ask_once(edge.server, wire)
        assert seen.headers[b"connection"] == b"close"
        content = json.loads(seen.body)
        assert content["RequestId"] == seen.headers[b"x-fc-request-id"].decode()
        # A signature is asked for as soon as the head is there, before a body can be wrong.
        codes = {400: ("InvalidArgument", "MissingRequiredHeader"), 501: ("NotSupported",)}
        assert content["Code"] in codes[seen.status]

    @pytest.mark.parametrize(
        "chunks",
        [
            b"x\r\n",
            b"3\r\nabcdef\r\n",
            b"1;" + b"x" * MIB,
            (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 1000,
            b"0" * MIB,
            b"0\r\nX-Trailer: " + b"x" * MIB,
        ],
        ids=["no size", "too long", "extension", "extensions", "zeros", "trailer"],
    )
    def test_bad_chunks_of_a_signed_request_are_answered_too(
        self, edge: Edge, chunks: bytes
    ) -> None:
        wire = invocation(edge.server, "echo", framing="chunked") + chunks
        (seen,) = ask_once(edge.server, wire)
        assert (seen.status, json.loads(seen.body)["Code"]) == (400, "InvalidArgument")

    def test_a_chunk_that_is_announced_far_too_large_is_refused_as_it_comes(
        self, edge: Edge
    ) -> None:
        head = invocation(edge.server, "echo", framing="chunked") + b"ffffffffffffffff\r\n"
        with Raw(edge.server) as raw:
            raw.send(head)
            for _ in range(33):
                raw.send(bytes(MIB))
            seen = raw.read()
        assert (seen.status, json.loads(seen.body)["Code"]) == (400, "EntityTooLarge")

    def test_a_body_longer_than_it_said_is_not_the_signed_one_and_the_rest_no_request(
        self, edge: Edge
    ) -> None:
        wire = invocation(edge.server, "echo", b"hello world")
        wire = wire.replace(b"content-length: 11", b"content-length: 5")
        seen = ask_once(edge.server, wire)
        assert [s.status for s in seen] == [403, 400]
        assert json.loads(seen[0].body)["Code"] == "SignatureNotMatch"


class TestTime:
    def test_who_is_slow_is_told_or_left(self, edge: Edge) -> None:
        short = invocation(edge.server, "echo", b"hello")
        function = "/2023-03-30/functions/echo"
        slow = {
            "silent": (b"", []),
            "slow line": (b"GET / HT", [408]),
            "slow head": (GET, [408]),
            "slow body": (short[:-2], [408]),
            "body shorter than it said": (short.replace(b"th: 5", b"th: 9"), [408]),
            "slow chunk": (invocation(edge.server, "echo", framing="chunked") + b"5\r\nab", [408]),
            "slow upload": (signed_head(edge.server, "PUT", function, b"hello"), [408]),
            "idle": (short, [200]),
            "slow second head": (short + b"GET / HT", [200, 408]),
        }
        connections = {name: Raw(edge.server) for name in slow}
        for name, raw in connections.items():
            raw.send(slow[name][0])
        for name, raw in connections.items():
            assert [s.status for s in raw.read_to_end()] == slow[name][1], name
            raw.socket.close()

    def test_a_head_byte_by_byte_is_cut_off_in_its_time(self, edge: Edge) -> None:
        with Raw(edge.server) as raw:
            began = time.monotonic()
            for byte in GET + b"X-A: " + b"x" * 200:
                raw.send(bytes([byte]))
                if select.select([raw.socket], [], [], 0.05)[0]:
                    break
            assert raw.read().status == 408
            assert time.monotonic() - began < 3


class TestLargeBodies:
    @pytest.mark.parametrize("framing", ["length", "chunked"])
    def test_33_mib_are_refused_and_the_client_can_read_so(self, edge: Edge, framing: str) -> None:
        body = bytes(33 * MIB)
        target = "/2023-03-30/functions/echo/invocations"
        with Raw(edge.server) as raw:
            raw.send(signed_head(edge.server, "POST", target, body, framing=framing))
            raw.send(body if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            seen = raw.read()
        assert (seen.status, json.loads(seen.body)["Code"]) == (400, "EntityTooLarge")
        assert seen.headers[b"connection"] == b"close"

    def test_a_body_that_nobody_wants_may_be_sent_to_its_end(self, edge: Edge) -> None:
        with Raw(edge.server) as raw:
            raw.send(POST + b"Content-Length: %d\r\n\r\n" % (100 * MIB))
            for _ in range(100):
                raw.send(bytes(MIB))
            assert raw.read().status == 400

    def test_a_middling_body_that_nobody_wants_leaves_the_connection_usable(
        self, edge: Edge
    ) -> None:
        wire = invocation(edge.server, "not-there", bytes(300 * KIB))
        with Raw(edge.server) as raw:
            for _ in range(20):
                seen = raw.ask(wire)
                assert seen.status == 404
                if b"connection" in seen.headers:  # it was answered before all of it was here
                    break
            else:
                assert raw.ask(invocation(edge.server, "echo", b"x")).body == b"x"

    def test_32_mib_in_chunks_arrive(self, edge: Edge) -> None:
        body = os.urandom(LIMIT_BYTES)
        target = "/2023-03-30/functions/size/invocations"
        with Raw(edge.server) as raw:
            raw.send(signed_head(edge.server, "POST", target, body, framing="chunked"))
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                raw.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            raw.send(b"0\r\n\r\n")
            assert raw.read().body == str(LIMIT_BYTES).encode()

    def test_a_slow_reader_gets_all_32_mib(self, edge: Edge) -> None:
        with Raw(edge.server, receive_bytes=4 * KIB) as raw:
            raw.send(invocation(edge.server, "large", b"%d" % LIMIT_BYTES))
            for _ in range(100):
                select.select([], [], [], 0.05)
                raw.receive(4 * KIB)
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
            seen = raw.read()
        assert len(seen.body) == LIMIT_BYTES

    def test_a_reader_that_stops_is_cut_off_and_its_instance_is_free(self, edge: Edge) -> None:
        with Raw(edge.server, receive_bytes=4 * KIB) as raw:
            raw.send(invocation(edge.server, "large", b"%d" % LIMIT_BYTES))
            raw.socket.recv(KIB)
            wait_until(lambda: edge.connections() == 0)
        assert len(invoke(edge.sdk, "large", b"5")[1]) == 5

    def test_memory_stays_flat_while_much_goes_in_and_out(self, edge: Edge) -> None:
        body = bytes(LIMIT_BYTES)
        upload = invocation(edge.server, "size", body)
        download = invocation(edge.server, "large", b"%d" % LIMIT_BYTES)
        gate = threading.Barrier(17)

        def up() -> bool:
            with Raw(edge.server) as raw:
                gate.wait()
                for start in range(0, len(upload), MIB // 2):
                    raw.send(upload[start : start + MIB // 2])
                return raw.read().body == b"%d" % LIMIT_BYTES

        def down() -> bool:
            with Raw(edge.server, receive_bytes=64 * KIB) as raw:
                gate.wait()
                raw.send(download)
                left = LIMIT_BYTES
                while left > 0:
                    left -= len(raw.socket.recv(256 * KIB))
                    select.select([], [], [], 0.002)
                return True

        before = resident_bytes(edge.server.pid)
        peak = before
        with ThreadPoolExecutor(16) as pool:
            running = [pool.submit(up) for _ in range(8)] + [pool.submit(down) for _ in range(8)]
            gate.wait()
            while not all(future.done() for future in running):
                peak = max(peak, resident_bytes(edge.server.pid))
                select.select([], [], [], 0.02)
        assert all(future.result() for future in running)
        assert peak - before < GROWTH_BYTES


class TestExpect:
    def test_a_client_that_waits_is_told_to_go_on(self, edge: Edge) -> None:
        wire = invocation(edge.server, "echo", b"hello", headers=[("expect", "100-continue")])
        with Raw(edge.server) as raw:
            raw.send(wire[:-5])
            assert raw.read_interim() == 100
            raw.send(b"hello")
            assert raw.read().body == b"hello"
            assert raw.ask(invocation(edge.server, "echo", b"again")).body == b"again"

    @pytest.mark.parametrize("name", ["not-there", "echo"])
    def test_a_client_that_waits_is_refused_before_it_sends(self, edge: Edge, name: str) -> None:
        wire = invocation(edge.server, name, headers=[("expect", "100-continue")])
        size = 33 * MIB if name == "echo" else 5
        wire = wire.replace(b"content-length: 0", b"content-length: %d" % size)
        seen = ask_once(edge.server, wire)
        assert [s.status for s in seen] == [400 if name == "echo" else 404]

    def test_a_refused_client_that_did_not_wait_can_read_why(self, edge: Edge) -> None:
        wire = invocation(
            edge.server, "not-there", bytes(8 * MIB), headers=[("expect", "100-continue")]
        )
        with Raw(edge.server) as raw:
            assert raw.ask(wire).status == 404


class TestConnections:
    def test_one_connection_serves_a_thousand_requests(self, edge: Edge) -> None:
        wire = invocation(edge.server, "echo", b"hello")
        with Raw(edge.server) as raw:
            for _ in range(1000):
                seen = raw.ask(wire)
                assert (seen.status, seen.body) == (200, b"hello")

    def test_fifty_requests_at_once_are_answered_in_order(self, edge: Edge) -> None:
        events = [b"event %d" % n * (n + 1) for n in range(50)]
        with Raw(edge.server) as raw:
            raw.send(b"".join(invocation(edge.server, "echo", event) for event in events))
            assert [raw.read().body for _ in events] == events

    def test_a_client_that_wants_to_close_is_told_and_left(self, edge: Edge) -> None:
        wire = invocation(edge.server, "echo", b"a", headers=[("connection", "close")])
        (seen,) = ask_once(edge.server, wire + invocation(edge.server, "echo", b"b"))
        assert (seen.body, seen.headers[b"connection"]) == (b"a", b"close")

    def test_an_old_client_is_left_unless_it_asks_otherwise(self, edge: Edge) -> None:
        (seen,) = ask_once(edge.server, invocation(edge.server, "echo", b"a", version="1.0"))
        assert (seen.body, seen.headers[b"connection"]) == (b"a", b"close")
        stays = [("connection", "keep-alive")]
        wire = invocation(edge.server, "echo", b"a", version="1.0", headers=stays)
        with Raw(edge.server) as raw:
            for _ in range(3):
                assert raw.ask(wire).headers[b"connection"] == b"keep-alive"

    def test_an_old_client_gets_a_stream_without_chunks(self, edge: Edge) -> None:
        target = "/anyfc/functions/echo/logs"
        with Raw(edge.server) as raw:
            raw.send(signed_head(edge.server, "GET", target, version="1.0", framing="none"))
            wire = b""
            while data := raw.socket.recv(65536):
                wire += data
        head, _, body = wire.partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert all(json.loads(line) for line in body.splitlines())

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "DELETE", "PATCH"])
    def test_other_methods_are_answered(self, edge: Edge, method: str) -> None:
        wire = signed_head(edge.server, method, "/2023-03-30/nothing", framing="none")
        with Raw(edge.server) as raw:
            raw.send(wire)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += raw.socket.recv(1)
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert head.startswith(b"HTTP/1.1 400 ")
            assert length > 100
            body = b"" if method == "HEAD" else raw.socket.recv(length, socket.MSG_WAITALL)
            assert len(body) == (0 if method == "HEAD" else length)
            assert raw.ask(invocation(edge.server, "echo", b"x")).body == b"x"

    @pytest.mark.parametrize(
        "upgrade",
        [
            [
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"),
            ],
            [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-version", "13"),
            ],
        ],
        ids=["h2c", "websocket"],
    )
    @pytest.mark.parametrize("framing", ["length", "chunked"])
    def test_an_upgrade_is_passed_over_and_the_request_served(
        self, edge: Edge, upgrade: Any, framing: str
    ) -> None:
        event = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        target = "/2023-03-30/functions/echo/invocations"
        wire = signed_head(edge.server, "POST", target, event, headers=upgrade, framing=framing)
        wire += event if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event)
        with Raw(edge.server) as raw:
            for _ in range(3):
                assert raw.ask(wire).body == event
            assert raw.ask(invocation(edge.server, "echo", b"x")).body == b"x"

    def test_an_absolute_target_is_its_path(self, edge: Edge) -> None:
        wire = signed_head(edge.server, "GET", "/2023-03-30/functions/echo", framing="none")
        there = b"GET http://127.0.0.1:%d/2023" % edge.server.port
        with Raw(edge.server) as raw:
            assert raw.ask(wire).status == 200
            # The signature is that of the path, as it was signed before a proxy came into play.
            assert raw.ask(wire.replace(b"GET /2023", there)).status == 200

    def test_a_thousand_idle_connections_are_in_nobodys_way(
        self, server: ServerProcess, deploy: Callable[..., str], sdk: Any
    ) -> None:
        name = deploy(ECHO)
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1000)]
        assert invoke(sdk, name, b"hello")[1] == b"hello"
        for connection in idle:
            connection.close()
        assert invoke(sdk, name, b"hello")[1] == b"hello"

    def test_a_low_limit_of_open_files_is_raised(
        self, start_server: Callable[..., ServerProcess]
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            server = start_server(env={"ANYFC_MAX_CONNECTIONS": "500"})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert int(line.split()[3]) >= min(1000, hard)

    def test_above_the_limit_clients_are_told_and_others_served(
        self, start_server: Callable[..., ServerProcess]
    ) -> None:
        server = start_server(env={"ANYFC_MAX_CONNECTIONS": "20"})
        below = [Raw(server) for _ in range(20)]
        assert below[0].ask(GET + b"\r\n").status == 400
        for _ in range(50):
            with Raw(server) as above:
                above.send(GET + b"\r\n")
                (seen,) = above.read_to_end()
                assert seen.status == 429
                assert json.loads(seen.body)["Code"] == "ResourceExhausted"
        flood = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        for connection in flood:
            connection.close()
        below.pop().socket.close()

        def served() -> bool:
            with Raw(server) as raw:
                return raw.ask(GET + b"\r\n").status == 400

        wait_until(served)
        for raw in below:
            raw.socket.close()
        assert "Traceback" not in server.output


class TestHangingUp:
    def meeting_event(self, meeting: Any) -> bytes:
        return json.dumps({"port": meeting.port}).encode()

    @pytest.mark.parametrize("part", [0, 1, 0.1, 0.5, -1])
    def test_during_the_request(self, edge: Edge, part: float) -> None:
        wire = invocation(edge.server, "echo", bytes(100_000))
        end = int(len(wire) * part) if isinstance(part, float) else part
        for _ in range(20):
            with Raw(edge.server) as raw:
                raw.send(wire[:end])

    def test_during_a_large_upload(self, edge: Edge) -> None:
        wire = invocation(edge.server, "size", bytes(8 * MIB))
        for _ in range(5):
            with Raw(edge.server) as raw:
                raw.send(wire[: 4 * MIB])
        assert not list((edge.server.data_dir / "run").glob("tmp*"))

    @pytest.mark.parametrize("how", ["close", "half-close", "reset"])
    def test_while_the_handler_runs_ends_it(self, edge: Edge, meeting: Any, how: str) -> None:
        with Raw(edge.server) as raw:
            raw.send(invocation(edge.server, "meet", self.meeting_event(meeting)))
            function = meeting.wait_call()
            if how == "half-close":
                raw.socket.shutdown(socket.SHUT_WR)
            elif how == "reset":
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.socket.close()
            else:
                raw.socket.close()
            assert function.recv(1) == b""  # the instance is gone
        with Raw(edge.server) as raw:
            raw.send(invocation(edge.server, "meet", self.meeting_event(meeting)))
            meeting.wait_call().sendall(b"hello")
            assert raw.read().body == b"hello"

    def test_while_the_response_is_read(self, edge: Edge) -> None:
        for _ in range(5):
            with Raw(edge.server, receive_bytes=4 * KIB) as raw:
                raw.send(invocation(edge.server, "large", b"%d" % LIMIT_BYTES))
                raw.socket.recv(KIB)
        assert len(invoke(edge.sdk, "large", b"5")[1]) == 5

    def test_with_requests_still_waiting_on_the_connection(self, edge: Edge, meeting: Any) -> None:
        wire = invocation(edge.server, "meet", self.meeting_event(meeting))
        with Raw(edge.server) as raw:
            raw.send(wire * 5)
            function = meeting.wait_call()
        assert function.recv(1) == b""

    def test_while_following_a_log(self, edge: Edge) -> None:
        target = "/anyfc/functions/echo/logs?follow=true"
        for _ in range(5):
            with Raw(edge.server) as raw:
                raw.send(signed_head(edge.server, "GET", target, framing="none"))
                while b"FC Invoke Start" not in raw.partly.body:
                    raw.receive()


class TestControl:
    def test_a_package_of_60_mb_is_taken(self, edge: Edge) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("index.py", SIZE)
            archive.writestr("ballast", os.urandom(60_000_000))
        package = b64encode(buffer.getvalue()).decode()
        with Client(edge.server.endpoint, access_key_id=KEY[0], access_key_secret=KEY[1]) as client:
            client.update_function("size", {"code": {"zipFile": package}})
        assert invoke(edge.sdk, "size", b"123")[1] == b"3"

    def test_a_refused_package_of_60_mb_is_answered(self, edge: Edge) -> None:
        body = b'{"functionName": "x", "code": {"zipFile": "' + b"A" * 80_000_000 + b'"}}'
        head = signed_head(edge.server, "POST", "/2023-03-30/functions", body)
        with Raw(edge.server) as raw:
            seen = raw.ask(head.replace(b"Signature=", b"Signature=0") + body)
        assert (seen.status, json.loads(seen.body)["Code"]) == (403, "SignatureNotMatch")

    def test_a_body_above_the_limit_of_the_control_api_is_answered(self, edge: Edge) -> None:
        head = signed_head(edge.server, "POST", "/2023-03-30/functions", framing="chunked")
        with Raw(edge.server) as raw:
            raw.send(head)
            for _ in range(142):
                raw.send(b"%x\r\n%b\r\n" % (MIB, bytes(MIB)))
            seen = raw.read()
        assert (seen.status, json.loads(seen.body)["Code"]) == (400, "EntityTooLarge")

    def test_calls_one_after_the_other_survive_the_end_of_idle_connections(
        self, edge: Edge
    ) -> None:
        wire = signed_head(edge.server, "GET", "/2023-03-30/functions/echo", framing="none")
        with Raw(edge.server) as raw:
            for _ in range(100):
                assert raw.ask(wire).status == 200


class TestTheEnd:
    @pytest.fixture
    def alone(self, start_server: Callable[..., ServerProcess]) -> Edge:
        return Edge(start_server(env={**SHORT, "ANYFC_IDLE_S": "1"}))

    @pytest.mark.parametrize("tell", [ServerProcess.terminate, ServerProcess.interrupt])
    def test_a_call_that_runs_is_answered_and_new_ones_are_refused(
        self, alone: Edge, meeting: Any, tell: Callable[[ServerProcess], None]
    ) -> None:
        event = json.dumps({"port": meeting.port}).encode()
        with Raw(alone.server) as raw, Raw(alone.server) as idle, Raw(alone.server) as half:
            raw.send(invocation(alone.server, "meet", event))
            function = meeting.wait_call()
            half.send(GET)
            tell(alone.server)
            assert idle.read_to_end() == half.read_to_end() == []
            with pytest.raises(ConnectionRefusedError):
                Raw(alone.server)
            function.sendall(b"at last")
            seen = raw.read()
            assert (seen.body, seen.headers[b"connection"]) == (b"at last", b"close")
        assert alone.server.wait() == 0
        assert "Traceback" not in alone.server.output

    def test_a_second_signal_ends_it_at_once(self, alone: Edge, meeting: Any) -> None:
        event = json.dumps({"port": meeting.port}).encode()
        with Raw(alone.server) as raw:
            raw.send(invocation(alone.server, "meet", event))
            meeting.wait_call()
            alone.server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "draining" in alone.server.output)
            began = time.monotonic()
            assert alone.server.stop() == 1
            assert time.monotonic() - began < 2

    def test_who_follows_a_log_does_not_hold_it_up(self, alone: Edge) -> None:
        target = "/anyfc/functions/echo/logs?follow=true"
        with Raw(alone.server) as raw:
            raw.send(signed_head(alone.server, "GET", target, framing="none"))
            raw.socket.recv(100)
            began = time.monotonic()
            assert alone.server.stop() == 0
            assert time.monotonic() - began < 5


def test_the_digest_of_a_body_counts_whatever_its_framing(edge: Edge) -> None:
    event = b"hello"
    target = "/2023-03-30/functions/echo/invocations"
    head = signed_head(edge.server, "POST", target, event, framing="chunked")
    with Raw(edge.server) as raw:
        assert raw.ask(head + b"5\r\nhello\r\n0\r\n\r\n").body == event
        assert raw.ask(head + b"5\r\nhellO\r\n0\r\n\r\n").status == 403
    assert hashlib.sha256(event).hexdigest().encode() in head
