"""The bare pipe: the least a Python gateway can do between a socket and another process.

No limits, no errors, no identity, no framing. It hands the body of each request to one of two
processes, one request at a time each, and sends what comes back. Argument: the port.
"""

import asyncio
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path

import httptools
import uvloop

INSTANCE = Path(__file__).with_name("instance.py")
INSTANCES = 2


class Pipe(asyncio.Protocol):
    """One instance: it is in `free`, or it works for the caller in `serving`."""

    def __init__(self, free: list["Pipe"], waiting: deque["Caller"]) -> None:
        self._free = free
        self._waiting = waiting
        self._serving: Caller | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._free.append(self)

    def serve(self, caller: "Caller") -> None:
        self._serving = caller
        self._transport.write(caller.event)

    def data_received(self, data: bytes) -> None:
        self._serving.answer(data)
        if self._waiting:
            self.serve(self._waiting.popleft())
        else:
            self._free.append(self)


class Caller(asyncio.Protocol):
    """One connection; the next request is not sent before the answer, so one event is enough."""

    def __init__(self, free: list[Pipe], waiting: deque["Caller"]) -> None:
        self._free = free
        self._waiting = waiting
        self._parser = httptools.HttpRequestParser(self)
        self.event = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.event = body

    def on_message_complete(self) -> None:
        if self._free:
            self._free.pop().serve(self)
        else:
            self._waiting.append(self)

    def answer(self, body: bytes) -> None:
        if self._transport.is_closing():  # the load generator has stopped; the pipe goes on
            return
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def start_instance() -> socket.socket:
    """Run the program of an instance; return our end of the socketpair."""
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        subprocess.Popen([sys.executable, INSTANCE, str(fd)], pass_fds=[fd])
    return ours


async def serve(port: int, pipes: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    free: list[Pipe] = []
    waiting: deque[Caller] = deque()
    for pipe in pipes:
        await loop.create_connection(lambda: Pipe(free, waiting), sock=pipe)
    server = await loop.create_server(lambda: Caller(free, waiting), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), [start_instance() for _ in range(INSTANCES)]))
