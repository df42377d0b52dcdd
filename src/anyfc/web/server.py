"""Listening sockets: HTTP, and HTTPS where there are certificates; each client is a Connection."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager

from anyfc.web.connection import Application, Connection, Patience, Server
from anyfc.web.hello import BACKLOG, Greeter
from anyfc.web.message import KIB
from anyfc.web.tls import Certificates
from anyfc.web.transport import factory

# Less waits unseen in the system, so that a slow reader is told from one that does not read.
UNSENT_BYTES = 128 * KIB


@asynccontextmanager
async def open_server(
    application: Application,
    *,
    host: str,
    port: int,
    patience: Patience,
    max_connections: int,
    certificates: Certificates | None = None,
) -> AsyncIterator[int]:
    """Serve HTTP while open, or HTTPS if there are `certificates`; yield the port.

    Leaving drains: see `Patience.drain_s`. Raises OSError if the address cannot be taken.
    """
    with ExitStack() as stack:
        # Before there is a group, which would raise an OSError in a group of exceptions.
        listeners = [stack.enter_context(taken) for taken in await take_address(host, port)]
        async with asyncio.TaskGroup() as group:
            server = Server(application, patience, max_connections, group)
            sweeper = group.create_task(server.sweep(), name="sweep")
            try:
                if certificates is None:
                    listening = _listen(server, listeners)
                else:
                    greeter = Greeter(
                        certificates,
                        factory(lambda: Connection(server)),
                        within_s=patience.header_s,
                        at_once=max_connections,
                    )
                    listening = greeter.listen(listeners)
                async with listening:
                    yield listeners[0].getsockname()[1]
            finally:
                await server.drain()
                sweeper.cancel()


async def take_address(host: str, port: int) -> list[socket.socket]:
    """Listen at a port of all addresses of a host; port 0 is a free one, the same for all.

    Raises OSError that names the address.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as stack:
        taken: list[socket.socket] = []
        for family, _, _, _, address in dict.fromkeys(found):
            if not port and taken:
                address = (address[0], taken[0].getsockname()[1], *address[2:])
            try:
                listener = socket.create_server(address, family=family, backlog=BACKLOG)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(found) > 1:
                    continue  # a name may have addresses that this machine cannot have
                raise _named(error, f"{host}:{port}") from error
            taken.append(stack.enter_context(listener))
            listener.setblocking(False)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if not taken:
            raise OSError(errno.EAFNOSUPPORT, f"{host}: no address that this machine can have")
        stack.pop_all()
    return taken


def _named(error: OSError, address: str) -> OSError:
    number = error.errno
    if number is None:
        return error
    return OSError(number, f"{address}: {os.strerror(number).lower()}")


@asynccontextmanager
async def _listen(server: Server, listeners: Sequence[socket.socket]) -> AsyncIterator[None]:
    connect = factory(lambda: Connection(server))
    with ExitStack() as stack:
        for listener in listeners:
            listening = await server.loop.create_server(connect, sock=listener, backlog=BACKLOG)
            stack.callback(listening.close)
        yield
