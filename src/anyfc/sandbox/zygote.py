"""Talks to warm parents that fork instances; see `bootstrap/DIALOGUE.md`, part 1."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import anyfc.bootstrap
from anyfc.sandbox.box import Box, Level
from anyfc.sandbox.cgroup import Cgroup, Cgroups
from anyfc.sandbox.interpreter import Interpreter

T = TypeVar("T")

PROGRAM = Path(anyfc.bootstrap.__file__).parent / "python" / "zygote.py"
PACKET_BYTES = 128 * 1024
READY_WITHIN_S = 20.0
GONE_WITHIN_S = 5.0
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

    async def end(self) -> None:
        """Kill everything in the box and wait until it is gone, bounded."""
        self.signal(signal.SIGKILL)
        if self._cgroup is not None:
            self._cgroup.thaw()  # version 1 lets nothing die that is frozen
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_WITHIN_S):
                await asyncio.shield(self.exited)
        if self._cgroup is not None:
            await asyncio.to_thread(self._cgroup.remove)


@dataclass(slots=True)
class _Birth:
    started: asyncio.Future[int]
    exited: asyncio.Future[int]


@dataclass(slots=True)
class Zygote:
    """The server's end of one zygote dialogue."""

    interpreter: Interpreter
    control: socket.socket
    lost: bool = False
    version: str = ""
    _greeting: asyncio.Future[str] = field(init=False)
    _settled: asyncio.Future[str] = field(init=False)
    _births: dict[str, _Birth] = field(default_factory=dict)

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._greeting = loop.create_future()
        self._settled = loop.create_future()
        self.control.setblocking(False)
        loop.add_reader(self.control.fileno(), self._hear)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.control.fileno())
        self.control.close()
        self._lose()

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

    async def fork(self, packet: dict[str, Any], descriptors: Sequence[int]) -> _Birth:
        """Raises SandboxFailed."""
        loop = asyncio.get_running_loop()
        birth = _Birth(loop.create_future(), loop.create_future())
        name = packet["id"]
        self._births[name] = birth
        try:
            self._say(packet, descriptors)
            await birth.started
        except BaseException:
            if not birth.started.done() or birth.started.cancelled():
                birth.started.cancel()
                self.signal(name, signal.SIGKILL)
            raise
        return birth

    def signal(self, name: str, number: int) -> None:
        with suppress(SandboxFailed):  # gone, and its processes with it
            self._say({"op": "signal", "id": name, "signal": number})

    def _say(self, packet: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self.lost:
            raise SandboxFailed(f"{self.interpreter}: the zygote has ended")
        try:
            socket.send_fds(self.control, [msgspec.json.encode(packet)], list(descriptors))
        except OSError as error:
            raise SandboxFailed(f"{self.interpreter}: {error}") from error

    def _hear(self) -> None:
        while True:
            try:
                packet = self.control.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                asyncio.get_running_loop().remove_reader(self.control.fileno())
                self._lose()
                return
            self._take(msgspec.json.decode(packet))

    def _take(self, packet: dict[str, Any]) -> None:
        match packet["op"]:
            case "hello":
                _settle(self._greeting, packet["python"])
            case "settled":
                _settle(self._settled, packet["problem"])
            case "started":
                _settle(self._births[packet["id"]].started, packet["pid"])
            case "failed":
                birth = self._births.pop(packet["id"])
                if not birth.started.done():
                    birth.started.set_exception(SandboxFailed(packet["reason"]))
            case "exited":
                _settle(self._births.pop(packet["id"]).exited, packet["status"])

    def _lose(self) -> None:
        """The zygote has ended, and with it every process that it forked."""
        self.lost = True
        _settle(self._greeting, "")
        _settle(self._settled, "the zygote ended before it was ready")
        for birth in self._births.values():
            if not birth.started.done():
                birth.started.set_exception(SandboxFailed("the zygote has ended"))
            _settle(birth.exited, -signal.SIGKILL)
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
    _stack: AsyncExitStack
    _zygotes: dict[Interpreter, Zygote] = field(default_factory=dict)
    _starting: dict[Interpreter, asyncio.Lock] = field(default_factory=dict)

    async def warm(self, interpreter: Interpreter) -> Zygote:
        """Return the zygote of an interpreter, started if need be. Raises SandboxFailed."""
        zygote = self._zygotes.get(interpreter)
        if zygote is not None and not zygote.lost:
            return zygote
        async with self._starting.setdefault(interpreter, asyncio.Lock()):
            zygote = self._zygotes.get(interpreter)
            if zygote is None or zygote.lost:
                zygote = await self._stack.enter_async_context(self._open_zygote(interpreter))
                self._zygotes[interpreter] = zygote
        return zygote

    def make_scratch(self, name: str) -> str | None:
        """Return a new private folder for an instance of a level that needs one."""
        if self.level is not Level.NONE:
            return None
        scratch = self.folder / name
        scratch.mkdir(mode=0o700)
        return str(scratch)

    @asynccontextmanager
    async def _open_zygote(self, interpreter: Interpreter) -> AsyncIterator[Zygote]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            process = subprocess.Popen(
                [interpreter.path, "-I", "-S", "-W", "ignore", str(PROGRAM), str(number)],
                pass_fds=[number], stdin=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"}, cwd="/",
            )  # fmt: skip
        zygote = Zygote(interpreter, ours)
        stage = self.folder / f"stage-{process.pid}"
        stage.mkdir(mode=0o755)
        try:
            await zygote.settle(
                level=self.level.value, uid=self.uid, gid=self.gid, folder=str(stage),
                visible=[*HOST_FOLDERS, *_outside_usr(interpreter.prefix)],
            )  # fmt: skip
            yield zygote
        finally:
            zygote.close()
            await asyncio.to_thread(process.wait)
            shutil.rmtree(stage, ignore_errors=True)

    @asynccontextmanager
    async def open(
        self, interpreter: Interpreter, box: Box, program: dict[str, Any]
    ) -> AsyncIterator[Process]:
        """Yield a started process, and end it on leaving, always. Raises SandboxFailed."""
        zygote = await self.warm(interpreter)
        with _Ends() as ends:
            cgroup = self.cgroups.make(box.hostname) if self.cgroups else None
            try:
                descriptors = [ends.their_channel.fileno(), ends.their_log]
                if cgroup:
                    descriptors.append(ends.keep(cgroup.open_members()))
                packet = {
                    "op": "spawn", "id": box.hostname, "program": program,
                    "box": box.packet(cgroup=cgroup is not None),
                }  # fmt: skip
                birth = await zygote.fork(packet, descriptors)
            except BaseException:
                if cgroup:
                    await asyncio.to_thread(cgroup.remove)
                raise
            channel, log_end = ends.take_ours()
        process = Process(
            box.hostname, birth.started.result(), channel, log_end, birth.exited, zygote, cgroup
        )
        try:
            yield process
        finally:
            await asyncio.shield(process.end())
            if box.scratch:
                await asyncio.to_thread(shutil.rmtree, box.scratch, ignore_errors=True)

    async def probe(self, interpreter: Interpreter, box: Box) -> None:
        """Try whether a box can be entered. Raises SandboxFailed with the reason."""
        zygote = await self.warm(interpreter)
        reader, writer = os.pipe()
        try:
            packet = {"op": "probe", "id": box.hostname, "box": box.packet(cgroup=False)}
            birth = await zygote.fork(packet, [writer, writer])
            status = await birth.exited
            os.close(writer)
            writer = -1
            if status:
                raise SandboxFailed(os.read(reader, 4096).decode(errors="replace"))
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
            if box.scratch:
                await asyncio.to_thread(shutil.rmtree, box.scratch, ignore_errors=True)


class _Ends:
    """Both ends of a process's channel and log; what was not taken is closed."""

    def __enter__(self) -> "_Ends":
        self._channel, self.their_channel = socket.socketpair()
        self._log, self.their_log = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._log, False)
        self._kept = [self.their_log]
        self._taken = False
        return self

    def keep(self, descriptor: int) -> int:
        """Close this one too."""
        self._kept.append(descriptor)
        return descriptor

    def take_ours(self) -> tuple[socket.socket, int]:
        self._taken = True
        self._channel.setblocking(False)
        return self._channel, self._log

    def __exit__(self, *_: object) -> None:
        self.their_channel.close()
        for descriptor in self._kept:
            os.close(descriptor)
        if not self._taken:
            self._channel.close()
            os.close(self._log)


def _outside_usr(prefix: str) -> list[str]:
    return [] if prefix == "/usr" or prefix.startswith("/usr/") else [prefix]


@asynccontextmanager
async def open_sandbox(
    level: Level, *, uid: int, gid: int, folder: Path, cgroups: Cgroups | None
) -> AsyncIterator[Sandbox]:
    """Make processes in boxes of `level`; `folder` is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o711, parents=True)
    async with AsyncExitStack() as stack:
        yield Sandbox(level, uid, gid, folder, cgroups, stack)
