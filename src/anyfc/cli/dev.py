"""`anyfc dev`: a folder as a function that is reloaded whenever a file is saved."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from anyfc.cli.address import put_http_trigger, render_trigger, show_address
from anyfc.cli.background import Background, interrupted_by_signals, running_server, stop
from anyfc.cli.changes import render_changes
from anyfc.cli.check import SettingsRefused, settle_name
from anyfc.cli.connection import (
    DataDirOption,
    EndpointOption,
    connected,
    describe,
    fail,
    read_settings,
)
from anyfc.cli.deploy import note_turns
from anyfc.cli.function import (
    CommandOption,
    ConcurrencyOption,
    EnvOption,
    HandlerOption,
    InitializerOption,
    PortOption,
    RuntimeOption,
    TimeoutOption,
    custom_runtime,
    given_settings,
    hooks,
    parse_variables,
    plan,
    render_start,
    send,
)
from anyfc.cli.judge import find_judge, find_mistakes
from anyfc.cli.package import Package, read_package
from anyfc.cli.serve import IsolationOption
from anyfc.cli.source import PackageError
from anyfc.cli.terminal import readable, tell
from anyfc.cli.tied import tied
from anyfc.cli.watching import watch_folder

if TYPE_CHECKING:
    from anyfc.client import Client
    from anyfc.config import Config

Json = dict[str, Any]

LOOPBACK = ("127.0.0.1", "::1", "localhost")
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
        int | None,
        typer.Option(
            show_default=False, help="Port of the server that is started. Default: a free one."
        ),
    ] = None,
    isolation: IsolationOption = None,
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
) -> None:
    """Serve a folder as a function, and reload it on every change until Ctrl-C.

    A server in a temporary folder is started for it, unless --endpoint or --data-dir say which
    running one to use; the function stays on that one.
    """
    doing = f"serve {folder}"
    if not folder.is_dir():
        fail(doing, f"{folder} is not a folder", "For one file or a zip, use `anyfc deploy`.")
    if (endpoint or data_dir) and (server_port is not None or isolation):
        fail(
            doing,
            "--server-port and --isolation are for a server that is started; with --endpoint or "
            "--data-dir there is one",
        )
    config = read_settings(doing, data_dir, isolation=isolation)
    try:
        name = settle_name(name, folder)
        settings = given_settings(
            runtime=runtime,
            handler=handler,
            customRuntimeConfig=custom_runtime(command=command, port=port, health_check=None),
            timeout=timeout,
            instanceConcurrency=concurrency,
            environmentVariables=parse_variables(env),
            instanceLifecycleConfig=hooks(initializer=(initializer, None)),
        )
    except SettingsRefused as error:
        fail(doing, str(error), error.hint)
    except ValueError as error:
        fail(doing, str(error))
    with interrupted_by_signals(), ExitStack() as stack:
        try:
            server = None
            if not endpoint and data_dir is None:
                temporary = tempfile.TemporaryDirectory(prefix="anyfc-dev-")
                data_dir = Path(stack.enter_context(temporary))
                level = ["--isolation", isolation] if isolation else []
                server = stack.enter_context(
                    running_server(
                        data_dir,
                        *level,
                        port=server_port or 0,
                        hint="--server-port chooses its port." if server_port else "",
                    )
                )
                endpoint = server.endpoint
            client = stack.enter_context(connected(doing, endpoint=endpoint, data_dir=data_dir))
            work = Work(client=client, name=name, folder=folder, settings=settings, config=config)
            follow(work, server, data_dir)
        except KeyboardInterrupt:
            typer.echo("stopping")


def follow(work: "Work", server: Background | None, data_dir: Path | None) -> None:
    """Deploy, and again after every change, until the command is interrupted.

    Ends the command if the folder cannot be watched. Raises ApiError.
    """
    with ExitStack() as stack:
        log: Log | None = None
        ticks = watch_folder(work.folder, lambda: work.elsewhere, work.config.data_dir)
        for changed in watching(work, ticks):
            # It begins with nothing: then it watches, and no change from now on can be missed.
            if log is None:
                work.begin()
                log = stack.enter_context(closing(Log(work, data_dir)))
            elif changed:
                # A file that an editor made on the way is gone again.
                work.reload([path for path in changed if os.path.isfile(path)] or changed)
            else:
                work.try_again()
            if server is not None:
                server.check()
            log.check()


def watching(work: "Work", ticks: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from ticks
    except OSError as error:
        fail(f"watch {work.folder}", str(error))


class Log:
    """The function's log, on the terminal until it is closed; another process shows it."""

    def __init__(self, work: "Work", data_dir: Path | None) -> None:
        self._work = work
        self._data_dir = data_dir
        self._process = self._start(work.began)
        self._seen = work.began

    def check(self) -> None:
        """See to it that it is shown. Raises ApiError if the server or the function is gone."""
        if self._process.poll() is not None:
            self._work.client.get_function(self._work.name)
            self._process = self._start(self._seen)
        self._seen = time.time()

    def close(self) -> None:
        stop(self._process, STOP_S)

    def _start(self, since: float) -> "subprocess.Popen[str]":
        """Show what was printed from some time on, in seconds since 1970."""
        age_s = time.time() - since + LOG_START_S
        words = ["logs", self._work.name, "--follow", "--since", f"{age_s:.3f}"]
        words += ["--endpoint", self._work.client.endpoint]
        if self._data_dir is not None:
            words += ["--data-dir", str(self._data_dir)]
        return subprocess.Popen(tied(*words), stdin=subprocess.PIPE, text=True, process_group=0)


