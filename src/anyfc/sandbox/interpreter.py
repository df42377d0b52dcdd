"""The Python interpreters of this machine."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"python3\.(\d+)")
OLDEST = (3, 6)


@dataclass(frozen=True, slots=True, order=True)
class Interpreter:
    """An executable CPython, found by its name."""

    version: tuple[int, int]
    path: str  # with all links followed

    @property
    def prefix(self) -> str:
        """The folder that holds its standard library, and all else it needs."""
        return str(Path(self.path).parent.parent)

    def __str__(self) -> str:
        return f"Python {self.version[0]}.{self.version[1]} ({self.path})"


def default_search(search_path: str, home: Path) -> Iterator[Path]:
    """Yield the folders in which interpreters are usually found."""
    for folder in search_path.split(os.pathsep):
        if folder:
            yield Path(folder)
    yield from (Path("/usr/local/bin"), Path("/usr/bin"))
    yield from sorted((home / ".pyenv/versions").glob("*/bin"))
    yield from sorted((home / ".local/share/uv/python").glob("*/bin"))


def find_interpreters(folders: Iterable[Path], *, for_everybody: bool) -> list[Interpreter]:
    """Return the interpreters in `folders`, newest first, one for each version.

    `for_everybody` leaves out those in folders that only their owner can enter: an instance that
    gives up the server's rights before it is in its box could not read the standard library.
    """
    found: dict[tuple[int, int], Interpreter] = {}
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            match = NAME.fullmatch(name)
            if not match:
                continue
            version = (3, int(match[1]))
            path = (folder / name).resolve()
            if version < OLDEST or version in found or not _is_program(path):
                continue
            if for_everybody and not _open_to_all(path):
                continue
            found[version] = Interpreter(version, str(path))
    return sorted(found.values(), reverse=True)


def _is_program(path: Path) -> bool:
    """A file that can be run and is no script: version managers put scripts on the path."""
    try:
        with path.open("rb") as file:
            return file.read(2) != b"#!" and os.access(path, os.X_OK)
    except OSError:
        return False


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))
