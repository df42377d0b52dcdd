"""Control groups, v1 and v2: freezing. Limits of memory, CPU and processes attach here."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
EMPTY_WITHIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Freezer:
    """How one version of the interface is told to freeze."""

    file: str
    freeze: bytes
    thaw: bytes


V1 = Freezer("freezer.state", b"FROZEN", b"THAWED")
V2 = Freezer("cgroup.freeze", b"1", b"0")


class Cgroup:
    """The control group of one instance."""

    def __init__(self, folder: Path, freezer: Freezer) -> None:
        folder.mkdir()
        self._folder = folder
        self._freezer = freezer
        self._state = os.open(folder / freezer.file, os.O_WRONLY | os.O_CLOEXEC)

    def open_members(self) -> int:
        """Return a descriptor; a process that writes `0` to it becomes a member."""
        return os.open(self._folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def freeze(self) -> None:
        os.write(self._state, self._freezer.freeze)

    def thaw(self) -> None:
        os.write(self._state, self._freezer.thaw)

    def remove(self) -> None:
        """Take the empty group away; what the kernel still holds is removed at the next start."""
        os.close(self._state)
        _remove(self._folder)


def _remove(folder: Path) -> None:
    give_up = time.monotonic() + EMPTY_WITHIN_S
    while time.monotonic() < give_up:
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.005)


class Cgroups:
    """The control groups of one server, below the one that the server itself is in."""

    def __init__(self, folder: Path, freezer: Freezer) -> None:
        self._folder = folder
        self._freezer = freezer

    def make(self, name: str) -> Cgroup:
        return Cgroup(self._folder / name, self._freezer)

    def clear(self) -> None:
        """End what an earlier server with the same name, killed, may have left frozen."""
        for folder in list(self._folder.iterdir()):
            if folder.is_dir():
                for pid in (folder / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), 9)
                (folder / self._freezer.file).write_bytes(self._freezer.thaw)
                _remove(folder)

    def close(self) -> None:
        with suppress(OSError):
            self._folder.rmdir()


def find_cgroups(name: str, root: Path = ROOT) -> Cgroups | None:
    """Return the place for control groups called `name`; None if this user may not make any."""
    for freezer, top, own in _places(root):
        folder = top / own.lstrip("/") / name
        try:
            folder.mkdir(exist_ok=True)
        except OSError:
            continue
        if (folder / freezer.file).exists():
            groups = Cgroups(folder, freezer)
            groups.clear()
            return groups
        folder.rmdir()
    return None


def _places(root: Path) -> list[tuple[Freezer, Path, str]]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = {line.split(":")[1]: line.split(":", 2)[2] for line in lines}
    places = [
        (V2, top, own[""])
        for top in (root, root / "unified")
        if "" in own and (top / "cgroup.procs").exists()
    ]
    if "freezer" in own:
        places.append((V1, root / "freezer", own["freezer"]))
    return places
