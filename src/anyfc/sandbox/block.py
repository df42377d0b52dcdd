"""Blocks of addresses: each server of a machine has one, which no other takes meanwhile."""

import errno
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

PREFIX = 22  # a thousand instances; 64 such blocks are in the usual range
LOCK = "\0anyfc-network-"  # in the abstract namespace: free again when its owner is gone


@dataclass(frozen=True, slots=True)
class Block:
    """The addresses that one server gives to its instances, out of the range that all share."""

    network: IPv4Network
    whole: IPv4Network

    @property
    def gateway(self) -> str:
        """The host's address, the same for every instance: each has a link of its own to it."""
        return str(self.network[1])

    @property
    def group(self) -> int:
        """The number that marks the links of the block."""
        return int(self.network.network_address)

    def addresses(self) -> Iterator[IPv4Address]:
        return (self.network[n] for n in range(2, self.network.num_addresses - 1))

    def lock(self) -> socket.socket | None:
        """Return what keeps others away until it is closed; None if another server has it."""
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"{LOCK}{self.network}")
        except OSError as error:
            lock.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return None
        return lock


def divide(whole: IPv4Network) -> Iterator[Block]:
    """Yield the blocks of a range; a small range is one block."""
    for network in whole.subnets(new_prefix=max(PREFIX, whole.prefixlen)):
        yield Block(network, whole)


def unrouted(whole: IPv4Network, routed: Iterable[IPv4Network]) -> Iterator[Block]:
    """Yield the blocks that the host has no use for yet.

    A route to more than the whole range is no such use: it is the way to a large network, of which
    a block is a part that will not be missed.
    """
    used = [network for network in routed if network.prefixlen >= whole.prefixlen]
    for block in divide(whole):
        if not any(block.network.overlaps(network) for network in used):
            yield block


def take_block(
    whole: IPv4Network, routed: Iterable[IPv4Network]
) -> tuple[Block, socket.socket] | None:
    """Return the first block that is free, and its lock; None if there is none."""
    for block in unrouted(whole, routed):
        lock = block.lock()
        if lock is not None:
            return block, lock
    return None
