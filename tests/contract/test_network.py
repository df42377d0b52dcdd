"""What networks of instances promise, with real namespaces, links and firewall rules.

Run as a program, this file is a server with one instance in a network of its own, until it is
killed.
"""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from boxes import open_boxes, wait_for
from support import wait_until

from anyfc.sandbox import firewall
from anyfc.sandbox.block import Block
from anyfc.sandbox.box import Level
from anyfc.sandbox.failure import SandboxFailed
from anyfc.sandbox.netlink import Links, _inside, open_home
from anyfc.sandbox.network import open_networks

WHOLE = IPv4Network("10.231.0.0/16")
SMALL = IPv4Network("10.230.255.240/28")
NOTHING_WITHIN_S = 0.5

open_here = partial(open_networks, Level.JAIL, network_range=WHOLE, spares=0)

# A server that answers each connection with its name, and goes on when the event has been handled.
SERVER = """
import socket, sys, threading
listener = socket.create_server(({host!r}, {port}))
def serve():
    while True:
        connection, _ = listener.accept()
        connection.sendall({name!r})
        connection.close()
threading.Thread(target=serve, daemon=True).start()
answer = ""
"""

FETCH = """
import socket
try:
    with socket.create_connection(({host!r}, {port}), timeout={within_s}) as connection:
        answer = connection.recv(100)
except OSError as error:
    answer = type(error).__name__
"""

DESCRIBE = """
import errno, fcntl, socket, struct
answer = []
def attempt(what):
    try:
        what()
        answer.append("allowed")
    except OSError as error:
        answer.append(errno.errorcode[error.errno])
def set_address():
    request = struct.pack("16sH2x4s8x", b"eth0", socket.AF_INET, socket.inet_aton("10.231.9.9"))
    fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8916, request)
def add_link():
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    netlink.send(struct.pack("IHHII", 32, 16, 0x605, 1, 0) + bytes(16))
    number = -struct.unpack("i", netlink.recv(4096)[16:20])[0]
    if number:
        raise OSError(number, "")
def send_raw():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
def ping():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
def close_ports():
    open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w").close()
for what in (set_address, add_link, send_raw, close_ports, ping):
    attempt(what)
answer = " ".join(answer)
"""


@pytest.fixture(autouse=True)
def root():
    if os.geteuid():
        pytest.skip("network namespaces of instances: only root can make them")


def links_of(block):
    """The host's ends of a block's links."""
    names = os.listdir("/sys/class/net")
    found = set()
    for name in names:
        with suppress(OSError):  # it has just gone
            if int(Path(f"/sys/class/net/{name}/netdev_group").read_text()) == block.group:
                found.add(name)
    return found


def tables():
    with suppress(firewall.FirewallFailed):
        return {item["table"]["name"] for item in firewall._list("tables") if "table" in item}
    return set()


def is_locked(block):
    return f"@anyfc-network-{block.network}\n" in Path("/proc/net/unix").read_text()


def our_threads():
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("networks", "connections"))]


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def watched(**settings):
    """Networks with all that they need, and nothing of them afterwards."""
    asyncio.get_running_loop().run_in_executor(None, int)  # its threads count as ours
    before, others = open_descriptors(), our_threads()
    async with open_here(**settings) as (networks, notes):
        if networks is None or not networks.way_out:
            pytest.skip(f"networks: {notes}")
        yield networks
    assert open_descriptors() == before
    assert our_threads() == others
    assert not links_of(networks.block)
    assert firewall.table_of(networks.block) not in tables()
    assert not is_locked(networks.block)


@asynccontextmanager
async def taken(networks):
    network = await networks.take()
    try:
        yield network
    finally:
        network.close()


@asynccontextmanager
async def instance(boxes, networks):
    """A process that has said hello, in a network of its own."""
    async with taken(networks) as network, boxes.start(network) as started:
        started.network = network
        yield started


async def listen(started, port, name=b"", host=""):
    await started.do(SERVER.format(host=host, port=port, name=name))


async def fetch(started, host, port, within_s=5.0):
    return (await started.do(FETCH.format(host=host, port=port, within_s=within_s))).decode()


async def read(network, port):
    connection = await network.connect(port)
    with connection:
        return await asyncio.get_running_loop().sock_recv(connection, 100)


# --- the world outside -------------------------------------------------------------------------


