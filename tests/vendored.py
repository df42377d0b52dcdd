"""Packages for functions: what `pip install --target` would do, without a registry."""

import shutil
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement


def vendor(names: Iterable[str], folder: Path) -> None:
    """Copy installed packages and all that they need into a folder."""
    for name in closure(names):
        for file in distribution(name).files or ():
            if file.parts[0] == ".." or "__pycache__" in file.parts:
                continue  # a command, which is outside of the packages, or what can be made again
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)


def closure(names: Iterable[str]) -> set[str]:
    """These packages and all that they need, on this Python and without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found
