"""What of a folder is code: what is left out, which links stay links, and what they bring along."""

import errno
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from anyfc.cli.terminal import readable

# Left out of a package: what tools keep beside the code and can make again.
SKIPPED = frozenset(
    {
        ".DS_Store",
        ".git",
        ".hg",
        ".idea",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".vscode",
        "__pycache__",
    }
)
# What editors write beside the files that people save: swap files, locks, backups.
_BESIDE = re.compile(r"^\..*\.sw[a-z]$|~$|^\.#|^#.*#$|^\.___jb_|^\.goutputstream-")


class PackageError(Exception):
    """The code cannot be packed; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a folder or a link, and its name in a package; a folder's ends with a slash."""

    name: str
    path: Path
    target: str = ""  # of a link that stays one


@dataclass(slots=True)
class Tree:
    """What of a folder goes into a package."""

    entries: list[Entry] = field(default_factory=list)
    elsewhere: list[Path] = field(default_factory=list)  # what links lead to, out of the folder
    notes: list[str] = field(default_factory=list)  # what was left out that somebody may miss


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is no code, wherever it lies."""
    return name in SKIPPED or _BESIDE.search(name) is not None


def why_left_out(folder: Path, data_dir: Path | None) -> str:
    """Say what a folder is if it is no code, or return an empty text.

    `data_dir` is that of the server, which may hold nothing yet.
    """
    if is_data_dir(folder, data_dir):
        return "the data directory of a server, with its keys"
    if is_virtual_environment(folder):
        return "a virtual environment, which works only where it was made"
    return ""


def is_data_dir(folder: Path, data_dir: Path | None) -> bool:
    from anyfc.identity.key import FILE_NAME

    if data_dir is not None and folder.is_dir() and folder.resolve() == data_dir.resolve():
        return True
    has_key = os.path.exists(folder / FILE_NAME)
    return has_key and any(os.path.exists(folder / name) for name in ("anyfc.db", "lock"))


def is_virtual_environment(folder: Path) -> bool:
    return os.path.isfile(folder / "pyvenv.cfg")


def scan(folder: Path, *, data_dir: Path | None = None) -> Tree:
    """Look through a folder, in the order of names; what vanishes meanwhile is not there.

    Raises PackageError, OSError.
    """
    if is_data_dir(folder, data_dir):
        raise PackageError(
            f"{readable(folder)} is the data directory of a server, with its keys; keep the code "
            "in a folder of its own"
        )
    tree = Tree()
    _enter(tree, folder, "", _Place(folder.resolve(strict=True), ()), data_dir)
    return tree


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder that is packed as a whole: links that stay inside of it stay links."""

    root: Path  # with all links followed
    around: tuple[Path, ...]  # the folders in which the links lie that led here


def _enter(tree: Tree, folder: Path, prefix: str, place: _Place, data_dir: Path | None) -> None:
    real_folder = folder.resolve()
    for name in _names(folder):
        path, inside = folder / name, place
        if path.is_symlink():
            real = Path(os.path.realpath(path))
            if real.is_relative_to(place.root):
                # Up first and then down, through no other link: servers take no other form.
                target = os.path.relpath(real, real_folder)
                tree.entries.append(Entry(prefix + name, path, target))
                continue
            inside = _Place(real, (*place.around, real_folder))
        mode = _mode(path)
        if mode is None and inside is place:
            continue  # it is gone again
        if why := _why_not(path, mode, data_dir):
            tree.notes.append(f"{readable(path)} is {why}")
            if mode is None:
                tree.elsewhere.append(inside.root)  # where something may come to be
            continue
        if inside is not place:
            tree.elsewhere.append(inside.root)
        if path.is_dir():
            if any(one.is_relative_to(inside.root) for one in inside.around):
                raise PackageError(f"{readable(path)} is a link to a folder that holds it")
            tree.entries.append(Entry(f"{prefix}{name}/", path))
            _enter(tree, path, f"{prefix}{name}/", inside, data_dir)
        else:
            tree.entries.append(Entry(prefix + name, path))


def _why_not(path: Path, mode: int | None, data_dir: Path | None) -> str:
    """Say why something that has a name of code is none, or return an empty text."""
    if mode is None:
        return "a link to nothing"
    if stat.S_ISDIR(mode):
        return why_left_out(path, data_dir)
    return "" if stat.S_ISREG(mode) else "neither a file, a folder nor a link"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not is_left_out(name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mode(path: Path) -> int | None:
    """Return the mode of what a path leads to, or None if that is nothing."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