@dataclass
class World:
    """Another machine: a namespace with a link to the host, which routes to it."""

    address: str
    seen: list[str]  # who connected

    def connect_back(self, address, port):
        """Connect from there, as another machine could that knows the host."""
        return in_thread(self._connect, address, port)

    def _connect(self, address, port):
        with self._inside(), socket.create_connection((address, port), NOTHING_WITHIN_S):
            pass


def in_thread(work, *arguments):
    return asyncio.get_running_loop().run_in_executor(None, work, *arguments)


@contextmanager
def open_world(*addresses: str) -> Iterator[World]:
    """A server that has these addresses too, at port 80."""
    pyroute2 = pytest.importorskip("pyroute2")
    host, there, name = "198.51.100.1", "198.51.100.2", f"world{os.getpid()}"
    with ExitStack() as undo:
        home = open_home()
        undo.callback(os.close, home)
        links = Links()
        undo.callback(links.close)
        namespace = links._make_namespace()
        undo.callback(os.close, namespace)
        route = undo.enter_context(pyroute2.IPRoute())
        peer = {"ifname": "eth0", "net_ns_fd": namespace}
        route.link("add", kind="veth", ifname=name, state="up", peer=peer)
        index = socket.if_nametoindex(name)
        undo.callback(route.link, "del", index=index)
        route.addr("add", index=index, address=host, prefixlen=24)
        for address in addresses:
            route.route("add", dst=f"{address}/32", gateway=there)
        with _inside(namespace, home), pyroute2.IPRoute() as inner:
            end = socket.if_nametoindex("eth0")
            inner.link("set", index=1, state="up")
            inner.link("set", index=end, state="up")
            inner.addr("add", index=end, address=there, prefixlen=24)
            inner.route("add", dst="default", gateway=host)
            for address in addresses:
                inner.addr("add", index=1, address=address, prefixlen=32)
            listener = undo.enter_context(socket.create_server(("", 80)))
        world = World(there, [])
        world._inside = partial(_inside, namespace, home)
        undo.enter_context(serving(listener, world.seen))
        yield world


@contextmanager
def serving(listener, seen):
    """Answer each connection with `world` and note who made it."""

    def serve():
        while True:
            try:
                connection, (address, _) = listener.accept()
            except OSError:
                return  # shut down
            seen.append(address)
            with connection:
                connection.sendall(b"world")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RD)
        thread.join()


# --- the way in --------------------------------------------------------------------------------


def test_instances_that_listen_on_the_same_port_are_told_apart():
    async def main():
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as one,
            instance(boxes, networks) as other,
        ):
            await listen(one, 9000, b"one")
            await listen(other, 9000, b"other")
            for _ in range(3):
                assert await read(one.network, 9000) == b"one"
                assert await read(other.network, 9000) == b"other"

    asyncio.run(main())


def test_a_server_on_loopback_only_is_not_reached():
    async def main():
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as started,
        ):
            await listen(started, 9000, host="127.0.0.1")
            with pytest.raises(ConnectionRefusedError):
                await started.network.connect(9000)
            with pytest.raises(ConnectionRefusedError):
                await started.network.connect(9001)  # nobody at all

    asyncio.run(main())


def test_any_port_may_be_listened_on():
    async def main():
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as started,
        ):
            await listen(started, 80, b"low")
            assert await read(started.network, 80) == b"low"

    asyncio.run(main())


def test_connections_are_made_while_networks_are_made():
    async def main():
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as started,
        ):
            await listen(started, 9000, b"well")
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(networks.take()) for _ in range(30)]
                answers = [group.create_task(read(started.network, 9000)) for _ in range(30)]
            assert {answer.result() for answer in answers} == {b"well"}
            assert len({other.result().address for other in others}) == 30
            for other in others:
                other.result().close()

    asyncio.run(main())


def test_a_process_without_a_network_is_in_that_of_the_host():
    async def main():
        async with watched() as networks, open_boxes(Level.JAIL) as boxes, boxes.start() as started:
            answer = await started.do("import os; answer = os.readlink('/proc/self/ns/net')")
            assert answer.decode() == os.readlink("/proc/self/ns/net")
            assert networks is not None

    asyncio.run(main())


# --- the way out -------------------------------------------------------------------------------


def test_the_host_is_reached_by_name():
    async def main():
        with socket.create_server(("", 0)) as listener, serving(listener, seen := []):
            async with (
                watched() as networks,
                open_boxes(Level.JAIL) as boxes,
                instance(boxes, networks) as started,
            ):
                port = listener.getsockname()[1]
                assert await fetch(started, "host.anyfc.internal", port) == "world"
                assert seen == [started.network.address]
                # It knows itself by name, too.
                own = "import socket; answer = socket.gethostbyname(socket.gethostname())"
                assert (await started.do(own)).decode() == started.network.address

    asyncio.run(main())


