"""How many instances there may be: in all, of one function, and on one port of the host."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Limits:
    """Counts instances from the decision to start one until it is gone.

    A `port` is given for an instance that listens in the host's own network: one at a time can.
    """

    in_all: int
    per_function: int
    _counts: Counter[str] = field(default_factory=Counter)
    _ports: set[int] = field(default_factory=set)
    _total: int = 0

    def room(self, function: str, port: int | None = None) -> int:
        """How many more instances the function may have now."""
        room = min(self.in_all - self._total, self.per_function - self._counts[function])
        if port is None:
            return room
        return 0 if port in self._ports else min(room, 1)

    def room_is_with_others(self, function: str) -> bool:
        """Only instances of other functions keep the function from having one more."""
        return self._total >= self.in_all and self._counts[function] < self.per_function

    def port_is_taken(self, port: int | None) -> bool:
        return port in self._ports

    def take(self, function: str, port: int | None = None) -> None:
        self._counts[function] += 1
        self._total += 1
        if port is not None:
            self._ports.add(port)

    def give_back(self, function: str, port: int | None = None) -> None:
        self._counts[function] -= 1
        self._total -= 1
        if not self._counts[function]:
            del self._counts[function]
        if port is not None:
            self._ports.discard(port)
