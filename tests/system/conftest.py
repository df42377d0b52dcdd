"""Fixtures of the system tests: a socket at which functions and tests wait for each other."""

import socket
from collections.abc import Iterator

import pytest

CALL_WITHIN_S = 10.0


class Meeting:
    """A socket that functions call; what a function sends there is seen before it goes on."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(CALL_WITHIN_S)
        self._open: list[socket.socket] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def wait_call(self) -> socket.socket:
        """Wait until a function calls."""
        connection, _ = self._listener.accept()
        connection.settimeout(CALL_WITHIN_S)
        self._open.append(connection)
        return connection

    def close(self) -> None:
        for connection in (*self._open, self._listener):
            connection.close()


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    made = Meeting()
    yield made
    made.close()
