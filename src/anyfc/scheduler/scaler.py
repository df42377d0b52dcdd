"""How many instances there should be (values only)."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Seen(Protocol):
    """What a decision needs to know of an idle instance."""

    idle_since: float
    born_at: float


S = TypeVar("S", bound=Seen)


def starts(*, waiting: int, starting: int, room: int, capacity: int = 1) -> int:
    """How many more to start, as far as there is room, so that all who wait will have a slot."""
    wanted = -(-waiting // capacity)
    return max(0, min(wanted - starting, room))


def stale(idle: Sequence[S], now: float, *, idle_s: float, age_s: float) -> list[S]:
    """Which idle instances have had their time."""
    return [
        instance
        for instance in idle
        if now - instance.idle_since > idle_s or now - instance.born_at > age_s
    ]
