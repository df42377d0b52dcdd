"""`anyfc serve`: run the platform. `anyfc doctor`: what this machine lets it do."""

import errno
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anyfc.cli.connection import DataDirOption, JsonOption, fail, read_settings
from anyfc.cli.terminal import tell
from anyfc.config import ISOLATION, Config

if TYPE_CHECKING:
    from anyfc.server import Server

# What to do about a system call that failed, by its error.
_HINTS = {
    errno.EADDRINUSE: "Is another program listening there? Choose a --port.",
    errno.EACCES: "Ports below 1024 are for root. Choose a --port.",
    errno.EADDRNOTAVAIL: "Choose a --host that is an address of this machine.",
}

GARBAGE_OBJECTS = 20_000
SWITCH_S = 0.0002
FILES_PER_INSTANCE = 8

NETWORKS = "one for each instance of a custom runtime"
HOSTS_NETWORK = "the host's; instances of custom runtimes take turns at a port"

IsolationOption = Annotated[
    str | None,
    typer.Option(
        "--isolation",
        show_default=False,
        help=f"One of {', '.join(ISOLATION)}. Default: auto, the strongest that works here.",
    ),
]
COMPILED = "compiled"
INTERPRETED = (
    "interpreted, at less than half the speed (`make compiled`, or an installation, compiles it)"
)


def serve(
    host: Annotated[
        str | None,
        typer.Option(show_default=False, help="Address to listen on. Default: 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(show_default=False, help="Port; 0 takes a free one. Default: 9000."),
    ] = None,
    data_dir: DataDirOption = None,
    isolation: IsolationOption = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help="debug, info, warning or error; info has a line for each invocation.",
        ),
    ] = None,
) -> None:
    """Run functions until stopped: the first SIGTERM or Ctrl-C drains, a second one ends at once.

    A terminal that is closed drains too.

    All settings, and the variables they are read from, are in the reference.
    """
    doing = "serve"
    config = read_settings(
        doing, data_dir, host=host, port=port, isolation=isolation, log_level=log_level
    )
    from anyfc.errors import FunctionComputeError
    from anyfc.identity.key import PairUnreadable
    from anyfc.observe.log import start_logging
    from anyfc.sandbox.failure import SandboxFailed
    from anyfc.server import RefusedToServe

    start_logging(config.log_level)
    try:
        _run(config)
    except Exception as error:
        match first(error):
            case RefusedToServe() | PairUnreadable() | FunctionComputeError() as why:
                fail(doing, str(why))
            case SandboxFailed() as why:
                fail(doing, str(why), "`anyfc doctor` says what this machine can do.")
            case OSError() as why:
                fail(doing, str(why), "" if why.filename else _HINTS.get(why.errno or 0, ""))
            case _:
                raise


def first(error: BaseException) -> BaseException:
    """Return what is inside: task groups wrap what happens in them, in several layers."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _run(config: Config) -> None:
    import asyncio
    import gc
    import os
    import signal
    import sys

    import uvloop

    from anyfc.identity.key import FILE_NAME
    from anyfc.server import open_server

    _raise_file_limit(2 * config.max_connections + FILES_PER_INSTANCE * config.max_instances)
    os.umask(0o077)  # the data directory holds secrets; what instances may read is opened by name

    async def main() -> None:
        stop = asyncio.Event()

        def end() -> None:
            if stop.is_set():
                os._exit(1)
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        # A terminal that goes may send two of them; where `nohup` has them ignored, they are.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, stop.set)
        async with open_server(config) as server:
            # What is there now stays; a request leaves no cycles behind.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GARBAGE_OBJECTS, 50, 50)
            # The loop gets the interpreter back from the log's thread 25 times sooner than usual.
            sys.setswitchinterval(SWITCH_S)
            if not config.access_key_id:
                tell(f"access key: {config.data_dir / FILE_NAME} (shown by `anyfc env`)")
            for line in describe(server):
                tell(line)
            typer.echo(f"ready {server.endpoint}")
            await stop.wait()
            tell("draining; a second signal ends at once")

    uvloop.run(main())


def _raise_file_limit(files: int) -> None:
    """Allow as many open files as the settings may need, or as many as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        allowed = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def describe(server: "Server") -> list[str]:
    """Say how strong the walls are, what networks there are, and which Python runs what."""
    from anyfc.runtime.table import PYTHON, explain
    from anyfc.sandbox.box import DESCRIBE

    ground = server.ground
    level = ground.sandbox.level
    lines = [f"isolation: {level.value} ({DESCRIBE[level]})"]
    lines += [f"  not {reason}" for reason in ground.reasons]
    if ground.sandbox.cgroups is None:
        lines.append("freezing: by signals, because control groups cannot be made here")
    whose = NETWORKS if ground.networks is not None else HOSTS_NETWORK
    lines.append("; ".join([f"network: {whose}", *ground.network_notes]))
    lines.append(f"hot path: {COMPILED if is_compiled() else INTERPRETED}")
    lines += [f"{runtime}: {explain(runtime, ground.interpreters)}" for runtime in PYTHON]
    return lines


def is_compiled() -> bool:
    """Whether what every request goes through was compiled when anyfc was installed."""
    from anyfc.web import connection

    return not connection.__file__.endswith(".py")


def doctor(isolation: IsolationOption = None, as_json: JsonOption = False) -> None:
    """Try what this machine lets anyfc do: isolation, freezing, Python versions, their modules."""
    import asyncio
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    from anyfc.cli.background import interrupted_by_signals
    from anyfc.instance.spec import find_modules
    from anyfc.runtime.table import PYTHON, explain, pick
    from anyfc.sandbox.failure import SandboxFailed
    from anyfc.server import open_server

    doing = "examine this machine"
    config = read_settings(doing, None, isolation=isolation)
    report: dict[str, Any] = {}

    async def examine() -> None:
        with tempfile.TemporaryDirectory(prefix="anyfc-doctor-") as folder:
            given = replace(config, data_dir=Path(folder), host="127.0.0.1", port=0)
            async with open_server(given) as server:
                ground = server.ground
                report["isolation"] = ground.sandbox.level.value
                report["own_networks"] = ground.networks is not None
                report["compiled"] = is_compiled()
                report["lines"] = describe(server)
                report["runtimes"] = {
                    runtime: explain(runtime, ground.interpreters) for runtime in PYTHON
                }
                report["modules"] = {
                    runtime: bool(
                        (interpreter := pick(runtime, ground.interpreters))
                        and find_modules(config.data_dir / "modules", interpreter)
                    )
                    for runtime in PYTHON
                }

    try:
        with interrupted_by_signals():
            asyncio.run(examine())
    except Exception as error:
        if isinstance(why := first(error), SandboxFailed):
            fail(doing, f"no isolation works here: {why}")
        raise
    if as_json:
        typer.echo(json.dumps({k: v for k, v in report.items() if k != "lines"}, indent=2))
        return
    for line in report["lines"]:
        typer.echo(line)
    for runtime, there in report["modules"].items():
        state = "installed" if there else f"not installed (`anyfc modules {runtime}`)"
        typer.echo(f"{runtime}: modules that the cloud preinstalls: {state}")
