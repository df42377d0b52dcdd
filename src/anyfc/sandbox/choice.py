"""Which level of isolation this machine gives."""

import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from anyfc.sandbox.box import Box, Level
from anyfc.sandbox.cgroup import Cgroups
from anyfc.sandbox.failure import SandboxFailed
from anyfc.sandbox.interpreter import Interpreter
from anyfc.sandbox.process import Sandbox, open_sandbox


def candidates(wanted: str, *, root: bool) -> Sequence[Level]:
    """Return the levels to try, the strongest first, for a setting of `isolation`."""
    if wanted != "auto":
        return [Level(wanted)]
    return list(Level) if root else [Level.USERNS, Level.NONE]


def gives_up_rights_early(level: Level, *, root: bool) -> bool:
    """Instances of the level read the interpreter's files as another user than the server."""
    return root and level is not Level.JAIL


@asynccontextmanager
async def open_strongest(
    levels: Sequence[Level],
    interpreters: Mapping[Level, Interpreter | None],
    *,
    uid: int,
    gid: int,
    folder: Path,
    cgroups: Cgroups | None,
    spares: int,
) -> AsyncIterator[tuple[Sandbox, list[str]]]:
    """Yield a sandbox of the first level that works, and why the ones before it do not.

    `interpreters` are what the levels are tried with; its zygote is kept for the functions to come.

    Raises SandboxFailed with all reasons if none works.
    """
    reasons: list[str] = []
    for level in levels:
        interpreter = interpreters[level]
        if interpreter is None:
            reasons.append(f"{level.value}: no Python that instances could read was found")
            continue
        async with AsyncExitStack() as stack:
            opened = open_sandbox(
                level, uid=uid, gid=gid, folder=folder, cgroups=cgroups, spares=spares
            )
            sandbox = await stack.enter_async_context(opened)
            try:
                await _probe(sandbox, interpreter)
            except SandboxFailed as error:
                reasons.append(f"{level.value}: {error}{_way_barred(level, folder)}")
                continue
            yield sandbox, reasons
            return
    raise SandboxFailed("; ".join(reasons))


def _way_barred(level: Level, folder: Path) -> str:
    """Name the folder that instances, which enter as another user, cannot pass through."""
    if gives_up_rights_early(level, root=os.geteuid() == 0):
        for parent in folder.parents:
            if not parent.stat().st_mode & 0o001:
                return f" (instances run as another user, who may not pass through {parent})"
    return ""


async def _probe(sandbox: Sandbox, interpreter: Interpreter) -> None:
    """Enter an empty box of the level. Raises SandboxFailed."""
    folder = sandbox.folder / "probe"
    shutil.rmtree(folder, ignore_errors=True)
    code = folder / "code"
    code.mkdir(parents=True)
    folder.chmod(0o711)
    code.chmod(0o755)
    scratch = sandbox.scratch_path("probe-scratch")
    if os.geteuid() == 0:
        os.chown(code, sandbox.uid, sandbox.gid)
    box = Box(hostname="probe", code=str(code), scratch=scratch)
    await sandbox.probe(interpreter, box)
    shutil.rmtree(folder)
