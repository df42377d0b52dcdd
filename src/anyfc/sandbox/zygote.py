"""Talks to warm parents that fork instances; see `bootstrap/DIALOGUE.md`, part 1.

One module because a zygote and the processes it forks live and die together, in one dialogue.
"""

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import anyfc.bootstrap
from anyfc.sandbox.box import Box, Level
from anyfc.sandbox.cgroup import Cgroup, Cgroups
from anyfc.sandbox.interpreter import Interpreter

log = logging.getLogger("anyfc")

T = TypeVar("T")

PROGRAM = Path(anyfc.bootstrap.__file__).parent / "python" / "zygote.py"
PACKET_BYTES = 128 * 1024
READY_WITHIN_S = 20.0
GONE_WITHIN_S = 5.0
SPARE_AFTER_S = 0.05
HOST_FOLDERS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin")


class SandboxFailed(Exception):
    """No process could be made, and it is not the function's fault; the message says why."""


@dataclass(slots=True)
class Process:
    """A started process in its box. `channel` and `log` are our ends; who uses them closes them."""

    id: str
    pid: int
    channel: socket.socket
    log: int
    exited: asyncio.Future[int]  # exit code, or minus a signal
    _zygote: "Zygote"
    _cgroup: Cgroup | None

    def signal(self, number: int) -> None:
        if not self.exited.done():
            self._zygote.signal(self.id, number)

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
class _Birth:
    """A process that was asked for, from then on."""

    started: asyncio.Future[int]  # process id
    exited: asyncio.Future[int]

    def fail(self, reason: str) -> None:
        """There is no process, or none any more."""
        if not self.started.done():
            self.started.set_exception(SandboxFailed(reason))
        _settle(self.exited, -signal.SIGKILL)


