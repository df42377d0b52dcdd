"""Listening sockets: HTTP, and HTTPS where there are certificates; each client is a Connection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

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
    async with asyncio.TaskGroup() as group:
        server = Server(application, patience, max_connections, group)
        sweeper = group.create_task(server.sweep(), name="sweep")
        try:
            if certificates is None:
                listening = _listen(server, host, port)
            else:
                greeter = Greeter(
                    certificates,
                    factory(lambda: Connection(server)),
                    within_s=patience.header_s,
                    at_once=max_connections,
                )
                listening = greeter.listen(host, port)
            async with listening as sockets:
                for taken in sockets:
                    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
                yield sockets[0].getsockname()[1]
        finally:
            await server.drain()
            sweeper.cancel()


@asynccontextmanager
async def _listen(server: Server, host: str, port: int) -> AsyncIterator[Sequence[socket.socket]]:
    connect = factory(lambda: Connection(server))
    listener = await server.loop.create_server(
        connect, host, port, backlog=BACKLOG, reuse_address=True
    )
    try:
        yield listener.sockets
    finally:
        listener.close()
