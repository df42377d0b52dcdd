"""Settings: one frozen struct, read once, seen only by the server and the command line."""

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

KIB = 1024
MIB = 1024 * KIB

ISOLATION = ("auto", "jail", "userns", "none")
LOG_LEVELS = ("debug", "info", "warning", "error")
FEWEST_ADDRESSES = 8
LARGEST_UID = 2**32 - 2  # the last one means "no change"
NOT_ZERO = (
    "max_instances", "max_instances_per_function", "parallel_starts", "max_connections",
    "start_s", "server_start_s", "header_s", "body_stall_s",
)  # fmt: skip
REGION = re.compile(r"[a-z0-9-]{1,63}")  # a label of host names, which are in small letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a server is told. Each setting is read from `ANYFC_` + its name in capitals."""

    data_dir: Path = Path("anyfc-data")
    host: str = "127.0.0.1"
    port: int = 9000
    tls_port: int = 9443
    isolation: str = "auto"
    log_level: str = "warning"
    access_key_id: str = ""
    access_key_secret: str = field(default="", repr=False)
    store_key: str = field(default="", repr=False)
    account_id: str = "123456789012345"
    region: str = "cn-hangzhou"

    # Instances
    max_instances: int = 300
    max_instances_per_function: int = 300
    max_waiting: int = 1000
    wait_s: float = 3.0
    start_s: float = 30.0
    server_start_s: float = 120.0
    parallel_starts: int = 4
    spare_processes: int = 1
    idle_s: float = 300.0
    freeze_after_s: float = 0.02
    instance_age_s: float = 12 * 3600.0
    function_uid: int = 64321
    network_range: str = "10.231.0.0/16"
    spare_networks: int = 2

    # Requests
    header_s: float = 10.0
    body_stall_s: float = 30.0
    keep_alive_s: float = 75.0
    drain_s: float = 30.0
    max_connections: int = 4096
    sync_body_bytes: int = 32 * MIB
    async_body_bytes: int = 128 * KIB
    code_body_bytes: int = 140 * MIB

    strict_domains: bool = False

    # Code and logs
    unpacked_code_bytes: int = 2048 * MIB
    log_bytes: int = 32 * MIB


READERS: Mapping[type, Callable[[str], Any]] = {
    bool: lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
}


CALLED: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}


class SettingError(ValueError):
    """A setting cannot be understood; the message names it."""


def read_config(environ: Mapping[str, str] = os.environ, **given: Any) -> Config:
    """Build the settings: what was `given` (and is not None) wins over `ANYFC_…` variables.

    Raises SettingError.
    """
    values: dict[str, Any] = {}
    types = get_type_hints(Config)
    for setting in fields(Config):
        variable = f"ANYFC_{setting.name.upper()}"
        text = environ.get(variable)
        if text:
            kind = types[setting.name]
            try:
                values[setting.name] = READERS.get(kind, kind)(text)
            except (ValueError, KeyError):
                raise SettingError(f"{variable}: '{text}' is not {CALLED[kind]}") from None
    values.update({name: value for name, value in given.items() if value is not None})
    config = Config(**values)
    problem = find_problem(config)
    if problem:
        raise SettingError(problem)
    return config


def find_problem(config: Config) -> str:
    """Say what is wrong with settings whose types are right, or return an empty text."""
    if config.isolation not in ISOLATION:
        return f"isolation: '{config.isolation}' is not one of {', '.join(ISOLATION)}"
    if config.log_level not in LOG_LEVELS:
        return f"log_level: '{config.log_level}' is not one of {', '.join(LOG_LEVELS)}"
    for name in ("port", "tls_port"):
        if not 0 <= getattr(config, name) <= 65535:
            return f"{name}: {getattr(config, name)} is not between 0 and 65535"
    if config.port and config.port == config.tls_port:
        return f"tls_port: {config.tls_port} is the port for HTTP; set ANYFC_TLS_PORT to another"
    if not REGION.fullmatch(config.region):
        return f"region: '{config.region}' does not consist of letters a-z, digits and -"
    try:
        addresses = ipaddress.IPv4Network(config.network_range).num_addresses
    except ValueError as error:
        return f"network_range: {error}"
    if addresses < FEWEST_ADDRESSES:
        return f"network_range: {config.network_range} has fewer than {FEWEST_ADDRESSES} addresses"
    if bool(config.access_key_id) != bool(config.access_key_secret):
        return "access_key_id and access_key_secret belong together; only one of them is set"
    if not 1 <= config.function_uid <= LARGEST_UID:
        return f"function_uid: {config.function_uid} is not between 1 and {LARGEST_UID}"
    for setting in fields(Config):
        value = getattr(config, setting.name)
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            return f"{setting.name}: {value} is negative, or no number that can be counted to"
    for name in NOT_ZERO:
        if not getattr(config, name):
            return f"{name}: nothing could be done with 0"
    return ""
