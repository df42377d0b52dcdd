"""The way to servers in the host's own network, where instances have none of their own."""

import asyncio
import socket

LOOPBACK = "127.0.0.1"


async def connect_loopback(port: int) -> socket.socket:
    """Return a non-blocking socket that is connected to a port of this machine. Raises OSError."""
    connection = socket.socket()
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (LOOPBACK, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def is_taken(port: int) -> bool:
    """Whether some program listens on a port of this machine."""
    try:
        (await connect_loopback(port)).close()
    except OSError:
        return False
    return True
