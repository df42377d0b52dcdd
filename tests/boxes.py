"""Real sandboxes for tests: a level, a zygote, processes that do what they are told."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fake_instances import make_function
from support import descendants

from anyfc.identity.key import Credentials
from anyfc.runtime.channel import Channel
from anyfc.runtime.context import Place, build_program
from anyfc.runtime.frame import INVOKE
from anyfc.sandbox.box import Box, Level
from anyfc.sandbox.cgroup import ROOT, V1, V2, Cgroups, Freezer, find_cgroups
from anyfc.sandbox.choice import gives_up_rights_early
from anyfc.sandbox.interpreter import Interpreter, default_search, find_interpreters
from anyfc.sandbox.network import Network
from anyfc.sandbox.process import Process, Sandbox, open_sandbox
from anyfc.web.transport import factory

UID = 64321

# Runs the event as a program, and answers what that leaves in `answer`.
CODE = """
def handler(event, context):
    names = {}
    exec(event, names)
    return names["answer"]
"""


def find_interpreter(level: Level) -> Interpreter:
    """The newest interpreter that instances of a level can use; skips the test without one."""
    root = os.geteuid() == 0
    if level is Level.JAIL and not root:
        pytest.skip("jail: only root can make one")
    search = default_search(os.environ.get("PATH", ""), Path.home())
    found = find_interpreters(search, for_everybody=gives_up_rights_early(level, root=root))
    if not found:
        pytest.skip(f"{level.value}: no Python that its instances could read was found")
    return found[0]


@contextmanager
def open_cgroups(freezer: Freezer | None) -> Iterator[Cgroups | None]:
    """Control groups of one version, or none; skips the test where they cannot be made."""
    if freezer is None:
        yield None
        return
    name = f"anyfc-test-{os.getpid()}"
    cgroups = find_cgroups(name) if freezer is V2 else _open_v1(name)
    if cgroups is None or cgroups.freezer is not freezer:
        if cgroups is not None:
            cgroups.close()
        pytest.skip(f"{freezer.file}: such control groups cannot be made here")
    try:
        yield cgroups
    finally:
        assert not [path for path in cgroups.folder.iterdir() if path.is_dir()]
        cgroups.close()
        assert not cgroups.folder.exists()


def _open_v1(name: str) -> Cgroups | None:
    folder = ROOT / "freezer" / name
    try:
        folder.mkdir()
    except OSError:
        return None
    return Cgroups(folder, V1)


@dataclass
class Started:
    """A process that has said hello."""

    process: Process
    channel: Channel

    async def do(self, program: str) -> bytes:
        """Have it run a program; return what that leaves in `answer`."""
        await self.channel.send_all(INVOKE, b'{"request_id":"1-2-3"}', program.encode())
        answer = await self.channel.answer()
        assert answer.returned, answer.piece
        return answer.piece


@dataclass
class Boxes:
    """An open sandbox, and code to put into its boxes."""

    sandbox: Sandbox
    interpreter: Interpreter
    code: Path
    numbers: Iterator[int] = field(default_factory=count)

    def make_box(self, **settings: Any) -> Box:
        name = f"c-{next(self.numbers)}"
        given = {
            "hostname": name,
            "code": str(self.code),
            "scratch": self.sandbox.scratch_path(name),
            "disk_mib": 16,
        }
        return Box(**given | settings)

    @asynccontextmanager
    async def open(self, network: Network | None = None) -> AsyncIterator[Process]:
        box = self.make_box()
        program = build_program(
            make_function(),
            Place(region="cn-hangzhou", account_id="1"),
            Credentials(),
            instance_id=box.hostname,
            seen=box.seen(),
        )
        async with self.sandbox.open(self.interpreter, box, program, network) as process:
            try:
                yield process
            finally:
                os.close(process.log)

    @asynccontextmanager
    async def start(self, network: Network | None = None) -> AsyncIterator[Started]:
        loop = asyncio.get_running_loop()
        async with self.open(network) as process:
            with process.channel as end, closing(Channel()) as channel:
                await loop.create_unix_connection(factory(lambda: channel), sock=end)
                await channel.hello()
                yield Started(process, channel)


@asynccontextmanager
async def open_boxes(
    level: Level, cgroups: Cgroups | None = None, *, spares: int = 0
) -> AsyncIterator[Boxes]:
    interpreter = find_interpreter(level)
    with tempfile.TemporaryDirectory(prefix="anyfc-boxes-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        code = folder / "package" / "code"
        code.mkdir(parents=True)
        (code / "index.py").write_text(CODE)
        if os.geteuid() == 0:
            for path in (code, code / "index.py"):
                os.chown(path, UID, UID)
        async with open_sandbox(
            level, uid=UID, gid=UID, folder=folder / "sandbox", cgroups=cgroups, spares=spares
        ) as sandbox:
            yield Boxes(sandbox, interpreter, code)
            left = [path.name for path in sandbox.folder.iterdir()]
            assert [name for name in left if not name.startswith("stage-")] == []


async def wait_for(condition: Callable[[], Any], within_s: float = 10.0) -> None:
    """Let the loop turn until a condition holds; fail when that takes too long."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # of other processes, which set no events
            await asyncio.sleep(0.002)


def zygotes():
    """The zygotes that this process has started; other tests may have left a server running."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        int(pid) for pid in children if b"serve" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    }


def below_zygotes():
    return set().union(*(descendants(pid) for pid in zygotes()))


async def wait_alone(level: Level) -> None:
    """Wait until a zygote has buried what it forked, in its own time; at userns, two processes."""
    await wait_for(lambda: len(zygotes() | below_zygotes()) == 1 + (level is Level.USERNS))
