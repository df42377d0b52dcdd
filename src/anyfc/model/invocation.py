"""Invocation, and the Result that comes of it: returned, raised, timed out, crashed."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol


class Payload(Protocol):
    """Bytes that may be too large to hold in memory twice; can be read more than once."""

    size_bytes: int

    def pieces(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One request to run a function; which version that is, the qualifier says."""

    request_id: str
    function: str
    qualifier: str
    payload: bytes | Payload
    want_log_tail: bool = False


class Stream(Protocol):
    """A body that is still arriving; may be read once, as long as the lease lasts."""

    size_bytes: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The handler came back with a value."""

    body: bytes | Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The handler, or loading it, ended in an exception; `body` is its JSON description."""

    body: bytes | Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The handler did not come back in time, and its instance was stopped."""

    timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """The process ended before it answered. `status` is its exit code, or minus a signal."""

    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InitializationFailed:
    """The instance never became ready: its initializer raised, timed out or crashed."""

    body: bytes


Result = Returned | Raised | TimedOut | Crashed | InitializationFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run of a handler came to, and what it took."""

    result: Result
    duration_ms: float
    peak_memory_mib: float
    instance_id: str
    cold: bool
    log_tail: bytes = b""