@dataclass(slots=True, kw_only=True)
class Work:
    """A folder that is being worked on, and the function that it is."""

    client: "Client"
    name: str
    folder: Path
    settings: Json
    config: "Config"
    began: float = 0.0  # Unix time in seconds
    judge: str = ""  # the Python that reads its files
    package: bytes = b""  # what runs now
    elsewhere: list[Path] = field(default_factory=list)  # what its links led to when it was packed
    noted: set[str] = field(default_factory=set)
    failure: str = ""  # why it could not be packed
    pending: list[str] = field(default_factory=list)  # what changed before that

    def begin(self) -> None:
        """Deploy for the first time, and say where the function is.

        Ends the command if that cannot be. Raises ApiError.
        """
        began, self.began = time.monotonic(), time.time()
        doing = f"serve {self.folder}"
        try:
            package = self._pack()
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
        here = urlsplit(self.client.endpoint).hostname in LOOPBACK
        self.judge = find_judge(function, self.config, here=here)
        self._show_mistakes([str(path) for path in self.folder.glob("*.py")])
        typer.echo(f"watching {readable(self.folder)}; Ctrl-C ends")

    def reload(self, paths: list[str]) -> None:
        """Have the next request run what is in the folder now; what is wrong with it is shown."""
        began = time.monotonic()
        self._show_mistakes(paths)
        self.failure = ""
        self._put(paths, began)

    def try_again(self) -> None:
        """Reload if the last time failed: the files may have been on the move."""
        if self.pending:
            self._put(self.pending, time.monotonic())

    def _put(self, paths: list[str], began: float) -> None:
        from anyfc.client import ApiError

        self.pending = []
        try:
            package = self._pack()
            if package == self.package:
                return
            send(self.client, self.name, {}, package, new=False)
        except PackageError as error:
            if str(error) != self.failure:  # twice the same: they are not on the move
                self.failure, self.pending = str(error), paths
                tell(f"not reloaded: packing failed: {error}")
        except ApiError as error:
            if not error.status:  # the server does not answer
                raise
            tell(f"not reloaded: {describe(error)}")
        else:
            self.package = package
            took_s = time.monotonic() - began
            changes = render_changes(paths, str(self.folder.resolve()))
            typer.echo(f"reloaded in {took_s:.2f} s · {changes}")

    def _pack(self) -> bytes:
        """Return the package of the folder, and tell what is new of what it lacks.

        Raises PackageError.
        """
        package = pack_quickly(self.folder, self.config.data_dir)
        self.elsewhere = package.elsewhere
        for note in package.notes:
            if note not in self.noted:
                tell(f"left out: {note}")
        self.noted = set(package.notes)
        return package.data

    def _show_mistakes(self, paths: list[str]) -> None:
        for mistake in find_mistakes(paths, self.judge):
            tell(mistake)


def pack_quickly(folder: Path, data_dir: Path) -> Package:
    """Return the package of a folder, not compressed unless it is large. Raises PackageError."""
    package = read_package(folder, compressed=False, data_dir=data_dir)
    if len(package.data) <= STORED_BYTES:
        return package
    return read_package(folder, data_dir=data_dir)
