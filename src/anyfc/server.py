"""Builds everything: opens the parts in order, closes them in reverse.

One module because this order, and what each part is given, should be read in one piece.
"""

import asyncio
import hashlib
import ipaddress
import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from random import getrandbits

import uvicorn

from anyfc.api.app import build_app
from anyfc.api.parts import Parts
from anyfc.config import Config
from anyfc.gateway.app import Gateway
from anyfc.gateway.door import Doors
from anyfc.gateway.http import HttpCalls
from anyfc.gateway.invoke import Invoke
from anyfc.gateway.problem import new_request_id
from anyfc.identity.key import Keys, Pair, ensure_pair, open_keys
from anyfc.instance.code import Packages
from anyfc.instance.lifecycle import Instance, open_instance
from anyfc.instance.logs import Logs, open_logs
from anyfc.instance.spec import Specs
from anyfc.model.function import Function
from anyfc.runtime.context import Credentials, Place
from anyfc.runtime.table import PYTHON, explain, pick
from anyfc.sandbox.box import Level
from anyfc.sandbox.cgroup import Cgroups, find_cgroups
from anyfc.sandbox.choice import candidates, gives_up_rights_early, open_strongest
from anyfc.sandbox.interpreter import Interpreter, default_search, find_interpreters
from anyfc.sandbox.network import Networks, open_networks
from anyfc.sandbox.process import Sandbox
from anyfc.sandbox.zygote import SandboxFailed
from anyfc.scheduler.lease import Policy, Scheduler, open_scheduler
from anyfc.store.blobs import Blobs
from anyfc.store.catalog import Catalog
from anyfc.store.database import open_database
from anyfc.store.domains import Domains
from anyfc.store.functions import Functions
from anyfc.store.lock import lock_data_dir
from anyfc.store.routes import Routes
from anyfc.store.services import Services
from anyfc.store.triggers import Triggers
from anyfc.web.https import Https
from anyfc.web.server import Patience
from anyfc.web.server import open_server as open_http
from anyfc.web.tls import Certificates
from anyfc.web.upstream import Upstream, over_unix_socket

log = logging.getLogger("anyfc")

SERVER_FILE = "server.json"
SWEEP_S = 600.0
USUAL_RUNTIME = "python3.12"
# The path of a UNIX socket is at most 108 bytes long, with the zero at its end.
SOCKET_PATH_BYTES = 100


class RefusedToServe(Exception):
    """The settings ask for something unsafe; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers."""

    endpoint: str
    level: Level
    reasons: list[str]  # why it is not a stronger level
    freezer: bool
    own_networks: bool  # instances of custom runtimes have each their own
    network_notes: list[str]
    interpreters: list[Interpreter]


@asynccontextmanager
async def open_server(config: Config) -> AsyncIterator[Server]:
    """Serve while open. Leaving drains: running requests end, instances stop.

    Raises RefusedToServe, SandboxFailed, StoreUnavailable, PairUnreadable, OSError.
    """
    with lock_data_dir(config.data_dir):
        pair = ensure_pair(config.data_dir)
        _check_exposure(config, pair)
        keys = open_keys(
            pair,
            account_id=config.account_id,
            access_key_id=config.access_key_id,
            access_key_secret=config.access_key_secret,
        )
        data_dir = config.data_dir.resolve()
        _let_instances_pass(data_dir)
        async with (
            open_database(data_dir / "anyfc.db") as database,
            open_logs(data_dir / "logs", limit_bytes=config.log_bytes) as logs,
            _open_sandbox(config, data_dir) as (sandbox, reasons, interpreters),
            open_networks(
                sandbox.level,
                network_range=IPv4Network(config.network_range),
                spares=config.spare_networks,
            ) as (networks, network_notes),
        ):
            catalog, routes = Catalog(), Routes()
            functions = Functions(database, catalog)
            blobs = Blobs(data_dir / "blobs")
            root = os.geteuid() == 0
            packages = Packages(
                blobs,
                data_dir / "code",
                uid=config.function_uid if root else None,
                gid=config.function_uid if root else None,
                limit_bytes=config.unpacked_code_bytes,
            )
            specs = Specs(
                sandbox=sandbox,
                packages=packages,
                interpreters=interpreters,
                place=Place(region=config.region, account_id=config.account_id),
                derive=lambda role: _derive(keys, role, config.account_id),
                modules_folder=data_dir / "modules",
                spool_folder=data_dir / "run",
                new_id=new_instance_id,
                start_s=config.start_s,
                server_start_s=config.server_start_s,
            )
            async with open_scheduler(
                _policy(config),
                _opener(specs, sandbox, networks, logs),
                host_port=_host_port if networks is None else lambda function: None,
                new_request_id=new_request_id,
            ) as scheduler:
                catalog.watch(lambda name: scheduler.follow(name, catalog.find(name)))
                port_taken = [config.port]  # the one that is asked for, then the one that it was
                parts = Parts(
                    catalog=catalog,
                    routes=routes,
                    functions=functions,
                    services=Services(database, catalog),
                    triggers=Triggers(database, routes),
                    domains=Domains(database, routes),
                    packages=packages,
                    logs=logs,
                    code_path=blobs.path,
                    address_key=hashlib.sha256(bytes.fromhex(pair.signing_key)).digest(),
                    address_port=lambda: port_taken[-1],
                    region=config.region,
                    account_id=config.account_id,
                    body_bytes=config.code_body_bytes,
                    announce=lambda function: _announce(function, interpreters),
                    abort=scheduler.abort,
                )
                invoke = Invoke(
                    catalog,
                    scheduler,
                    spool_folder=data_dir / "run",
                    sync_body_bytes=config.sync_body_bytes,
                    async_body_bytes=config.async_body_bytes,
                )
                https = Https(config.tls_port)
                routes.watch_domains(https.follow)
                http_calls = HttpCalls(
                    catalog,
                    scheduler,
                    keys,
                    account_id=config.account_id,
                    spool_folder=data_dir / "run",
                    body_bytes=config.sync_body_bytes,
                    strict=config.strict_domains,
                    https_port=lambda: https.port,
                )
                doors = Doors(routes, region=config.region)
                async with (
                    _open_control(parts, data_dir) as control,
                    _open_chores(sandbox, packages, logs, catalog, scheduler, interpreters),
                    _open_ports(
                        Gateway(invoke, http_calls, doors, control, keys), https, config
                    ) as port,
                ):
                    port_taken.append(port)
                    endpoint = _endpoint(config.host, port)
                    with _server_file(config.data_dir / SERVER_FILE, endpoint):
                        try:
                            yield Server(
                                endpoint=endpoint,
                                level=sandbox.level,
                                reasons=reasons,
                                freezer=sandbox.cgroups is not None,
                                own_networks=networks is not None,
                                network_notes=network_notes,
                                interpreters=interpreters,
                            )
                        finally:
                            # They have no end of their own, and draining would wait for one.
                            logs.dismiss_followers()


