"""Networks: a network namespace for each custom-runtime instance, and connections into it.

Making one takes 7 ms and 300 KiB of the kernel's memory; taking one that was made before it was
needed takes 0.02 ms. Connecting into one takes 0.2 ms, most of them to wake the thread that enters.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from anyfc.sandbox import firewall
from anyfc.sandbox.block import Block, take_block
from anyfc.sandbox.box import Level
from anyfc.sandbox.failure import SandboxFailed, translated
from anyfc.sandbox.finish import finish
from anyfc.sandbox.netlink import Links, open_home, open_socket

T = TypeVar("T")

log = logging.getLogger("anyfc")

SPARE_AFTER_S = 0.05


@dataclass(slots=True, eq=False)
class Network:
    """The network of one instance. Whoever takes it closes it, after the instance has ended."""

    fd: int  # of the namespace; to be passed to the process that enters it
    address: str  # the instance's own; a server that listens on loopback only is not behind it
    gateway: str  # the host's, as seen from inside
    _networks: "Networks"

    async def connect(self, port: int) -> socket.socket:
        """Return a non-blocking socket that is connected to a port of the instance.

        It comes from inside: neither the way out nor the host's firewall matters.

        Raises OSError: ConnectionRefusedError if nobody listens there.
        """
        connection = await self._networks.open_socket(self.fd)
        try:
            await asyncio.get_running_loop().sock_connect(connection, (self.address, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def packet(self) -> dict[str, str]:
        """Return what the box is told; see BOX in `bootstrap/DIALOGUE.md`."""
        return {"address": self.address, "gateway": self.gateway}

    def close(self) -> None:
        """Let the namespace go: the kernel removes it with the last process in it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._networks.give_back(self)


@dataclass(slots=True)
class Ground:
    """What all networks of a server stand on. For the thread that made it."""

    block: Block
    links: Links
    mtu: int | None
    way_out: bool
    notes: list[str]

    def make(self, address: IPv4Address) -> int:
        return self.links.make(self.block, address, self.mtu, self.way_out)


@contextmanager
def open_ground(whole: IPv4Network) -> Iterator[Ground]:
    """Take a block and set up the firewall; what a killed server left there is removed first.

    Raises OSError, SandboxFailed.
    """
    with ExitStack() as undo:
        links = Links()
        undo.callback(links.close)
        notes: list[str] = []
        with _noted(notes):
            firewall.sweep(whole)
        taken = take_block(whole, links.find_routed())
        if taken is None:
            raise SandboxFailed(f"no block of {whole} is free")
        block, lock = taken
        undo.enter_context(lock)
        links.clear(block)
        way_out = not notes and _open_way_out(block, undo, notes)
        undo.callback(links.clear, block)
        yield Ground(block, links, links.find_mtu(), way_out, notes)


def _open_way_out(block: Block, undo: ExitStack, notes: list[str]) -> bool:
    """Return whether there is one now."""
    with _noted(notes):
        firewall.set_up(block)
        undo.callback(_take_down, block)
        if firewall.switch_on_forwarding():
            notes.append("IP forwarding was off on this machine and is on now")
        notes += firewall.find_barriers()
        return True
    return False


@contextmanager
def _noted(notes: list[str]) -> Iterator[None]:
    try:
        yield
    except firewall.FirewallFailed as error:
        notes.append(f"instances have no way out: {error}")


def _take_down(block: Block) -> None:
    try:
        firewall.take_down(block)
    except firewall.FirewallFailed as error:  # the next server that has the block removes it
        log.warning("the firewall's table stays", extra={"reason": str(error)})


