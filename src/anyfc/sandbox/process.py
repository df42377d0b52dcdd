"""Processes in their boxes: forked, some of them before they are needed, and ended, always."""

import asyncio
import logging
import os
import re
import shutil
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from anyfc.sandbox.box import Box, Level
from anyfc.sandbox.cgroup import Cgroup, Cgroups
from anyfc.sandbox.failure import SandboxFailed, translated
from anyfc.sandbox.finish import finish
from anyfc.sandbox.interpreter import Interpreter
from anyfc.sandbox.network import Network
from anyfc.sandbox.zygote import Birth, Zygote, open_zygote

log = logging.getLogger("anyfc")

ENTERED_WITHIN_S = 20.0
GONE_WITHIN_S = 5.0
GRACE_S = 0.5  # between SIGTERM and SIGKILL
SPARE_AFTER_S = 0.05
PEAK_KIB = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


@dataclass(slots=True)
class Process:
    """A started process in its box. `channel` and `log` are our ends; who uses them closes them."""

    id: str
    pid: int
    visible: bool  # `pid` is its number here too, and not only where its zygote is
    channel: socket.socket
    log: int
    exited: asyncio.Future[int]  # exit code, or minus a signal
    _zygote: Zygote
    _cgroup: Cgroup | None

    def signal(self, number: int) -> None:
        if not self.exited.done():
            self._zygote.signal(self.id, number)

    async def terminate(self) -> None:
        """Tell the program to end, and give it a moment; closing the sandbox ends it for good."""
        self.signal(signal.SIGTERM)
        await asyncio.wait((self.exited,), timeout=GRACE_S)

    def peak_memory_mib(self) -> float:
        """Return the largest resident memory of the program until now; 0 if that is not known."""
        try:
            main = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0]
            found = PEAK_KIB.search(Path(f"/proc/{main}/status").read_text())
        except (OSError, IndexError):  # it has ended
            return 0.0
        return int(found[1]) / 1024 if found and self.visible else 0.0

    def freeze(self) -> None:
        if self._cgroup is not None:
            self._cgroup.freeze()
        else:
            self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._cgroup is not None:
            self._cgroup.thaw()
        else:
            self.signal(signal.SIGCONT)


