"""Invocation, and the Result that comes of it: returned, raised, timed out, crashed.

These are made for every request, so they are msgspec structs: a frozen dataclass takes ten times as
long to make.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import msgspec


class Payload(Protocol):
    """Bytes that may be too large to hold in memory twice; can be read more than once."""

    size_bytes: int

    def pieces(self) -> Iterator[bytes]: ...


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """The head of an HTTP request, for a handler that takes it as such (WSGI)."""

    method: str
    path: str  # without the routing prefix, still percent-encoded
    query: str
    request_uri: str  # the target as it was asked for
    protocol: str
    client_ip: str
    headers: list[tuple[str, str]]


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """One request to run a function."""

    request_id: str
    payload: bytes | Payload
    want_log_tail: bool = False
    http: HttpCall | None = None


class Stream(Protocol):
    """A body that is still arriving; may be read once, as long as the lease lasts."""

    size_bytes: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """The handler came back with a value."""

    body: bytes | Stream


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """The handler, or loading it, ended in an exception; `body` is its JSON description."""

    body: bytes | Stream
    error_type: str = "UnhandledInvocationError"


class TimedOut(msgspec.Struct, frozen=True, kw_only=True):
    """The handler did not come back in time, and its instance was stopped."""

    timeout_s: int

    @property
    def reason(self) -> str:
        return f"Function timed out after {self.timeout_s} seconds"


class Crashed(msgspec.Struct, frozen=True, kw_only=True):
    """The process ended before it answered. `status` is its exit code, or minus a signal."""

    status: int | None

    @property
    def reason(self) -> str:
        return "Process exited unexpectedly before completing request"


class InitializationFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The instance never became ready: its initializer raised, timed out or crashed."""

    body: bytes
    log_tail: bytes = b""  # of the initializer


Result = Returned | Raised | TimedOut | Crashed | InitializationFailed


async def read_whole(body: bytes | Stream) -> bytes:
    """Return all of a body; raises what reading it raises."""
    if isinstance(body, bytes):
        return body
    return b"".join([piece async for piece in body])