def test_other_machines_are_reached_and_see_the_host():
    async def main(world):
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as started,
        ):
            assert await fetch(started, world.address, 80) == "world"
            assert world.seen == ["198.51.100.1"]

    with open_world() as world:
        asyncio.run(main(world))


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200"])
def test_what_a_cloud_tells_the_host_is_not_told_to_instances(address):
    async def main(world):
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as started,
        ):
            await in_thread(lambda: socket.create_connection((address, 80), 5).close())
            await wait_for(lambda: len(world.seen) == 1)
            assert await fetch(started, address, 80, NOTHING_WITHIN_S) == "TimeoutError"
            assert len(world.seen) == 1

    with open_world(address) as world:
        asyncio.run(main(world))


def test_instances_do_not_reach_each_other_nor_those_of_another_server():
    async def main():
        async with (
            watched() as networks,
            open_here() as (others, _),
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as one,
            instance(boxes, networks) as sibling,
            instance(boxes, others) as stranger,
        ):
            for other in (sibling, stranger):
                await listen(other, 9000, b"there")
                assert await read(other.network, 9000) == b"there"
                answer = await fetch(one, other.network.address, 9000, NOTHING_WITHIN_S)
                assert answer == "TimeoutError"

    asyncio.run(main())


def test_other_machines_do_not_reach_instances():
    async def main(world):
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as started,
        ):
            await listen(started, 9000, b"there")
            with pytest.raises(TimeoutError):
                await world.connect_back(started.network.address, 9000)
            assert await fetch(started, world.address, 80) == "world"

    with open_world() as world:
        asyncio.run(main(world))


def test_a_function_has_no_rights_over_its_network():
    async def main():
        async with (
            watched() as networks,
            open_boxes(Level.JAIL) as boxes,
            instance(boxes, networks) as started,
        ):
            address, link, raw, ports, ping = (await started.do(DESCRIBE)).decode().split()
            assert {address, link, raw} == {"EPERM"}
            assert ports == "EACCES"
            assert ping == "allowed"

    asyncio.run(main())


# --- making and ending -------------------------------------------------------------------------


def test_servers_on_one_machine_have_different_blocks():
    async def main():
        async with watched() as one, open_here() as (other, _):
            assert not one.block.network.overlaps(other.block.network)
            async with taken(one) as first, taken(other) as second:
                assert first.gateway != second.gateway
                assert first.address != second.address

    asyncio.run(main())


def test_spare_networks_are_taken_and_replaced():
    async def main():
        async with watched(spares=2) as networks:
            await wait_for(lambda: len(networks._ready) == 2)
            ahead = networks._ready[0]
            async with taken(networks) as network:
                assert network is ahead
                await wait_for(lambda: len(networks._ready) == 2)

    asyncio.run(main())


def test_a_closed_network_takes_its_link_with_it():
    async def main():
        async with watched() as networks:
            async with taken(networks):
                await wait_for(lambda: len(links_of(networks.block)) == 1)
            await wait_for(lambda: not links_of(networks.block))

    asyncio.run(main())


def test_addresses_run_out_and_come_back():
    async def main():
        async with watched(network_range=SMALL) as networks:
            all_taken = [await networks.take() for _ in range(13)]
            with pytest.raises(SandboxFailed, match="in use"):
                await networks.take()
            all_taken.pop().close()
            await wait_for(lambda: len(links_of(networks.block)) == 12)
            (await networks.take()).close()
            for network in all_taken:
                network.close()

    asyncio.run(main())


def test_a_caller_who_gives_up_at_any_moment_leaves_nothing_behind():
    async def use(networks):
        async with taken(networks) as network:
            with suppress(ConnectionRefusedError):
                await network.connect(9000)

    async def main():
        async with watched() as networks:
            ours = open_descriptors()
            for turns in range(20):
                task = asyncio.create_task(use(networks))
                for _ in range(turns):
                    await asyncio.sleep(0 if turns < 10 else 0.001)
                task.cancel()
                await asyncio.wait([task])
                await wait_for(lambda: open_descriptors() == ours)
            assert len(networks._free) == 1021

    asyncio.run(main())


