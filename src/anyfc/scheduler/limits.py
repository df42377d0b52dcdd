"""How many instances there may be: in all, and of one function."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Limits:
    """Counts instances from the decision to start one until it is gone."""

    in_all: int
    per_function: int
    _counts: Counter[str] = field(default_factory=Counter)
    _total: int = 0

    def room(self, function: str) -> int:
        """How many more instances the function may have now."""
        return min(self.in_all - self._total, self.per_function - self._counts[function])

    def room_is_with_others(self, function: str) -> bool:
        """Only instances of other functions keep the function from having one more."""
        return self._total >= self.in_all and self._counts[function] < self.per_function

    def take(self, function: str) -> None:
        self._counts[function] += 1
        self._total += 1

    def give_back(self, function: str) -> None:
        self._counts[function] -= 1
        self._total -= 1
        if not self._counts[function]:
            del self._counts[function]
