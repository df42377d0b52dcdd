"""`anyfc dev`: a folder as a function that is reloaded whenever a file is saved."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anyfc.cli.address import put_http_trigger, render_trigger, show_address
from anyfc.cli.background import Background, running_server
from anyfc.cli.changes import find_mistakes, is_source, render_changes
from anyfc.cli.connection import DataDirOption, EndpointOption, connected, describe, fail
from anyfc.cli.deploy import note_turns
from anyfc.cli.function import (
    HOOK_TIMEOUT_S,
    CommandOption,
    ConcurrencyOption,
    EnvOption,
    HandlerOption,
    InitializerOption,
    PortOption,
    RuntimeOption,
    SettingsRefused,
    TimeoutOption,
    custom_runtime,
    default_name,
    given_settings,
    hooks,
    parse_variables,
    plan,
    render_start,
    send,
)
from anyfc.cli.package import PackageError, read_package
from anyfc.cli.serve import IsolationOption

if TYPE_CHECKING:
    from anyfc.client import Client

Json = dict[str, Any]

# An editor writes a file in several steps: what comes within this time is one change.
SETTLE_MS = 50
# How often is looked whether the server is still there.
LOOK_MS = 250
STOP_S = 5.0
# Above this, the limit of the API for packages would be near.
STORED_BYTES = 64 * 1024 * 1024
# Until the command that shows the log has begun.
LOG_START_S = 2.0


def dev(
    folder: Annotated[Path, typer.Argument(help="The folder with the code.")],
    name: Annotated[str, typer.Option(help="Default: the name of the folder.")] = "",
    runtime: RuntimeOption = None,
    handler: HandlerOption = None,
    command: CommandOption = None,
    port: PortOption = None,
    concurrency: ConcurrencyOption = None,
    timeout: TimeoutOption = None,
    env: EnvOption = None,
    initializer: InitializerOption = None,
    server_port: Annotated[
        int, typer.Option(help="Port of the server that is started; 0 takes a free one.")
    ] = 0,
    isolation: IsolationOption = None,
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
) -> None:
    """Serve a folder as a function, and reload it on every change until Ctrl-C.

    A server in a temporary folder is started for it, unless --endpoint or --data-dir say which
    running one to use; the function stays on that one.
    """
    name = name or default_name(folder)
    doing = f"serve {folder}"
    if not folder.is_dir():
        fail(doing, f"{folder} is not a folder", "For one file or a zip, use `anyfc deploy`.")
    try:
        settings = given_settings(
            runtime=runtime,
            handler=handler,
            customRuntimeConfig=custom_runtime(command=command, port=port, health_check=None),
            timeout=timeout,
            instanceConcurrency=concurrency,
            environmentVariables=parse_variables(env),
            instanceLifecycleConfig=hooks(initializer=(initializer, HOOK_TIMEOUT_S)),
        )
    except ValueError as error:
        fail(doing, str(error))
    with interrupted_by_signals(), ExitStack() as stack:
        try:
            server = None
            if not endpoint and data_dir is None:
                temporary = tempfile.TemporaryDirectory(prefix="anyfc-dev-")
                data_dir = Path(stack.enter_context(temporary))
                level = ["--isolation", isolation] if isolation else []
                server = stack.enter_context(running_server(data_dir, *level, port=server_port))
                endpoint = server.endpoint
            client = stack.enter_context(connected(doing, endpoint=endpoint, data_dir=data_dir))
            work = Work(client=client, name=name, folder=folder, settings=settings)
            follow(work, server, data_dir)
        except KeyboardInterrupt:
            typer.echo("stopping")


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Have what ends a command otherwise, a closed terminal too, end it as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def follow(work: "Work", server: Background | None, data_dir: Path | None) -> None:
    """Deploy, and again after every change, until the command is interrupted."""
    from watchfiles import watch

    root = str(work.folder.resolve())
    with ExitStack() as stack:
        for found in watch(
            root,
            watch_filter=lambda change, path: is_source(path, root),
            step=SETTLE_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
        ):
            # It begins with nothing: then it watches, and no change from now on can be missed.
            if not work.deployed:
                work.begin()
                stack.enter_context(following_log(work, data_dir))
            elif found:
                paths = sorted(path for _, path in found)
                # A file that an editor made on the way is gone again.
                work.reload([path for path in paths if os.path.isfile(path)] or paths, root)
            if server is not None:
                server.check()


@contextmanager
def following_log(work: "Work", data_dir: Path | None) -> Iterator[None]:
    """Print the function's log on the terminal while the block runs."""
    command = [sys.executable, "-m", "anyfc", "logs", work.name, "--follow"]
    age_s = time.time() - work.began + LOG_START_S
    command += ["--since", f"{age_s:.3f}", "--endpoint", work.client.endpoint]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    process = subprocess.Popen(command, process_group=0)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()


@dataclass(slots=True, kw_only=True)
class Work:
    """A folder that is being worked on, and the function that it is."""

    client: "Client"
    name: str
    folder: Path
    settings: Json
    began: float = 0.0  # Unix time in seconds
    package: bytes = b""  # what runs now

    @property
    def deployed(self) -> bool:
        return self.began > 0

    def begin(self) -> None:
        """Deploy for the first time, and say where the function is.

        Ends the command if that cannot be. Raises ApiError.
        """
        began, self.began = time.monotonic(), time.time()
        doing = f"serve {self.folder}"
        try:
            package = pack_quickly(self.folder)
            wanted, new = plan(self.client, self.name, self.folder, self.settings)
        except PackageError as error:
            fail(doing, f"packing failed: {error}")
        except SettingsRefused as error:
            fail(doing, str(error), error.hint)
        function = send(self.client, self.name, wanted, package, new=new)
        self.package = package
        trigger = put_http_trigger(self.client, self.name, {})
        took_s = time.monotonic() - began
        typer.echo(f"serving {self.name} · {render_start(function)} · {took_s:.2f} s")
        typer.echo(render_trigger(trigger))
        typer.echo(f"at {show_address(self.client, self.name, trigger)['proxy']}")
        for line in note_turns(self.client, function):
            typer.echo(line)
        show_mistakes([str(path) for path in self.folder.glob("*.py")])
        typer.echo(f"watching {self.folder}; Ctrl-C ends")

    def reload(self, paths: list[str], root: str) -> None:
        """Have the next request run what is in the folder now; what is wrong with it is shown."""
        from anyfc.client import ApiError

        began = time.monotonic()
        show_mistakes(paths)
        try:
            package = pack_quickly(self.folder)
            if package == self.package:
                return
            send(self.client, self.name, {}, package, new=False)
        except PackageError as error:
            typer.echo(f"not reloaded: packing failed: {error}", err=True)
        except ApiError as error:
            if not error.status:  # the server does not answer
                raise
            typer.echo(f"not reloaded: {describe(error)}", err=True)
        else:
            self.package = package
            took_s = time.monotonic() - began
            typer.echo(f"reloaded in {took_s:.2f} s · {render_changes(paths, root)}")


def pack_quickly(folder: Path) -> bytes:
    """Return the package of a folder, not compressed unless it is large. Raises PackageError."""
    package = read_package(folder, compressed=False)
    return package if len(package) <= STORED_BYTES else read_package(folder)


def show_mistakes(paths: list[str]) -> None:
    for mistake in find_mistakes(paths):
        typer.echo(mistake, err=True)
