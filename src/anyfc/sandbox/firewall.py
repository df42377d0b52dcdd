"""What may pass between instances, the host and the world: one nftables table for each server."""

import json
import logging
import shutil
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from anyfc.sandbox.block import Block, divide

log = logging.getLogger("anyfc")

PREFIX = "anyfc_"
LINKS = "anyfc*"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
USUAL_FOLDERS = "/usr/sbin:/sbin"  # not on every search path
WITHIN_S = 10.0

# Where clouds tell a machine its credentials: link-local, and Alibaba Cloud's own address.
METADATA = "169.254.0.0/16, 100.100.100.200"


class FirewallFailed(Exception):
    """The rules cannot be made on this machine; the message says why."""


def table_of(block: Block) -> str:
    return f"{PREFIX}{block.network}"


def rules(block: Block) -> str:
    """Return the script that makes the table of a block.

    Drops are for all links of ours, also those of other servers. `forward` sees what passes
    through the host, never what is for the host itself. A table that is there already is replaced.
    """
    table = table_of(block)
    return f"""\
table ip {table}
delete table ip {table}
table ip {table} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{LINKS}" ip daddr {block.whole} drop
        iifname "{LINKS}" ip daddr {{ {METADATA} }} drop
        ip daddr {block.network} ct state != {{ established, related }} drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {block.network} oifname != "{LINKS}" masquerade
    }}
}}
"""


def set_up(block: Block) -> None:
    """Let what leaves a block out, as if the host had sent it. Raises FirewallFailed."""
    _nft("-f", "-", script=rules(block))


def switch_on_forwarding() -> bool:
    """Return whether the host did not forward before; it is never switched off again.

    Others may rely on it by then. Raises FirewallFailed.
    """
    try:
        if FORWARDING.read_text().strip() != "0":
            return False
        FORWARDING.write_text("1")
    except OSError as error:
        raise FirewallFailed(f"IP forwarding cannot be switched on: {error}") from error
    log.info("IP forwarding switched on", extra={"file": str(FORWARDING)})
    return True


def take_down(block: Block) -> None:
    """Raises FirewallFailed."""
    _nft("delete", "table", "ip", table_of(block))


def sweep(whole: IPv4Network) -> None:
    """Remove the tables of servers that were killed. Raises FirewallFailed."""
    for block in find_swept(_list("tables"), whole):
        lock = block.lock()
        if lock is not None:
            with lock:
                take_down(block)


def find_swept(listed: Iterable[dict[str, Any]], whole: IPv4Network) -> list[Block]:
    """Return the blocks of a range that have a table, out of what nft lists."""
    names = {item["table"]["name"] for item in listed if "table" in item}
    return [block for block in divide(whole) if table_of(block) in names]


def find_barriers() -> list[str]:
    """Say which other rules may stand in the way. Raises FirewallFailed."""
    return barriers(_list("chains"))


def barriers(listed: Iterable[dict[str, Any]]) -> list[str]:
    """Say what chains that drop by default keep from instances, out of what nft lists."""
    kept = {
        "forward": "instances may have no way out",
        "input": "instances may not reach the host",
    }
    chains = [item["chain"] for item in listed if "chain" in item]
    return [
        f"{kept[chain['hook']]}: chain {chain['name']} of the firewall's table {chain['table']} "
        "drops what it is not told to accept"
        for chain in chains
        if chain.get("policy") == "drop"
        and chain.get("hook") in kept
        and chain["family"] in ("ip", "inet")
    ]


def _list(what: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(_nft("--json", "list", what))["nftables"]
    return listed


def _nft(*arguments: str, script: str = "") -> str:
    program = shutil.which("nft") or shutil.which("nft", path=USUAL_FOLDERS)
    if program is None:
        raise FirewallFailed("the program nft is not installed")
    try:
        done = subprocess.run(
            [program, *arguments], input=script, capture_output=True, text=True, timeout=WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirewallFailed(str(error)) from error
    if done.returncode:
        raise FirewallFailed(f"nft: {done.stderr.strip().partition(chr(10))[0]}")
    return done.stdout