@dataclass(slots=True)
class Zygote:
    """The server's end of one zygote dialogue."""

    interpreter: Interpreter
    control: socket.socket
    version: str = ""
    gone: asyncio.Future[None] = field(init=False)  # done when it has ended, or does not answer
    spares: "deque[_Blank]" = field(default_factory=deque)  # forked before they are needed
    spare_taken: asyncio.Future[None] = field(init=False)
    _greeting: asyncio.Future[str] = field(init=False)
    _settled: asyncio.Future[str] = field(init=False)
    _births: dict[str, _Birth] = field(default_factory=dict)
    _unsent: deque[tuple[bytes, list[int]]] = field(default_factory=deque)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        self.gone = self._loop.create_future()
        self.spare_taken = self._loop.create_future()
        self._greeting = self._loop.create_future()
        self._settled = self._loop.create_future()
        self.control.setblocking(False)
        self._loop.add_reader(self.control.fileno(), self._hear)

    async def close(self, process: "subprocess.Popen[bytes]") -> None:
        """End the dialogue, and with it the zygote and what it forked."""
        with suppress(OSError):  # it has ended already
            self.control.shutdown(socket.SHUT_WR)
        await asyncio.wait((self.gone,), timeout=GONE_WITHIN_S)
        self._lose()
        self.control.close()
        process.kill()
        await asyncio.to_thread(process.wait)

    async def settle(self, **common: Any) -> None:
        """Raises SandboxFailed if this machine does not let boxes be made."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                self.version = await self._greeting
                self._say({"op": "settle", **common})
                problem = await self._settled
        except TimeoutError:
            problem = f"no answer within {READY_WITHIN_S:g} s"
        if problem:
            raise SandboxFailed(f"{self.interpreter}: {problem}")

    def fork(self, name: str, descriptors: Sequence[int]) -> _Birth:
        """Ask for a process. Raises SandboxFailed."""
        self._say({"op": "fork", "id": name}, descriptors)
        birth = self._births[name] = _Birth(self._loop.create_future(), self._loop.create_future())
        return birth

    async def wait_started(self, birth: _Birth) -> int:
        """Return the id of a process that was asked for. Raises SandboxFailed."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                return await birth.started
        except TimeoutError:
            self._lose()
            raise SandboxFailed(
                f"{self.interpreter}: no answer within {READY_WITHIN_S:g} s"
            ) from None

    def signal(self, name: str, number: int) -> None:
        with suppress(SandboxFailed):  # gone, and its processes with it
            self._say({"op": "signal", "id": name, "signal": number})

    def _say(self, packet: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self.gone.done():
            raise SandboxFailed(f"{self.interpreter}: the zygote has ended")
        text = msgspec.json.encode(packet)
        if self._unsent or not self._send(text, descriptors):
            # Who gave the descriptors may close them before there is room.
            self._unsent.append((text, [os.dup(number) for number in descriptors]))
            self._loop.add_writer(self.control.fileno(), self._send_rest)

    def _send(self, text: bytes, descriptors: Sequence[int]) -> bool:
        try:
            socket.send_fds(self.control, [text], list(descriptors))
        except BlockingIOError:
            return False
        except OSError as error:
            raise SandboxFailed(f"{self.interpreter}: {error}") from error
        return True

    def _send_rest(self) -> None:
        with suppress(SandboxFailed):  # it has ended, which `_hear` is about to learn
            while self._unsent and self._send(*self._unsent[0]):
                self._drop_unsent()
        if not self._unsent:
            self._loop.remove_writer(self.control.fileno())

    def _drop_unsent(self) -> None:
        for number in self._unsent.popleft()[1]:
            os.close(number)

    def _hear(self) -> None:
        while not self.gone.done():
            try:
                packet = self.control.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if packet:
                self._take(msgspec.json.decode(packet))
            else:
                self._lose()

    def _take(self, packet: dict[str, Any]) -> None:
        match packet["op"]:
            case "hello":
                _settle(self._greeting, packet["python"])
            case "settled":
                _settle(self._settled, packet["problem"])
            case "started":
                _settle(self._births[packet["id"]].started, packet["pid"])
            case "failed":
                self._births.pop(packet["id"]).fail(packet["reason"])
            case "exited":
                _settle(self._births.pop(packet["id"]).exited, packet["status"])

    def _lose(self) -> None:
        """The zygote has ended, and with it every process that it forked; or it soon will."""
        if self.gone.done():
            return
        self.gone.set_result(None)
        self._loop.remove_reader(self.control.fileno())
        self._loop.remove_writer(self.control.fileno())
        while self._unsent:
            self._drop_unsent()
        _settle(self._greeting, "")
        _settle(self._settled, "the zygote ended before it was ready")
        for birth in self._births.values():
            birth.fail("the zygote has ended")
        self._births.clear()


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


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
    _zygotes: dict[Interpreter, asyncio.Future[Zygote]] = field(default_factory=dict)
    _keepers: set[asyncio.Task[None]] = field(default_factory=set)
    _made: int = 0

    async def warm(self, interpreter: Interpreter) -> Zygote:
        """Return the zygote of an interpreter, started if need be. Raises SandboxFailed."""
        found = self._zygotes.get(interpreter)
        if found is None or (found.done() and found.result().gone.done()):
            found = asyncio.get_running_loop().create_future()
            self._zygotes[interpreter] = found
            keeper = self._group.create_task(self._keep(interpreter, found), name="zygote")
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)
        # Shielded: who asked first may go while others wait.
        return await asyncio.shield(found)

    async def _keep(self, interpreter: Interpreter, found: asyncio.Future[Zygote]) -> None:
        """The whole life of one zygote."""
        try:
            async with self._open_zygote(interpreter) as zygote:
                found.set_result(zygote)
                await self._keep_spares(zygote)
        except SandboxFailed as error:
            found.set_exception(error)
        finally:
            if self._zygotes[interpreter] is found:
                del self._zygotes[interpreter]
            if not found.done():
                found.set_exception(SandboxFailed("the server is stopping"))
            found.exception()  # seen, even if nobody waits any more

    async def _keep_spares(self, zygote: Zygote) -> None:
        """Have processes forked before they are needed, until the zygote is gone."""
        try:
            while not zygote.gone.done():
                # Not at once: whoever took the last one has better use for the processors.
                await asyncio.wait((zygote.gone,), timeout=SPARE_AFTER_S)
                for spare in [spare for spare in zygote.spares if spare.birth.exited.done()]:
                    zygote.spares.remove(spare)
                    await _finish(spare.clear())
                with suppress(SandboxFailed):  # whoever needs a process will be told
                    while len(zygote.spares) < self.spares:
                        zygote.spares.append(self._make_blank(zygote))
                zygote.spare_taken = asyncio.get_running_loop().create_future()
                events = (zygote.gone, zygote.spare_taken)
                await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _finish(_clear_all(zygote.spares))

    def make_scratch(self, name: str) -> str | None:
        """Return a new private folder for an instance of a level that needs one.

        Raises SandboxFailed.
        """
        if self.level is not Level.NONE:
            return None
        scratch = self.folder / name
        with _translated():
            scratch.mkdir(mode=0o700)
        return str(scratch)

    def close(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()

    @asynccontextmanager
    async def _open_zygote(self, interpreter: Interpreter) -> AsyncIterator[Zygote]:
        with _translated(), ExitStack() as undo:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.enter_context(ours)
            with theirs:
                number = theirs.fileno()
                process = subprocess.Popen(
                    [interpreter.path, "-I", "-S", "-W", "ignore", str(PROGRAM), str(number)],
                    pass_fds=[number], stdin=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"}, cwd="/",
                )  # fmt: skip
            undo.pop_all()
        zygote = Zygote(interpreter, ours)
        stage = self.folder / f"stage-{process.pid}"
        try:
            with _translated():
                stage.mkdir()
                stage.chmod(0o755)
            await zygote.settle(
                level=self.level.value, uid=self.uid, gid=self.gid, folder=str(stage),
                visible=[*HOST_FOLDERS, *_outside_usr(interpreter.prefix)],
            )  # fmt: skip
            yield zygote
        finally:
            await _finish(zygote.close(process))
            shutil.rmtree(stage, ignore_errors=True)

    @asynccontextmanager
    async def open(
        self, interpreter: Interpreter, box: Box, program: dict[str, Any]
    ) -> AsyncIterator[Process]:
        """Yield a started process, and end it on leaving, always. Raises SandboxFailed."""
        async with self._take_blank(interpreter, box.scratch) as blank:
            with _translated(), _open_ends() as ends:
                pid = await blank.zygote.wait_started(blank.birth)
                blank.become(box, program, ends)
                channel, log_end = ends.take_ours()
            yield Process(
                blank.name, pid, channel, log_end, blank.birth.exited, blank.zygote, blank.cgroup
            )

    async def probe(self, interpreter: Interpreter, box: Box) -> None:
        """Try whether a box can be entered. Raises SandboxFailed with the reason."""
        async with self._take_blank(interpreter, box.scratch) as blank:
            with _translated(), _open_ends() as ends:
                await blank.zygote.wait_started(blank.birth)
                blank.become(box, None, ends)
                await asyncio.wait((blank.birth.exited,), timeout=READY_WITHIN_S)
                if not blank.birth.exited.done():
                    raise SandboxFailed(f"a box was not entered within {READY_WITHIN_S:g} s")
                if status := blank.birth.exited.result():
                    raise SandboxFailed(ends.read_log() or f"status {status} in an empty box")

    @asynccontextmanager
    async def _take_blank(
        self, interpreter: Interpreter, scratch: str | None
    ) -> AsyncIterator["_Blank"]:
        """Yield a blank for a box; all that the box leaves on the machine is gone on leaving."""
        blank = None
        try:
            zygote = await self.warm(interpreter)
            alive = (spare for spare in zygote.spares if not spare.birth.exited.done())
            blank = next(alive, None)
            if blank is None:
                blank = self._make_blank(zygote)
            else:
                zygote.spares.remove(blank)
            _settle(zygote.spare_taken, None)
            yield blank
        finally:
            await _finish(_clear(blank, scratch))

    def _make_blank(self, zygote: Zygote) -> "_Blank":
        """Ask for a process that waits for its box. Raises SandboxFailed."""
        self._made += 1
        name = f"{os.getpid()}-{self._made}"
        with _translated(), ExitStack() as undo, ExitStack() as theirs:
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
class _Blank:
    """A forked process that waits at its door for a box and a program; later, what became of it."""

    name: str
    zygote: Zygote
    birth: _Birth
    door: socket.socket
    cgroup: Cgroup | None
    must_join: bool  # it has to enter the control group by itself

    def become(self, box: Box, program: dict[str, Any] | None, ends: "_Ends") -> None:
        """Let it enter its box; without a program it only tries to. Raises OSError."""
        descriptors = [ends.their_channel.fileno(), ends.their_log]
        if self.must_join and self.cgroup is not None:
            descriptors.append(ends.keep(self.cgroup.open_members()))
        packet = msgspec.json.encode({"box": box.packet(), "program": program})
        with self.door:
            socket.send_fds(self.door, [packet], descriptors)

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


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Do bounded work to its end; that the caller was cancelled meanwhile counts afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


@contextmanager
def _translated() -> Iterator[None]:
    """What the machine refuses is our failure, not the function's."""
    try:
        yield
    except OSError as error:
        raise SandboxFailed(str(error)) from error


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


def _outside_usr(prefix: str) -> list[str]:
    return [] if prefix == "/usr" or prefix.startswith("/usr/") else [prefix]


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
