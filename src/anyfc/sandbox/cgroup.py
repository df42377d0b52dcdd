"""Control groups, v1 and v2: freezing. Limits of memory, CPU and processes attach here."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")
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
        try:
            self._state = os.open(folder / freezer.file, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            folder.rmdir()
            raise

    def open_folder(self) -> int | None:
        """Return a descriptor to fork a process right into the group; None if that cannot be."""
        if self._freezer is not V2:
            return None
        return os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_members(self) -> int:
        """Return a descriptor; a process that writes `0` to it becomes a member."""
        return os.open(self._folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def freeze(self) -> None:
        os.write(self._state, self._freezer.freeze)

    def thaw(self) -> None:
        os.write(self._state, self._freezer.thaw)

    def kill(self) -> None:
        """Send SIGKILL to all members, and let them have it."""
        _kill(self._folder, self._freezer)

    def remove(self) -> bool:
        """Kill who is left and take the group away; False if the kernel still holds it.

        It is then removed when the server ends, or at its next start.
        """
        os.close(self._state)
        return _remove(self._folder, self._freezer)


def _kill(folder: Path, freezer: Freezer) -> None:
    with suppress(OSError):  # gone with its last member
        members = (folder / "cgroup.procs").read_text().split()
        # Who cannot be seen from here has number 0, which for `kill` means ourselves.
        for pid in filter(None, map(int, members)):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # After the signals: version 1 lets nothing die that is frozen.
        (folder / freezer.file).write_bytes(freezer.thaw)


def _remove(folder: Path, freezer: Freezer) -> bool:
    give_up = time.monotonic() + EMPTY_WITHIN_S
    while True:
        try:
            folder.rmdir()
            return True
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > give_up:
                return False
        _kill(folder, freezer)
        time.sleep(0.002)


class Cgroups:
    """The control groups of one server, below the one that the server itself is in."""

    def __init__(self, folder: Path, freezer: Freezer) -> None:
        self.folder = folder
        self.freezer = freezer

    def make(self, name: str) -> Cgroup:
        return Cgroup(self.folder / name, self.freezer)

    def clear(self) -> None:
        """End what is in the groups that are left, frozen or not, and remove them."""
        left = [folder for folder in self.folder.iterdir() if folder.is_dir()]
        for folder in left:
            _kill(folder, self.freezer)
        for folder in left:
            _remove(folder, self.freezer)

    def close(self) -> None:
        self.clear()
        with suppress(OSError):
            self.folder.rmdir()


def find_cgroups(name: str, root: Path = ROOT, ours: Path = OURS) -> Cgroups | None:
    """Return the place for control groups called `name`; None if this user may not make any."""
    for freezer, top, own in _places(root, ours):
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


def _places(root: Path, ours: Path) -> list[tuple[Freezer, Path, str]]:
    try:
        lines = ours.read_text().splitlines()
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
