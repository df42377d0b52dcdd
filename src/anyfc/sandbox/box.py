"""Box: what one sandbox is made of; Level: how strong its walls are."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Level(Enum):
    """How far an instance is kept apart. Chosen at start, printed, never lowered silently."""

    JAIL = "jail"  # namespaces, private layer, unprivileged id, filter; the server is root
    USERNS = "userns"  # the same walls without root
    NONE = "none"  # a process in a folder


# Where the modules that the cloud preinstalls are put into a box with walls.
MODULES = "/var/fc/modules"

DESCRIBE = {
    Level.JAIL: "own namespaces, private layer over /code, unprivileged user, system call filter",
    Level.USERNS: "own namespaces made without root, private layer over /code, system call filter",
    Level.NONE: "no walls: a function can read what the user it runs as can read, and sees its "
    "code and its temporary files in a private folder instead of /code and /tmp",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Where a function sees its folders; elsewhere than in the cloud where its box has no walls."""

    code: str = "/code"
    temporary: str = "/tmp"
    home: str = "/root"
    modules: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One sandbox; see BOX in `bootstrap/DIALOGUE.md`."""

    hostname: str
    code: str
    layers: tuple[str, ...] = ()
    modules: str | None = None
    scratch: str | None = None
    disk_mib: int = 512
    descriptors: int = 100_000

    def seen(self) -> Seen:
        if self.scratch is None:
            return Seen(modules=MODULES if self.modules else None)
        temporary = f"{self.scratch}/tmp"
        return Seen(
            code=f"{self.scratch}/code", temporary=temporary, home=temporary, modules=self.modules
        )

    def packet(self, network: dict[str, str] | None = None) -> dict[str, Any]:
        """Return BOX; `network` says where the box is in the network namespace that it enters."""
        return {
            "hostname": self.hostname,
            "code": self.code,
            "layers": list(self.layers),
            "modules": self.modules,
            "scratch": self.scratch,
            "disk_mib": self.disk_mib,
            "descriptors": self.descriptors,
            "network": network,
        }