@dataclass(slots=True)
class Networks:
    """Makes networks, some of them before they are needed. For one event loop."""

    _ground: Ground
    _spares: int
    _maker: ThreadPoolExecutor
    _connector: ThreadPoolExecutor  # another thread: connecting does not wait until one is made
    _home: int
    _free: deque[IPv4Address] = field(init=False)
    _ready: deque[Network] = field(default_factory=deque)
    _taken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._free = deque(self.block.addresses())

    @property
    def block(self) -> Block:
        return self._ground.block

    @property
    def way_out(self) -> bool:
        """Instances reach more than the host."""
        return self._ground.way_out

    @property
    def notes(self) -> list[str]:
        """What networks lack on this machine, and what was changed for them."""
        return self._ground.notes

    async def take(self) -> Network:
        """Return a fresh network. Raises SandboxFailed."""
        self._taken.set()
        return self._ready.popleft() if self._ready else await self._make()

    def give_back(self, network: Network) -> None:
        # To the end: the kernel takes some time to remove the link of the same name.
        self._free.append(IPv4Address(network.address))

    async def open_socket(self, namespace: int) -> socket.socket:
        """Return an unconnected socket of a namespace. Raises OSError."""
        return await _outcome(
            self._connector.submit(open_socket, namespace, self._home), socket.socket.close
        )

    async def keep_spares(self) -> None:
        """Have networks made before they are needed, until cancelled."""
        try:
            while True:
                with suppress(SandboxFailed):  # whoever needs one will be told
                    while len(self._ready) < self._spares:
                        self._ready.append(await self._make())
                self._taken.clear()
                await self._taken.wait()
                # Not at once: whoever took the last one has better use for the processors.
                await asyncio.sleep(SPARE_AFTER_S)
        finally:
            while self._ready:
                self._ready.pop().close()

    async def _make(self) -> Network:
        if not self._free:
            raise SandboxFailed(f"all addresses of {self.block.network} are in use")
        address = self._free.popleft()
        try:
            with translated():
                fd = await _outcome(self._maker.submit(self._ground.make, address), os.close)
        except BaseException:
            self._free.append(address)
            raise
        return Network(fd, str(address), self.block.gateway, self)


async def _outcome(work: "Future[T]", undo: Callable[[T], None]) -> T:
    """Return what a thread makes; if nobody waits for that any more, it is undone."""
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        work.add_done_callback(lambda done: _undo(done, undo))
        raise


def _undo(done: "Future[T]", undo: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        undo(done.result())


def prepare() -> None:
    """Import in advance what takes a fifth of a second; that it is missing is told when needed."""
    with suppress(ImportError):
        import_module("pyroute2")


@asynccontextmanager
async def open_networks(
    level: Level, *, network_range: IPv4Network, spares: int
) -> AsyncIterator[tuple[Networks | None, list[str]]]:
    """Yield what makes networks for instances, and what to know about them on this machine.

    None, and the reason, where they cannot be made: instances are then in the host's network.
    """
    if level is not Level.JAIL:
        yield None, [f"level {level.value} cannot make network namespaces"]
        return
    async with AsyncExitStack() as stack:
        try:
            networks = await stack.enter_async_context(_open_trusted(network_range, spares))
        except (SandboxFailed, ImportError) as error:
            yield None, [str(error)]
        else:
            yield networks, networks.notes


@asynccontextmanager
async def _open_trusted(whole: IPv4Network, spares: int) -> AsyncIterator[Networks]:
    """Raises SandboxFailed, ImportError: what cannot be done is known before it is needed."""
    async with AsyncExitStack() as stack:
        maker = stack.enter_context(ThreadPoolExecutor(1, "networks"))
        connector = stack.enter_context(ThreadPoolExecutor(1, "connections"))
        with translated():
            home = open_home()
            stack.callback(os.close, home)
            ground = await stack.enter_async_context(_in_thread(maker, open_ground(whole)))
        networks = Networks(ground, spares, maker, connector, home)
        (await networks.take()).close()
        group = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(group.create_task(networks.keep_spares(), name="networks").cancel)
        yield networks


@asynccontextmanager
async def _in_thread(
    thread: ThreadPoolExecutor, opened: AbstractContextManager[T]
) -> AsyncIterator[T]:
    """Enter and leave a context in a thread, always in the same one."""
    stack = ExitStack()
    try:
        yield await asyncio.wrap_future(thread.submit(stack.enter_context, opened))
    finally:
        await finish(_call(thread, stack.close))


async def _call(thread: ThreadPoolExecutor, work: Callable[[], None]) -> None:
    await asyncio.wrap_future(thread.submit(work))
