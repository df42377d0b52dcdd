"""Pages of a list that is sorted by name."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def page(
    names: Sequence[str], prefix: str, start: str, limit: int, pick: Callable[[str], T | None]
) -> tuple[list[T], str | None]:
    """List what `pick` makes of sorted names, from `start` on, and the name of the next page.

    What it makes None is left out. The name is None when nothing is left; it may be gone by the
    time it is used.
    """
    found: list[T] = []
    for index in range(bisect_left(names, max(prefix, start)), len(names)):
        name = names[index]
        if not name.startswith(prefix):
            break
        picked = pick(name)
        if picked is not None:
            if len(found) == limit:
                return found, name
            found.append(picked)
    return found, None
