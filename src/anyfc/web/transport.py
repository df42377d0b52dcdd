"""Transport: the other end of a protocol, as far as it concerns us.

Event loops know protocols by their methods, so ours need not inherit from those of asyncio.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

# The beginning of Linux's `struct tcp_info`, up to `tcpi_bytes_acked`.
TCP_INFO: Final = struct.Struct("=120xQ")


class Transport(Protocol):
    """What we use of `asyncio.Transport`. That of uvloop does not inherit from it."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def can_write_eof(self) -> bool: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, name: str) -> Any: ...
    def set_protocol(self, protocol: Any) -> None: ...
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


def factory(make: Callable[[], object]) -> Callable[[], asyncio.Protocol]:
    """Let a loop make protocols of ours."""
    return cast(Callable[[], asyncio.Protocol], make)


def file_number(transport: Transport) -> int:
    """Return the descriptor of a transport's socket, -1 if it has none, or none any more."""
    connection = transport.get_extra_info("socket")
    return -1 if connection is None else int(connection.fileno())


def taken_bytes(transport: Transport) -> int:
    """Say how much the other side has taken in since the beginning; 0 if the system does not know.

    What has left a transport may wait in the system for long. This grows only while there is room
    on the other side, and there is as long as somebody reads.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):  # it is not TCP, or was closed
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
            if len(info) == TCP_INFO.size:
                return int(TCP_INFO.unpack(info)[0])
    return 0
