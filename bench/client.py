"""Single requests, timed by their caller. Throughput is wrk's business, see `load.py`."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from types import MappingProxyType

EVENT = b'{"key":"a"}'
ANSWER = b"hello world"
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to this machine."""

    port: int
    path: str
    method: str = "POST"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
        """Return it as it is sent, with more headers."""
        headers = {"Host": f"127.0.0.1:{self.port}", **self.headers, **more}
        if self.body:
            headers["Content-Length"] = str(len(self.body))
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        return f"{self.method} {self.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + self.body


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that can be called: a fresh request for it, and its first process."""

    make_request: Callable[[], Request]
    pid: int


class WrongAnswer(Exception):
    """A subject answered, but not with what the handler returns."""


def call(subject: Subject) -> float:
    """Call once on a new connection; return the seconds from connecting to the whole answer."""
    request = subject.make_request()
    wire = request.wire()
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", request.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(wire)
        response = HTTPResponse(connection, method=request.method)
        response.begin()
        body = response.read()
        took_s = time.perf_counter() - began
        response.close()
    if response.status != 200 or ANSWER not in body:
        raise WrongAnswer(f"{response.status}: {body[:300].decode(errors='replace')}")
    return took_s


async def call_at_once(subject: Subject, *, callers: int) -> tuple[list[float], list[str]]:
    """Call from many connections at the same moment; return seconds of the good ones, and errors.

    The connections are open before the clock starts.
    """
    request = subject.make_request()
    wire = request.wire({"Connection": "close"})
    connections = [await asyncio.open_connection("127.0.0.1", request.port) for _ in range(callers)]
    began = time.perf_counter()
    for _, writer in connections:
        writer.write(wire)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float | str:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        except OSError as error:
            return str(error) or type(error).__name__
        finally:
            writer.close()
        if head.startswith(b"HTTP/1.1 200 ") and ANSWER in body:
            return time.perf_counter() - began
        return (head.split(b"\r\n")[0] + b" " + body[:200]).decode(errors="replace")

    results = await asyncio.gather(*(answer(*connection) for connection in connections))
    good = [result for result in results if isinstance(result, float)]
    return good, [result for result in results if isinstance(result, str)]
