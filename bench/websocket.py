"""WebSockets with the least of a client: what counts is who is in between."""

import base64
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.client import ANSWER, TIMEOUT_S, Subject, WrongAnswer
from bench.measure import IDLE_S
from bench.process import pss_bytes

# Whole texts (RFC 6455, 5.2). A client has to mask; with zeros that changes nothing.
MESSAGE = bytes((0x81, 0x80 | len(ANSWER), 0, 0, 0, 0)) + ANSWER
ECHO = bytes((0x81, len(ANSWER))) + ANSWER
CLOSE = bytes((0x88, 0x80, 0, 0, 0, 0))
HEAD_END = b"\r\n\r\n"


@contextmanager
def open_websocket(subject: Subject) -> Iterator[socket.socket]:
    """Yield a connection that speaks WebSocket, and close it as the protocol has it.

    Raises OSError, WrongAnswer.
    """
    request = subject.make_request()
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    address = ("127.0.0.1", request.port)
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request.wire(upgrade))
        head = b""
        while HEAD_END not in head and (piece := connection.recv(65536)):
            head += piece
        if not head.startswith(b"HTTP/1.1 101 ") or not head.endswith(HEAD_END):
            raise WrongAnswer(head[:300].decode(errors="replace"))
        yield connection
        connection.sendall(CLOSE)
        while connection.recv(65536):
            pass


def echo_s(subject: Subject, *, messages: int) -> list[float]:
    """Send short texts over one WebSocket, each after the echo of the one before it."""
    took_s = []
    with open_websocket(subject) as connection:
        for _ in range(messages):
            began = time.perf_counter()
            connection.sendall(MESSAGE)
            echo = connection.recv(65536)
            took_s.append(time.perf_counter() - began)
            if echo != ECHO:
                raise WrongAnswer(repr(echo))
    return took_s


def idle_websocket_bytes(
    subject: Subject, find_pids: Callable[[], Sequence[int]], *, count: int
) -> float:
    """Memory that each of many idle WebSockets adds to processes that have as many already.

    The first ones fill what was free from before, and would look smaller than they are.
    """
    with ExitStack() as stack:

        def open_more() -> int:
            for _ in range(count):
                stack.enter_context(open_websocket(subject))
            time.sleep(IDLE_S)
            return pss_bytes(find_pids())

        before_bytes = open_more()
        return (open_more() - before_bytes) / count
