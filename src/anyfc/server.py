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
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from random import getrandbits

from anyfc.api.app import build_app
from anyfc.api.control import open_control
from anyfc.api.parts import Parts
from anyfc.chores import open_chores
from anyfc.config import Config
from anyfc.gateway.app import Gateway
from anyfc.gateway.door import Doors
from anyfc.gateway.http import HttpCalls
from anyfc.gateway.invoke import Invoke
from anyfc.gateway.problem import new_request_id
from anyfc.gateway.runnable import Runnables
from anyfc.identity.key import Keys, Pair, ensure_pair, open_keys
from anyfc.instance.code import Packages
from anyfc.instance.lifecycle import Instance
from anyfc.instance.logs import Logs, open_logs
from anyfc.instance.opening import open_instance
from anyfc.instance.spec import Specs
from anyfc.model.function import Function
from anyfc.runtime.context import Place
from anyfc.runtime.table import PYTHON, explain, pick
from anyfc.sandbox.box import Level
from anyfc.sandbox.cgroup import Cgroups, find_cgroups
from anyfc.sandbox.choice import candidates, gives_up_rights_early, open_strongest
from anyfc.sandbox.interpreter import Interpreter, default_search, find_interpreters
from anyfc.sandbox.network import Networks, open_networks, prepare
from anyfc.sandbox.process import Sandbox
from anyfc.scheduler.lease import Policy, Scheduler
from anyfc.scheduler.opening import open_scheduler
from anyfc.store.blobs import Blobs
from anyfc.store.catalog import Catalog
from anyfc.store.database import Database, open_database
from anyfc.store.domains import Domains
from anyfc.store.functions import Functions
from anyfc.store.lock import lock_data_dir
from anyfc.store.routes import Routes
from anyfc.store.seal import KeyUnusable, Seal
from anyfc.store.services import Services
from anyfc.store.triggers import Triggers
from anyfc.web.connection import Patience
from anyfc.web.https import Https
from anyfc.web.server import open_server as open_http
from anyfc.web.tls import Certificates
from anyfc.web.upstream import Upstream

log = logging.getLogger("anyfc")

SERVER_FILE = "server.json"
USUAL_RUNTIME = "python3.12"
# Before connections are cut, callers who wait for an instance are told that they wait in vain.
LAST_WORD_S = 0.5