@dataclass(slots=True)
class Sandbox:
    """Makes processes of one level. One zygote for each interpreter, started when first needed."""

    level: Level
    uid: int
    gid: int
    folder: Path  # ours: mount points and scratch folders
    cgroups: Cgroups | None
    spares: int  # processes that each zygote forks before they are needed
    _group: asyncio.TaskGroup
    _stocks: "dict[Interpreter, asyncio.Future[Stock]]" = field(default_factory=dict)
    _keepers: set[asyncio.Task[None]] = field(default_factory=set)
    _made: int = 0

    async def warm(self, interpreter: Interpreter) -> "Stock":
        """Return the stock of an interpreter, its zygote started if need be.

        Raises SandboxFailed.
        """
        found = self._stocks.get(interpreter)
        if found is None or (found.done() and found.result().zygote.gone.done()):
            found = asyncio.get_running_loop().create_future()
            self._stocks[interpreter] = found
            keeper = self._group.create_task(self._keep(interpreter, found), name="zygote")
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)
        # Shielded: who asked first may go while others wait.
        return await asyncio.shield(found)

    async def _keep(self, interpreter: Interpreter, found: "asyncio.Future[Stock]") -> None:
        """The whole life of one zygote."""
        try:
            async with open_zygote(
                interpreter, level=self.level, uid=self.uid, gid=self.gid, folder=self.folder
            ) as zygote:
                stock = Stock(zygote)
                found.set_result(stock)
                await self._keep_spares(stock)
        except SandboxFailed as error:
            found.set_exception(error)
        finally:
            if self._stocks[interpreter] is found:
                del self._stocks[interpreter]
            if not found.done():
                found.set_exception(SandboxFailed("the server is stopping"))
            found.exception()  # seen, even if nobody waits any more

    async def _keep_spares(self, stock: "Stock") -> None:
        """Have processes forked before they are needed, until the zygote is gone."""
        gone = stock.zygote.gone
        try:
            while not gone.done():
                # Not at once: whoever took the last one has better use for the processors.
                await asyncio.wait((gone,), timeout=SPARE_AFTER_S)
                for spare in [spare for spare in stock.spares if spare.birth.exited.done()]:
                    stock.spares.remove(spare)
                    await finish(spare.clear())
                with suppress(SandboxFailed):  # whoever needs a process will be told
                    while len(stock.spares) < self.spares:
                        stock.spares.append(self._make_blank(stock.zygote))
                stock.taken = asyncio.get_running_loop().create_future()
                await asyncio.wait((gone, stock.taken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await finish(_clear_all(stock.spares))

    def scratch_path(self, name: str) -> str | None:
        """Return where the private folder of a box will be, at a level that needs one."""
        return str(self.folder / name) if self.level is Level.NONE else None

    def close(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()

    @asynccontextmanager
    async def open(
        self,
        interpreter: Interpreter,
        box: Box,
        program: dict[str, Any],
        network: Network | None = None,
    ) -> AsyncIterator[Process]:
        """Yield a started process, and end it on leaving, always. Raises SandboxFailed.

        Without a `network` of its own it is in the host's; only level jail can give it one.
        """
        async with self._take_blank(interpreter, box.scratch) as blank:
            with translated(), _open_ends() as ends:
                pid = await blank.zygote.wait_started(blank.birth)
                blank.become(box, program, ends, network)
                channel, log_end = ends.take_ours()
            visible = self.level is not Level.USERNS
            yield Process(
                blank.name,
                pid,
                visible,
                channel,
                log_end,
                blank.birth.exited,
                blank.zygote,
                blank.cgroup,
            )

    async def probe(self, interpreter: Interpreter, box: Box) -> None:
        """Try whether a box can be entered. Raises SandboxFailed with the reason."""
        async with self._take_blank(interpreter, box.scratch) as blank:
            with translated(), _open_ends() as ends:
                await blank.zygote.wait_started(blank.birth)
                blank.become(box, None, ends)
                await asyncio.wait((blank.birth.exited,), timeout=ENTERED_WITHIN_S)
                if not blank.birth.exited.done():
                    raise SandboxFailed(f"a box was not entered within {ENTERED_WITHIN_S:g} s")
                if status := blank.birth.exited.result():
                    raise SandboxFailed(ends.read_log() or f"status {status} in an empty box")

    @asynccontextmanager
    async def _take_blank(
        self, interpreter: Interpreter, scratch: str | None
    ) -> AsyncIterator["_Blank"]:
        """Yield a blank for a box; all that the box leaves on the machine is gone on leaving."""
        blank = None
        try:
            if scratch is not None:
                with translated():
                    os.mkdir(scratch, 0o700)
            stock = await self.warm(interpreter)
            blank = stock.take() or self._make_blank(stock.zygote)
            yield blank
        finally:
            await finish(_clear(blank, scratch))

    def _make_blank(self, zygote: Zygote) -> "_Blank":
        """Ask for a process that waits for its box. Raises SandboxFailed."""
        self._made += 1
        name = f"{os.getpid()}-{self._made}"
        with translated(), ExitStack() as undo, ExitStack() as theirs:
            door, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.enter_context(door)
            descriptors = [theirs.enter_context(inside).fileno()]
            cgroup = self.cgroups.make(name) if self.cgroups else None
            must_join = False
            if cgroup is not None:
                undo.callback(cgroup.remove)
                # A process with fewer rights than ours cannot be forked into a group that is ours.
                folder = cgroup.open_folder() if self.level is not Level.USERNS else None
                if folder is None:
                    must_join = True
                else:
                    theirs.callback(os.close, folder)
                    descriptors.append(folder)
            birth = zygote.fork(name, descriptors)
            undo.pop_all()
        return _Blank(name, zygote, birth, door, cgroup, must_join)


@dataclass(slots=True)
class Stock:
    """A zygote, and what it has forked before it is needed."""

    zygote: Zygote
    spares: "deque[_Blank]" = field(default_factory=deque)
    taken: asyncio.Future[None] | None = None  # done when one is missing

    def take(self) -> "_Blank | None":
        if self.taken is not None and not self.taken.done():
            self.taken.set_result(None)
        for blank in self.spares:
            if not blank.birth.exited.done():
                self.spares.remove(blank)
                return blank
        return None


@dataclass(slots=True)
class _Blank:
    """A forked process that waits at its door for a box and a program; later, what became of it."""

    name: str
    zygote: Zygote
    birth: Birth
    door: socket.socket
    cgroup: Cgroup | None
    must_join: bool  # it has to enter the control group by itself

    def become(
        self,
        box: Box,
        program: dict[str, Any] | None,
        ends: "_Ends",
        network: Network | None = None,
    ) -> None:
        """Let it enter its box; without a program it only tries to. Raises OSError."""
        passed = {"channel": ends.their_channel.fileno(), "log": ends.their_log}
        if self.must_join and self.cgroup is not None:
            passed["cgroup"] = ends.keep(self.cgroup.open_members())
        if network is not None:
            passed["network"] = network.fd
        shown = box.packet(network.packet() if network is not None else None)
        packet = msgspec.json.encode({"box": shown, "program": program, "passed": list(passed)})
        with self.door:
            socket.send_fds(self.door, [packet], list(passed.values()))

    async def clear(self) -> None:
        """Kill everything in the box, wait until it is gone, bounded, and clean up behind it."""
        self.door.close()
        if not self.birth.exited.done():
            self.zygote.signal(self.name, signal.SIGKILL)
            if self.cgroup is not None:
                self.cgroup.kill()  # version 1 lets nothing die that is frozen
            await asyncio.wait((self.birth.exited,), timeout=GONE_WITHIN_S)
            if not self.birth.exited.done():
                log.error("a process cannot be ended", extra={"process": self.name})
        if self.cgroup is not None and not await asyncio.to_thread(self.cgroup.remove):
            log.error("a control group cannot be removed", extra={"process": self.name})


async def _clear_all(blanks: "deque[_Blank]") -> None:
    while blanks:
        await blanks.popleft().clear()


async def _clear(blank: _Blank | None, scratch: str | None) -> None:
    if blank is not None:
        await blank.clear()
    if scratch:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


@dataclass(slots=True)
class _Ends:
    """Both ends of a process's channel and log."""

    their_channel: socket.socket
    their_log: int
    _channel: socket.socket
    _log: int
    _ours: ExitStack
    _theirs: ExitStack

    def keep(self, descriptor: int) -> int:
        """Close this one with theirs."""
        self._theirs.callback(os.close, descriptor)
        return descriptor

    def read_log(self) -> str:
        """Return the beginning of what was printed."""
        try:
            return os.read(self._log, 4096).decode(errors="replace")
        except BlockingIOError:
            return ""

    def take_ours(self) -> tuple[socket.socket, int]:
        """Return channel and log; they stay open."""
        self._ours.pop_all()
        return self._channel, self._log


@contextmanager
def _open_ends() -> Iterator[_Ends]:
    with ExitStack() as theirs, ExitStack() as ours:
        log_end, their_log = os.pipe2(os.O_CLOEXEC)
        ours.callback(os.close, log_end)
        theirs.callback(os.close, their_log)
        os.set_blocking(log_end, False)
        channel, their_channel = socket.socketpair()
        ours.enter_context(channel)
        theirs.enter_context(their_channel)
        channel.setblocking(False)
        yield _Ends(their_channel, their_log, channel, log_end, ours, theirs)


@asynccontextmanager
async def open_sandbox(
    level: Level, *, uid: int, gid: int, folder: Path, cgroups: Cgroups | None, spares: int
) -> AsyncIterator[Sandbox]:
    """Make processes in boxes of `level`; `folder` is emptied first.

    Each zygote has `spares` processes forked before they are needed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o711)
    async with asyncio.TaskGroup() as group:
        sandbox = Sandbox(level, uid, gid, folder, cgroups, spares, group)
        try:
            yield sandbox
        finally:
            sandbox.close()