@asynccontextmanager
async def _open_ports(gateway: Gateway, https: Https, config: Config) -> AsyncIterator[int]:
    """Serve HTTP, and HTTPS when a custom domain wants it; yield the port of HTTP."""

    def open_port(
        port: int, certificates: Certificates | None = None
    ) -> AbstractAsyncContextManager[int]:
        return open_http(
            gateway,
            host=config.host,
            port=port,
            patience=_patience(config),
            max_connections=config.max_connections,
            certificates=certificates,
        )

    async with (
        open_port(config.port) as port,
        https.served(lambda certificates: open_port(config.tls_port, certificates)),
    ):
        yield port


# --- what the settings mean ---------------------------------------------------------------------


def _check_exposure(config: Config, pair: Pair) -> None:
    if config.access_key_id or pair.shown or is_loopback(config.host):
        return
    raise RefusedToServe(
        f"{config.host} can be reached from other machines, and nobody has seen the key yet that "
        "was made for this server. Run `anyfc env` to see it, or set ANYFC_ACCESS_KEY_ID and "
        "ANYFC_ACCESS_KEY_SECRET; then start again."
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _policy(config: Config) -> Policy:
    return Policy(
        max_instances=config.max_instances,
        max_instances_per_function=config.max_instances_per_function,
        max_waiting=config.max_waiting,
        wait_s=config.wait_s,
        parallel_starts=config.parallel_starts,
        idle_s=config.idle_s,
        freeze_after_s=config.freeze_after_s,
        instance_age_s=config.instance_age_s,
    )


def _patience(config: Config) -> Patience:
    return Patience(
        header_s=config.header_s,
        body_stall_s=config.body_stall_s,
        keep_alive_s=config.keep_alive_s,
        drain_s=config.drain_s,
    )


def _endpoint(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# --- glue between parts that do not know each other ---------------------------------------------


def new_instance_id() -> str:
    """Return an id in the form that the cloud uses."""
    chance = f"{getrandbits(80):020x}"
    return f"c-{int(time.time()):08x}-{chance[:8]}-{chance[8:]}"


def _derive(keys: Keys, role: str, account_id: str) -> Credentials:
    derived = keys.derive(role, account_id, time.time())
    return Credentials(derived.access_key_id, derived.access_key_secret, derived.security_token)


def _announce(function: Function, interpreters: list[Interpreter]) -> None:
    if function.runtime in PYTHON:
        log.info(
            "runtime mapped",
            extra={
                "function": function.name,
                "runtime": function.runtime,
                "runs_on": explain(function.runtime, interpreters),
            },
        )


def _host_port(function: Function) -> int | None:
    return function.custom.port if function.custom else None


def _opener(
    specs: Specs, sandbox: Sandbox, networks: Networks | None, logs: Logs
) -> Callable[[Function, Callable[[], None]], AbstractAsyncContextManager[Instance]]:
    @asynccontextmanager
    async def opened(function: Function, born: Callable[[], None]) -> AsyncIterator[Instance]:
        spec = await specs.write(function)
        async with open_instance(
            spec, sandbox, networks, logs, new_request_id=new_request_id, born=born
        ) as instance:
            yield instance

    return opened


# --- parts that need a hand to open -------------------------------------------------------------


def _let_instances_pass(data_dir: Path) -> None:
    """Where instances enter folders as another user, they may pass through, and no more."""
    shutil.rmtree(data_dir / "run", ignore_errors=True)  # a killed server's: its own is ours alone
    (data_dir / "run").mkdir(exist_ok=True)
    (data_dir / "code").mkdir(exist_ok=True)
    if os.geteuid() == 0:
        for folder in (data_dir, data_dir / "run", data_dir / "code"):
            folder.chmod(0o711)


@asynccontextmanager
async def _open_sandbox(
    config: Config, data_dir: Path
) -> AsyncIterator[tuple[Sandbox, list[str], list[Interpreter]]]:
    root = os.geteuid() == 0
    levels = candidates(config.isolation, root=root)
    search = list(default_search(os.environ.get("PATH", ""), Path.home()))
    interpreters = {
        level: find_interpreters(search, for_everybody=gives_up_rights_early(level, root=root))
        for level in levels
    }
    with _cgroups(data_dir) as cgroups:
        async with open_strongest(
            levels,
            {level: pick(USUAL_RUNTIME, found) for level, found in interpreters.items()},
            uid=config.function_uid,
            gid=config.function_uid,
            folder=data_dir / "run" / "sandbox",
            cgroups=cgroups,
            spares=config.spare_processes,
        ) as (sandbox, reasons):
            yield sandbox, reasons, interpreters[sandbox.level]


@contextmanager
def _cgroups(data_dir: Path) -> Iterator[Cgroups | None]:
    # The name is that of the data directory, which one server at a time has: what a server that
    # was killed left behind is found again, and ended.
    name = "anyfc-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    cgroups = find_cgroups(name)
    try:
        yield cgroups
    finally:
        if cgroups is not None:
            cgroups.close()


class _Control(uvicorn.Server):
    """uvicorn without a say in the process's signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _open_control(parts: Parts, data_dir: Path) -> AsyncIterator[Upstream]:
    """Serve the control API on a UNIX socket that only this user can reach."""
    with tempfile.TemporaryDirectory(dir=_short(data_dir / "run"), prefix="api-") as folder:
        path = f"{folder}/socket"
        # Listening before anything serves: a request that comes early waits, and nobody polls.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(1024)
            server = _Control(
                uvicorn.Config(
                    build_app(parts),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    ws="none",
                    timeout_graceful_shutdown=5,
                )
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listener]), name="control API")
                control = over_unix_socket(path)
                try:
                    yield control
                finally:
                    control.close()
                    server.should_exit = True


def _short(folder: Path) -> Path | None:
    """A folder for a socket: the given one, or the system's if its path would be too long."""
    return folder if len(os.fsencode(folder)) < SOCKET_PATH_BYTES - 24 else None


@asynccontextmanager
async def _open_chores(
    sandbox: Sandbox,
    packages: Packages,
    logs: Logs,
    catalog: Catalog,
    scheduler: Scheduler,
    interpreters: list[Interpreter],
) -> AsyncIterator[None]:
    """What nobody waits for: zygotes warmed before they are needed, what is left behind swept."""
    async with asyncio.TaskGroup() as group:
        changed = asyncio.Event()
        changed.set()
        catalog.watch(lambda name: changed.set())
        chores = [
            group.create_task(_warm(sandbox, catalog, interpreters, changed), name="warm"),
            group.create_task(_sweep(packages, logs, catalog, scheduler), name="sweep"),
        ]
        try:
            yield
        finally:
            for chore in chores:
                chore.cancel()


async def _warm(
    sandbox: Sandbox, catalog: Catalog, interpreters: list[Interpreter], changed: asyncio.Event
) -> None:
    warmed: set[Interpreter] = set()
    while True:
        await changed.wait()
        changed.clear()
        for runtime in catalog.runtimes() & PYTHON.keys():
            interpreter = pick(runtime, interpreters)
            if interpreter is not None and interpreter not in warmed:
                with suppress(SandboxFailed):  # whoever needs it will be told
                    await sandbox.warm(interpreter)
                    warmed.add(interpreter)


async def _sweep(packages: Packages, logs: Logs, catalog: Catalog, scheduler: Scheduler) -> None:
    while True:
        try:
            await packages.sweep(catalog.digests() | scheduler.digests())
            await logs.sweep(catalog.names() | scheduler.names())
        except OSError:  # a full disk, for one: no reason to stop serving
            log.exception("what was deleted is not swept")
        await asyncio.sleep(SWEEP_S)


@contextmanager
def _server_file(path: Path, endpoint: str) -> Iterator[None]:
    """Tell commands on this machine where the server of the data directory is."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"endpoint": endpoint, "pid": os.getpid()}))
    fresh.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
