"""`anyfc deploy`: a folder, a file or a zip becomes a function."""

import base64
import io
import json
import stat
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anyfc.cli.connection import DataDirOption, EndpointOption, JsonOption, connected, fail
from anyfc.cli.show import render_size

if TYPE_CHECKING:
    from anyfc.client import Client, Progress

Json = dict[str, Any]

RUNTIME = "python3.12"
HANDLER = "index.handler"

# Left out of a package: what tools keep beside the code and can make again.
SKIPPED = frozenset(
    {
        ".DS_Store",
        ".git",
        ".hg",
        ".idea",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".vscode",
        "__pycache__",
    }
)

# The oldest time a zip can hold: equal code gives equal packages and checksums.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class PackageError(Exception):
    """The code cannot be packed; the message names the file and says why."""


def deploy(
    source: Annotated[Path, typer.Argument(help="A folder, one source file, or a zip.")],
    name: Annotated[str, typer.Option(help="Default: the name of the folder or file.")] = "",
    runtime: Annotated[
        str | None, typer.Option(help=f"Default for a new function: {RUNTIME}.")
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option(help=f"Default for a new function: {HANDLER}; for one file, FILE.handler."),
    ] = None,
    description: Annotated[str | None, typer.Option()] = None,
    timeout: Annotated[int | None, typer.Option(help="Seconds.")] = None,
    memory: Annotated[int | None, typer.Option(help="MiB, a multiple of 64.")] = None,
    cpu: Annotated[float | None, typer.Option(help="Cores, a multiple of 0.05.")] = None,
    disk: Annotated[int | None, typer.Option(help="MiB, 512 or 10240.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests per instance.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", help="KEY=VALUE; may be repeated, replaces all variables."),
    ] = None,
    initializer: Annotated[str | None, typer.Option(help="Handler of the initializer.")] = None,
    initializer_timeout: Annotated[int, typer.Option(help="Seconds.")] = 3,
    pre_stop: Annotated[str | None, typer.Option(help="Handler of the pre-stop hook.")] = None,
    pre_stop_timeout: Annotated[int, typer.Option(help="Seconds.")] = 3,
    role: Annotated[str | None, typer.Option(help="ARN of the function's role.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="ARN of a layer version; may be repeated.")
    ] = None,
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a function, or give an existing one new code and settings.

    Settings that are not given keep their values when the function exists.
    """
    began = time.monotonic()
    name = name or default_name(source)
    doing = f"deploy {name}"
    if not name:
        fail("deploy", f"{source} has no name to take for the function", "Give one with --name.")
    try:
        settings = given_settings(
            runtime=runtime,
            handler=handler,
            description=description,
            timeout=timeout,
            memorySize=memory,
            cpu=cpu,
            diskSize=disk,
            instanceConcurrency=concurrency,
            role=role,
            layers=layer,
            environmentVariables=parse_variables(env) if env is not None else None,
            instanceLifecycleConfig=hooks(
                initializer=(initializer, initializer_timeout), preStop=(pre_stop, pre_stop_timeout)
            ),
        )
    except ValueError as error:
        fail(doing, str(error))
    try:
        with waiting(f"Packing {source}"):
            package = read_package(source)
    except PackageError as error:
        fail(doing, f"packing failed: {error}")
    settings["code"] = {"zipFile": base64.b64encode(package).decode()}
    defaults = {"runtime": RUNTIME, "handler": default_handler(source)}
    with (
        connected(doing, endpoint=endpoint, data_dir=data_dir) as client,
        uploading(f"Uploading {render_size(len(package))}") as progress,
    ):
        function, created = put_function(client, name, settings, defaults, progress)
    if as_json:
        typer.echo(json.dumps(function, indent=2, ensure_ascii=False))
        return
    typer.echo(
        f"{'created' if created else 'updated'} {name} · {function.get('runtime')} · "
        f"{function.get('handler')} · {render_size(len(package))} · "
        f"{time.monotonic() - began:.2f} s"
    )


def put_function(
    client: "Client", name: str, settings: Json, defaults: Json, progress: "Progress | None"
) -> tuple[Json, bool]:
    """Update a function, or create it with the defaults; say whether it was created.

    Raises ApiError.
    """
    from anyfc.client import ApiError

    # Asked first: the other order would send the code of an existing function twice.
    try:
        client.get_function(name)
    except ApiError as error:
        if error.code != "FunctionNotFound":
            raise
        new = {**defaults, **settings, "functionName": name}
        return client.create_function(new, progress=progress), True
    return client.update_function(name, settings, progress=progress), False


def default_name(source: Path) -> str:
    path = source.resolve()
    return path.name if path.is_dir() else path.stem


def default_handler(source: Path) -> str:
    if source.is_file() and source.suffix == ".py":
        return f"{source.stem}.handler"
    return HANDLER


def given_settings(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def parse_variables(pairs: Sequence[str]) -> dict[str, str]:
    """Read `KEY=VALUE` texts; the value may hold more equals signs.

    Raises ValueError.
    """
    variables = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"--env: '{pair}' is not of the form KEY=VALUE")
        variables[key] = value
    return variables


def hooks(**given: tuple[str | None, int]) -> Json | None:
    """Build the lifecycle settings out of handlers and timeouts, or None if there are none."""
    settings = {
        name: {"handler": handler, "timeout": timeout_s}
        for name, (handler, timeout_s) in given.items()
        if handler is not None
    }
    return settings or None


def read_package(source: Path) -> bytes:
    """Return the zip of a folder or file; a zip is taken as it is.

    Equal code gives equal bytes. Modes survive, symbolic links become what they point to.
    Raises PackageError.
    """
    try:
        if source.suffix == ".zip" and source.is_file():
            return _read_zip(source)
        entries = list(walk(source)) if source.is_dir() else [(source.name, source)]
        if not entries:
            raise PackageError(f"{source} holds no files")
        return pack(entries)
    except OSError as error:
        raise PackageError(f"{error.filename or source}: {error.strerror}") from error


def _read_zip(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        raise PackageError(f"{path} is not a zip archive")
    return path.read_bytes()


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield names inside a package and the files and folders they stand for, links followed.

    Raises PackageError for a link that leads into a folder around it.
    """

    def inside(folder: Path, prefix: str, around: frozenset[Path]) -> Iterator[tuple[str, Path]]:
        real = folder.resolve()
        if real in around:
            raise PackageError(f"{folder} is a link to a folder that holds it")
        for path in sorted(folder.iterdir()):
            if path.name in SKIPPED:
                continue
            if path.is_dir():
                yield f"{prefix}{path.name}/", path
                yield from inside(path, f"{prefix}{path.name}/", around | {real})
            else:
                yield prefix + path.name, path

    return inside(folder, "", frozenset())


def pack(entries: Sequence[tuple[str, Path]]) -> bytes:
    """Zip files and folders under the given names.

    Raises PackageError for what is neither, and OSError.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in entries:
            mode = path.stat().st_mode
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, also when packed elsewhere: the mode counts
            entry.external_attr = mode << 16
            if stat.S_ISDIR(mode):
                entry.external_attr |= 0x10
                archive.writestr(entry, b"")
            elif stat.S_ISREG(mode):
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
            else:
                raise PackageError(f"{path} is neither a file nor a folder")
    return buffer.getvalue()


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something is going on."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def uploading(text: str) -> Iterator["Progress | None"]:
    """Show on a terminal how much of an upload is done; yields the function to tell it to."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda sent, total: bar.update(task, completed=sent, total=total)