class RefusedToServe(Exception):
    """The settings ask for something unsafe; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What instances stand on."""

    sandbox: Sandbox
    reasons: list[str]  # why it is not of a stronger level
    interpreters: list[Interpreter]
    networks: Networks | None  # None: instances of custom runtimes are in the host's
    network_notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers."""

    endpoint: str
    ground: Ground


@asynccontextmanager
async def open_server(config: Config) -> AsyncIterator[Server]:
    """Serve while open. Leaving drains: running requests end, instances stop.

    Raises RefusedToServe, SandboxFailed, StoreUnavailable, PairUnreadable, OSError.
    """
    with lock_data_dir(config.data_dir):
        pair = ensure_pair(config.data_dir)
        _check_exposure(config, pair)
        data_dir = config.data_dir.resolve()
        _let_instances_pass(data_dir)
        async with (
            _open_store(config, data_dir) as store,
            open_logs(data_dir / "logs", limit_bytes=config.log_bytes, owner=store.find_id) as logs,
            _open_ground(config, data_dir) as ground,
        ):
            keys = open_keys(
                pair,
                account_id=config.account_id,
                access_key_id=config.access_key_id,
                access_key_secret=config.access_key_secret,
            )
            catalog = store.catalog
            blobs = Blobs(data_dir / "blobs")
            packages = _make_packages(config, data_dir, blobs)
            specs = _make_specs(config, data_dir, keys, packages, ground)
            async with open_scheduler(
                _policy(config),
                _opener(specs, ground, logs),
                host_port=_host_port if ground.networks is None else lambda function: None,
                is_current=catalog.is_current,
                new_request_id=new_request_id,
            ) as scheduler:
                catalog.watch(lambda name: scheduler.follow(name, catalog.find(name)))
                address = Address(config)
                https = Https(config.tls_port)
                store.routes.watch_domains(https.follow)
                parts = Parts(
                    catalog=catalog,
                    routes=store.routes,
                    functions=store.functions,
                    services=store.services,
                    triggers=store.triggers,
                    domains=store.domains,
                    packages=packages,
                    logs=logs,
                    code_path=blobs.path,
                    address_key=hashlib.sha256(bytes.fromhex(pair.signing_key)).digest(),
                    address_port=lambda: address.port,
                    tls_port=lambda: https.port,
                    tls_problem=lambda: https.problem,
                    level=ground.sandbox.level,
                    own_networks=ground.networks is not None,
                    region=config.region,
                    account_id=config.account_id,
                    body_bytes=config.code_body_bytes,
                    announce=lambda function: _announce(function, ground.interpreters),
                    abort=scheduler.abort,
                )
                async with (
                    open_control(build_app(parts), data_dir / "run") as control,
                    open_chores(
                        ground.sandbox, packages, logs, catalog, scheduler, ground.interpreters
                    ),
                    _open_ports(
                        _make_gateway(config, data_dir, keys, store, scheduler, control, https),
                        https,
                        config,
                        nearly_drained=scheduler.turn_away,
                    ) as address.port,
                ):
                    with _server_file(config.data_dir / SERVER_FILE, address.endpoint):
                        try:
                            yield Server(endpoint=address.endpoint, ground=ground)
                        finally:
                            # They have no end of their own, and draining would wait for one.
                            logs.dismiss_followers()


# --- the parts ----------------------------------------------------------------------------------


class Store:
    """The resources of a database, and the two views of them that the data plane reads."""

    def __init__(self, database: Database) -> None:
        self.catalog, self.routes = Catalog(), Routes()
        self.functions = Functions(database, self.catalog)
        self.services = Services(database, self.catalog)
        self.triggers = Triggers(database, self.routes)
        self.domains = Domains(database, self.routes)

    def find_id(self, name: str) -> str | None:
        """Return the id of the function that has a name now, None if there is none."""
        found = self.catalog.find(name)
        return found[0].id if found is not None else None


class Address:
    """Where the server is reached; its port is known once it listens."""

    def __init__(self, config: Config) -> None:
        self.host = config.host
        self.port = config.port

    @property
    def endpoint(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@asynccontextmanager
async def _open_store(config: Config, data_dir: Path) -> AsyncIterator[Store]:
    async with open_database(data_dir / "anyfc.db", _given_seal(config)) as database:
        yield Store(database)


def _make_packages(config: Config, data_dir: Path, blobs: Blobs) -> Packages:
    owner = config.function_uid if os.geteuid() == 0 else None
    return Packages(
        blobs,
        data_dir / "code",
        uid=owner,
        gid=owner,
        limit_bytes=config.unpacked_code_bytes,
    )


def _make_specs(
    config: Config, data_dir: Path, keys: Keys, packages: Packages, ground: Ground
) -> Specs:
    return Specs(
        sandbox=ground.sandbox,
        packages=packages,
        interpreters=ground.interpreters,
        place=Place(region=config.region, account_id=config.account_id),
        derive=lambda role: keys.derive(role, config.account_id, time.time()),
        modules_folder=data_dir / "modules",
        spool_folder=data_dir / "run",
        new_id=new_instance_id,
        start_s=config.start_s,
        server_start_s=config.server_start_s,
    )


def _make_gateway(
    config: Config,
    data_dir: Path,
    keys: Keys,
    store: Store,
    scheduler: Scheduler,
    control: Upstream,
    https: Https,
) -> Gateway:
    runnables = Runnables(store.catalog, scheduler)
    invoke = Invoke(
        store.catalog,
        runnables,
        spool_folder=data_dir / "run",
        sync_body_bytes=config.sync_body_bytes,
        async_body_bytes=config.async_body_bytes,
    )
    http_calls = HttpCalls(
        runnables,
        keys,
        account_id=config.account_id,
        spool_folder=data_dir / "run",
        body_bytes=config.sync_body_bytes,
        strict=config.strict_domains,
        https_port=lambda: https.port,
    )
    doors = Doors(store.routes, region=config.region)
    return Gateway(invoke, http_calls, doors, control, keys)


@asynccontextmanager
async def _open_ports(
    gateway: Gateway, https: Https, config: Config, *, nearly_drained: Callable[[], None]
) -> AsyncIterator[int]:
    """Serve HTTP, and HTTPS when a custom domain wants it; yield the port of HTTP.

    `nearly_drained` is called when connections are about to be cut, while answers still arrive.
    """

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

    with ExitStack() as drained:
        async with (
            open_port(config.port) as port,
            https.served(lambda certificates: open_port(config.tls_port, certificates)),
        ):
            try:
                yield port
            finally:
                left_s = max(0.0, config.drain_s - LAST_WORD_S)
                timer = asyncio.get_running_loop().call_later(left_s, nearly_drained)
                drained.callback(timer.cancel)


# --- what the settings mean ---------------------------------------------------------------------


def _given_seal(config: Config) -> Seal | None:
    """Return the seal whose key is in the settings. Raises RefusedToServe."""
    try:
        return Seal(config.store_key) if config.store_key else None
    except KeyUnusable as error:
        how = "`openssl rand -base64 32` makes one"
        raise RefusedToServe(f"ANYFC_STORE_KEY: {error}; {how}") from None


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


# --- glue between parts that do not know each other ---------------------------------------------


def new_instance_id() -> str:
    """Return an id in the form that the cloud uses."""
    chance = f"{getrandbits(80):020x}"
    return f"c-{int(time.time()):08x}-{chance[:8]}-{chance[8:]}"


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
    specs: Specs, ground: Ground, logs: Logs
) -> Callable[[Function, Callable[[], None]], AbstractAsyncContextManager[Instance]]:
    @asynccontextmanager
    async def opened(function: Function, born: Callable[[], None]) -> AsyncIterator[Instance]:
        spec = await specs.write(function)
        async with open_instance(
            spec,
            ground.sandbox,
            ground.networks,
            logs,
            new_request_id=new_request_id,
            born=born,
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
async def _open_ground(config: Config, data_dir: Path) -> AsyncIterator[Ground]:
    root = os.geteuid() == 0
    levels = candidates(config.isolation, root=root)
    search = list(default_search(os.environ.get("PATH", ""), Path.home()))
    interpreters = {
        level: find_interpreters(search, for_everybody=gives_up_rights_early(level, root=root))
        for level in levels
    }
    usual = {level: pick(USUAL_RUNTIME, found) for level, found in interpreters.items()}
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        # Meanwhile another process starts an interpreter.
        prepared = loop.run_in_executor(None, prepare) if Level.JAIL in levels else None
        sandbox, reasons = await stack.enter_async_context(
            open_strongest(
                levels,
                usual,
                uid=config.function_uid,
                gid=config.function_uid,
                folder=data_dir / "run" / "sandbox",
                cgroups=stack.enter_context(_cgroups(data_dir)),
                spares=config.spare_processes,
            )
        )
        if prepared is not None:
            await prepared
        networks, network_notes = await stack.enter_async_context(
            open_networks(
                sandbox.level,
                network_range=IPv4Network(config.network_range),
                spares=config.spare_networks,
            )
        )
        yield Ground(
            sandbox=sandbox,
            reasons=reasons,
            interpreters=interpreters[sandbox.level],
            networks=networks,
            network_notes=network_notes,
        )


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
