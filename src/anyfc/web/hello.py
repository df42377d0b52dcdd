"""The first message of TLS, read to learn which host is meant before TLS begins.

A callback of TLS could choose the certificate as well, but then it is too late to choose the
versions: those have been agreed on when it is called.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from anyfc.web.message import KIB
from anyfc.web.tls import Certificates

log = logging.getLogger("anyfc")

RECORD_HEAD_BYTES = 5
RECORD_BYTES = 16 * KIB
HANDSHAKE = 22
CLIENT_HELLO = 1
SERVER_NAME = 0
BACKLOG = 1024
FULL_PAUSE_S = 1.0  # no more connections can be taken just now


class Malformed(Exception):
    """Not what a ClientHello looks like."""


class Fields:
    """Takes bytes apart. Raises Malformed at their end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        if len(taken) < count:
            raise Malformed
        self._at += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def block(self, count: int) -> "Fields":
        """What stands behind its own length, which takes `count` bytes."""
        return Fields(self.take(self.number(count)))

    def text(self) -> str:
        return self._content.decode("ascii")

    @property
    def left(self) -> bool:
        return self._at < len(self._content)


def record_bytes(head: bytes) -> int:
    """Return how long the record is that begins so; what is no TLS is as long as it is."""
    if len(head) < RECORD_HEAD_BYTES:
        return RECORD_HEAD_BYTES
    length_bytes = int.from_bytes(head[3:5], "big")
    if head[0] != HANDSHAKE or length_bytes > RECORD_BYTES:
        return len(head)
    return RECORD_HEAD_BYTES + length_bytes


def read_server_name(record: bytes) -> str | None:
    """Return the host that a ClientHello asks for, or None: what is wrong with it, TLS will say.

    Source: RFC 8446, 4.1.2; RFC 6066, 3.
    """
    try:
        fields = Fields(record)
        if fields.number(1) != HANDSHAKE:
            return None
        fields.take(2)
        fields = fields.block(2)
        if fields.number(1) != CLIENT_HELLO:
            return None
        hello = fields.block(3)
        hello.take(2 + 32)  # version, random
        for count in (1, 2, 1):  # session, cipher suites, compressions
            hello.block(count)
        extensions = hello.block(2)
        while extensions.left:
            kind = extensions.number(2)
            content = extensions.block(2)
            if kind == SERVER_NAME:
                name = content.block(2)
                return name.block(2).text() if name.number(1) == 0 else None
    except (Malformed, UnicodeDecodeError):
        return None
    return None


class Greeter:
    """Takes connections and begins TLS on each with the settings of the host that it asks for."""

    def __init__(
        self,
        certificates: Certificates,
        factory: Callable[[], asyncio.Protocol],
        *,
        within_s: float,
        at_once: int,
    ) -> None:
        self._certificates = certificates
        self._factory = factory
        self._within_s = within_s
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._greeted: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listen(self, listeners: Sequence[socket.socket]) -> AsyncIterator[None]:
        """Take connections while open; leaving closes the listeners."""
        try:
            async with asyncio.TaskGroup() as group:
                accepting = [
                    group.create_task(self._accept(listener, group), name="accept TLS")
                    for listener in listeners
                ]
                try:
                    yield
                finally:
                    for task in (*accepting, *self._greeted):
                        task.cancel()
        finally:
            for listener in listeners:
                listener.close()

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        failing = False
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(listener)
            except OSError as error:
                if not failing:
                    log.error("https takes no more connections", extra={"why": str(error)})
                failing = True
                await asyncio.sleep(FULL_PAUSE_S)
                continue
            failing = False
            if len(self._greeted) >= self._at_once:
                accepted.close()
                continue
            task = group.create_task(self._greet(accepted), name="TLS handshake")
            self._greeted.add(task)
            task.add_done_callback(self._greeted.discard)

    async def _greet(self, accepted: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._within_s):
                context = self._certificates.choose(read_server_name(await self._peek(accepted)))
                await self._begin(accepted, context)
        except OSError:  # of the network, of TLS, or it took too long: the client knows
            accepted.close()
        except BaseException:
            accepted.close()
            raise

    async def _begin(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        await self._loop.connect_accepted_socket(
            self._factory, accepted, ssl=context, ssl_handshake_timeout=self._within_s
        )

    async def _peek(self, accepted: socket.socket) -> bytes:
        """Wait for the whole first record, and leave it where it is."""
        wanted_bytes = RECORD_HEAD_BYTES
        while True:
            # So the system says that there is something to read only when there is that much.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted_bytes)
            await self._readable(accepted)
            seen = accepted.recv(RECORD_HEAD_BYTES + RECORD_BYTES, socket.MSG_PEEK)
            ended = len(seen) < wanted_bytes
            wanted_bytes = record_bytes(seen)
            if ended or len(seen) >= wanted_bytes:
                return seen

    async def _readable(self, accepted: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(accepted, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(accepted)
