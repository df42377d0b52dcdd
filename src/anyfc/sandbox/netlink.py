"""Network namespaces and the links into them.

A namespace belongs to a thread, so what is done in one is done by a thread that enters it and goes
back before it does anything else. Nothing here waits for more than the kernel's own work.
"""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from anyfc.sandbox.block import Block

CLONE_NEWNET = 0x40000000
OWN = "/proc/thread-self/ns/net"
INSIDE = "eth0"
LOOPBACK = 1  # its number in every namespace
PREFIX = "anyfc"

# What a new namespace is told: functions may listen on every port and use ping, as root may. There
# is no IPv6 but on loopback, which was made before.
SYSCTLS = {
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/ping_group_range": "0 2147483647",
    "ipv6/conf/default/disable_ipv6": "1",
}

libc = ctypes.CDLL(None, use_errno=True)


def open_home() -> int:
    """Return a descriptor of the namespace that the calling thread is in."""
    return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)


def open_socket(namespace: int, home: int) -> socket.socket:
    """Return a non-blocking TCP socket of another namespace, where it stays. Raises OSError."""
    with _inside(namespace, home):
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


class Links:
    """Links, addresses and routes of the host. For the thread that made it; raises OSError."""

    def __init__(self) -> None:
        # Loaded when needed: it takes 0.1 s and 6 MiB, and is for Linux alone.
        import pyroute2  # type: ignore[import-untyped]  # it says nothing of its types

        self._pyroute2 = pyroute2
        self._home = open_home()
        self._route = pyroute2.IPRoute()

    def close(self) -> None:
        self._route.close()
        os.close(self._home)

    def find_routed(self) -> list[IPv4Network]:
        """Return what the host has routes to, but for the default and those to our links."""
        with self._translated():
            routes = list(self._route.get_routes(family=socket.AF_INET))
        return [
            IPv4Network((destination, route["dst_len"]))
            for route in routes
            if (destination := route.get_attr("RTA_DST"))
            and not _name_of(route.get_attr("RTA_OIF")).startswith(PREFIX)
        ]

    def find_mtu(self) -> int | None:
        """Return the MTU of the host's way out; None if it has no default route."""
        with self._translated():
            for route in self._route.get_default_routes(family=socket.AF_INET):
                name = _name_of(route.get_attr("RTA_OIF"))
                if name:
                    return int(Path(f"/sys/class/net/{name}/mtu").read_text())
        return None

    def make(self, block: Block, address: IPv4Address, mtu: int | None, way_out: bool) -> int:
        """Return a descriptor of a new namespace with one link to the host.

        Nothing else keeps the namespace: with its last descriptor and process, the kernel removes
        it and both ends of the link.
        """
        size = {"mtu": mtu} if mtu else {}
        name = f"{PREFIX}{int(address):08x}"
        with ExitStack() as undo, self._translated():
            namespace = self._make_namespace()
            undo.callback(os.close, namespace)
            self._route.link(
                "add", kind="veth", ifname=name, group=block.group, state="up", **size,
                peer={"ifname": INSIDE, "net_ns_fd": namespace, **size},
            )  # fmt: skip
            self._route.addr(
                "add", index=socket.if_nametoindex(name), local=block.gateway, prefixlen=32,
                address=str(address),
            )  # fmt: skip
            with _inside(namespace, self._home), self._pyroute2.IPRoute() as route:
                self._set_up_inside(route, block, address, way_out)
            undo.pop_all()
        return namespace

    def _make_namespace(self) -> int:
        if libc.unshare(CLONE_NEWNET):
            _fail("unshare")
        try:
            for path, value in SYSCTLS.items():
                file = Path("/proc/sys/net", path)
                if file.exists():  # a kernel may be without IPv6
                    file.write_text(value)
            return open_home()
        finally:
            _enter(self._home)

    def _set_up_inside(self, route: Any, block: Block, address: IPv4Address, way_out: bool) -> None:
        route.link("set", index=LOOPBACK, state="up")
        end = socket.if_nametoindex(INSIDE)
        route.addr("add", index=end, local=str(address), prefixlen=32, address=block.gateway)
        route.link("set", index=end, state="up")
        # Without rules that keep instances apart, none has a route to more than the host.
        if way_out:
            route.route("add", dst="default", gateway=block.gateway)

    def clear(self, block: Block) -> None:
        """Remove all links of a block, whoever made them."""
        with self._translated():
            try:
                self._route.link("del", group=block.group)
            except self._pyroute2.NetlinkError as error:
                if error.code != 19:  # ENODEV: there is none
                    raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._pyroute2.NetlinkError as error:
            raise OSError(error.code, f"netlink: {os.strerror(error.code)}") from error


@contextmanager
def _inside(namespace: int, home: int) -> Iterator[None]:
    """The calling thread, and no other, is in a namespace meanwhile."""
    _enter(namespace)
    try:
        yield
    finally:
        _enter(home)


def _enter(namespace: int) -> None:
    if libc.setns(namespace, CLONE_NEWNET):
        _fail("setns")


def _fail(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


def _name_of(index: int | None) -> str:
    """Return the name of a link, empty if there is none (any more)."""
    try:
        return socket.if_indextoname(index) if index else ""
    except OSError:
        return ""
