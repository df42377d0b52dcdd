"""Talks to warm parents that fork processes; see `bootstrap/DIALOGUE.md`, part 1."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import anyfc.bootstrap
from anyfc.sandbox.box import Level
from anyfc.sandbox.failure import SandboxFailed, translated
from anyfc.sandbox.finish import finish
from anyfc.sandbox.interpreter import Interpreter

T = TypeVar("T")

PROGRAM = Path(anyfc.bootstrap.__file__).parent / "python" / "zygote.py"
PACKET_BYTES = 128 * 1024
READY_WITHIN_S = 20.0
GONE_WITHIN_S = 5.0
HOST_FOLDERS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin")


@dataclass(slots=True)
class Birth:
    """A process that was asked for, from then on."""

    started: asyncio.Future[int]  # process id
    exited: asyncio.Future[int]

    def fail(self, reason: str) -> None:
        """There is no process, or none any more."""
        if not self.started.done():
            self.started.set_exception(SandboxFailed(reason))
            self.started.exception()  # seen, even if nobody waits for it
        _settle(self.exited, -signal.SIGKILL)


@dataclass(slots=True)
class Zygote:
    """The server's end of one zygote dialogue."""

    interpreter: Interpreter
    control: socket.socket
    version: str = ""
    gone: asyncio.Future[None] = field(init=False)  # done when it has ended, or does not answer
    _greeting: asyncio.Future[str] = field(init=False)
    _settled: asyncio.Future[str] = field(init=False)
    _births: dict[str, Birth] = field(default_factory=dict)
    _unsent: deque[tuple[bytes, list[int]]] = field(default_factory=deque)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        self.gone = self._loop.create_future()
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

    def fork(self, name: str, descriptors: Sequence[int]) -> Birth:
        """Ask for a process. Raises SandboxFailed."""
        self._say({"op": "fork", "id": name}, descriptors)
        birth = self._births[name] = Birth(self._loop.create_future(), self._loop.create_future())
        return birth

    async def wait_started(self, birth: Birth) -> int:
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


@asynccontextmanager
async def open_zygote(
    interpreter: Interpreter, *, level: Level, uid: int, gid: int, folder: Path
) -> AsyncIterator[Zygote]:
    """Start a zygote for boxes of a level, and end it on leaving; it works in `folder`.

    Raises SandboxFailed.
    """
    with translated(), ExitStack() as undo:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.enter_context(ours)
        with theirs:
            number = theirs.fileno()
            process = subprocess.Popen(
                [interpreter.path, "-I", "-S", "-W", "ignore", str(PROGRAM), str(number)],
                pass_fds=[number], stdin=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"}, cwd="/",
                process_group=0,  # Ctrl-C in a terminal is for the server, which drains
            )  # fmt: skip
        undo.pop_all()
    zygote = Zygote(interpreter, ours)
    stage = folder / f"stage-{process.pid}"
    try:
        with translated():
            stage.mkdir()
            stage.chmod(0o755)
        await zygote.settle(
            level=level.value, uid=uid, gid=gid, folder=str(stage),
            visible=[*HOST_FOLDERS, *_outside_usr(interpreter.prefix)],
        )  # fmt: skip
        yield zygote
    finally:
        await finish(zygote.close(process))
        shutil.rmtree(stage, ignore_errors=True)


def _outside_usr(prefix: str) -> list[str]:
    return [] if prefix == "/usr" or prefix.startswith("/usr/") else [prefix]