@pytest.mark.parametrize("step", ["link", "addr", "inside"])
def test_a_network_that_cannot_be_made_leaves_nothing_behind(step, monkeypatch):
    pyroute2 = pytest.importorskip("pyroute2")

    class Refusing:
        def __init__(self, route):
            self.route = route

        def __getattr__(self, name):
            return refuse if name == step else getattr(self.route, name)

    def refuse(*arguments, **settings):
        raise pyroute2.NetlinkError(1)

    async def main():
        async with watched() as networks:
            ours, links = open_descriptors(), networks._ground.links
            with monkeypatch.context() as patch:
                patch.setattr(links, "_route", Refusing(links._route))
                if step == "inside":
                    patch.setattr(links, "_set_up_inside", refuse)
                with pytest.raises(SandboxFailed, match="netlink: Operation not permitted"):
                    await networks.take()
            assert open_descriptors() == ours
            await wait_for(lambda: not links_of(networks.block))
            (await networks.take()).close()

    asyncio.run(main())


def test_a_server_that_is_killed_leaves_no_link_and_its_table_is_removed_by_the_next():
    async def main():
        async with watched():  # so that the next server has another block than the one killed
            block = await in_thread(kill_a_server)
        assert firewall.table_of(block) in tables()
        async with watched() as networks:
            assert networks.block != block
            assert firewall.table_of(block) not in tables()

    asyncio.run(main())


def kill_a_server():
    """Have a server with two networks, kill it, and return its block when its links are gone."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        word, _, network = server.stdout.readline().strip().partition(" ")
        assert word == "block", f"{word} {network}"
        block = Block(IPv4Network(network), WHOLE)
        assert len(links_of(block)) >= 2
        server.kill()
    wait_until(lambda: not links_of(block))
    assert not is_locked(block)
    return block


# --- what may be missing -----------------------------------------------------------------------


def test_levels_without_the_right_to_make_namespaces_have_no_networks():
    async def main():
        for level in (Level.USERNS, Level.NONE):
            async with open_networks(level, network_range=WHOLE, spares=2) as (networks, notes):
                assert networks is None
                assert notes == [f"level {level.value} cannot make network namespaces"]

    asyncio.run(main())


def test_without_the_program_nft_there_is_a_way_in_and_to_the_host_but_none_out(monkeypatch):
    monkeypatch.setattr(firewall.shutil, "which", lambda *arguments, **settings: None)

    async def main(world):
        with socket.create_server(("", 0)) as listener:
            async with open_here() as (networks, notes), open_boxes(Level.JAIL) as boxes:
                assert notes == ["instances have no way out: the program nft is not installed"]
                async with instance(boxes, networks) as one, instance(boxes, networks) as other:
                    await listen(one, 9000, b"in")
                    assert await read(one.network, 9000) == b"in"
                    for address in (world.address, one.network.address):
                        assert await fetch(other, address, 9000) == "OSError"  # unreachable
                    with serving(listener, []):
                        port = listener.getsockname()[1]
                        assert await fetch(other, "host.anyfc.internal", port) == "world"
            assert not links_of(networks.block)

    with open_world() as world:
        asyncio.run(main(world))


def test_a_firewall_that_refuses_is_noted_and_not_the_end(monkeypatch):
    def refuse(block):
        raise firewall.FirewallFailed("nft: Operation not supported")

    monkeypatch.setattr(firewall, "set_up", refuse)

    async def main():
        async with open_here() as (networks, notes):
            assert notes == ["instances have no way out: nft: Operation not supported"]
            (await networks.take()).close()

    asyncio.run(main())


def test_without_a_free_block_there_are_no_networks():
    async def main():
        async with (
            watched(network_range=SMALL),
            open_here(network_range=SMALL) as (networks, notes),
        ):
            assert networks is None
            assert notes == ["no block of 10.230.255.240/28 is free"]

    asyncio.run(main())


def test_a_block_that_the_host_has_a_route_to_is_passed_over():
    async def main():
        async with open_here(network_range=SMALL) as (networks, notes):
            assert networks is None
            assert notes == [f"no block of {SMALL} is free"]

    pyroute2 = pytest.importorskip("pyroute2")
    with pyroute2.IPRoute() as route:
        route.route("add", dst=str(SMALL), oif=1)
        try:
            asyncio.run(main())
        finally:
            route.route("del", dst=str(SMALL), oif=1)


async def serve():
    async with open_here(spares=1) as (networks, notes), open_boxes(Level.JAIL) as boxes:
        if networks is None or not networks.way_out:
            sys.stdout.write(f"{notes}\n")
            return
        async with instance(boxes, networks):
            await wait_for(lambda: len(networks._ready) == 1)
            sys.stdout.write(f"block {networks.block.network}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
