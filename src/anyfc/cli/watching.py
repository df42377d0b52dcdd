"""A folder that is watched, with what its links lead to, whatever becomes of it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from anyfc.cli.changes import is_source

# An editor writes a file in several steps: what comes within this time is one change.
SETTLE_MS = 50
# How often is looked at what the system does not tell of.
LOOK_MS = 250

# Device, inode and, of a file, size and time of change; empty when there is nothing.
Stamp = tuple[int, ...]
# The folders that are watched; the first one holds the code.
Plan = dict[str, Stamp]


def watch_folder(
    folder: Path, elsewhere: Callable[[], Sequence[Path]], data_dir: Path | None = None
) -> Iterator[list[str]]:
    """Yield what changed since the last time: several times a second, and mostly nothing.

    The first time, it watches already. `elsewhere` says what links lead to, out of the folder. A
    folder that another one takes the place of is watched anew; then its own path is what changed.
    The server's `data_dir` does not count. Raises OSError if the folder cannot be watched.
    """
    from watchfiles import watch
    from watchfiles._rust_notify import WatchfilesRustInternalError

    plan = {str(folder.resolve(strict=True)): _stamp(folder)}
    stamps: dict[Path, Stamp] = {}
    anew: list[str] = []
    while True:
        ticks = watch(
            *plan,
            watch_filter=None,
            step=SETTLE_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        next_plan: Plan | None = None
        try:
            with closing(ticks):
                for found in ticks:
                    old, stamps = stamps, {place: _stamp(place) for place in elsewhere()}
                    moved = [place for place in old if stamps.get(place, old[place]) != old[place]]
                    counted = [path for _, path in found if _counts(path, plan, data_dir)]
                    yield anew or sorted({*map(str, moved), *counted})
                    anew = []
                    next_plan = _plan(folder, elsewhere())
                    if next_plan is not None and next_plan != plan:
                        break
        except (WatchfilesRustInternalError, FileNotFoundError):
            next_plan = None  # the name of a file is not UTF-8, or the folder has just gone
        while next_plan is None:
            time.sleep(LOOK_MS / 1000)
            yield []
            next_plan = _plan(folder, elsewhere())
        plan = next_plan
        anew = [next(iter(plan))]


def _plan(folder: Path, elsewhere: Sequence[Path]) -> Plan | None:
    """Return what is to be watched, or None if the folder is not there."""
    folders = [folder.resolve(), *(place for place in elsewhere if place.is_dir())]
    return {str(one): _stamp(one) for one in folders} if folders[0].is_dir() else None


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return ()
    inode = (found.st_dev, found.st_ino)
    return inode if path.is_dir() else (*inode, found.st_size, found.st_mtime_ns)


def _counts(path: str, plan: Plan, data_dir: Path | None) -> bool:
    roots = [root for root in plan if path == root or path.startswith(root + os.sep)]
    return any(is_source(path, root, data_dir) for root in roots)
