"""What a function is told: flags → settings of the API, and what a folder says by itself."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anyfc.runtime.table import CUSTOM

if TYPE_CHECKING:
    from anyfc.client import Client, Progress

Json = dict[str, Any]

RUNTIME = "python3.12"
CUSTOM_RUNTIME = "custom.debian12"
HANDLER = "index.handler"
BOOTSTRAP = "bootstrap"
# As in the cloud's console; elsewhere the API's 3 s. A WebSocket lasts no longer than this.
SERVER_TIMEOUT_S = 60
HOOK_TIMEOUT_S = 3

RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help=f"Default for a new function: {CUSTOM_RUNTIME} with --command, or if the folder has "
        f"an executable {BOOTSTRAP} and no index.py; else {RUNTIME}.",
    ),
]
HandlerOption = Annotated[
    str | None,
    typer.Option(
        "--handler",
        help=f"Default for a new function: {HANDLER}; for one file, FILE.handler.",
    ),
]
CommandOption = Annotated[
    str | None,
    typer.Option(
        "--command",
        help='Custom runtimes: what starts the server, as in a shell: "python3 server.py". '
        f"Default: /code/{BOOTSTRAP}.",
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", help="Custom runtimes: where the server listens. Default: 9000."),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option("--concurrency", help="Requests per instance; above 1 for custom runtimes only."),
]
TimeoutOption = Annotated[
    int | None,
    typer.Option(
        "--timeout",
        help=f"Seconds. Default for a new function: {SERVER_TIMEOUT_S} if its runtime is custom, "
        "else 3.",
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", help="KEY=VALUE; may be repeated, replaces all variables."),
]
HealthCheckOption = Annotated[
    str | None,
    typer.Option(
        "--health-check", help="Custom runtimes: a path that says with its status how it is."
    ),
]
InitializerOption = Annotated[
    str | None,
    typer.Option(
        "--initializer",
        help="Handler of the initializer; with a custom runtime any word has POST /initialize "
        "called.",
    ),
]
HookTimeoutOption = Annotated[int, typer.Option(help="Seconds.")]


class SettingsRefused(Exception):
    """Settings that cannot be meant; `hint` says what to do instead."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


# --- flags → settings ---------------------------------------------------------------------------


def given_settings(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def parse_variables(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Read `KEY=VALUE` texts; the value may hold more equals signs.

    Raises ValueError.
    """
    if pairs is None:
        return None
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


def custom_runtime(
    *, command: str | None, port: int | None, health_check: str | None
) -> Json | None:
    """Build the settings of a custom runtime, or None if there are none.

    Raises ValueError for a command that a shell could not read.
    """
    settings: Json = given_settings(port=port)
    if command is not None:
        try:
            settings["command"] = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"--command: {error} in {command}") from error
        if not settings["command"]:
            raise ValueError("--command: it is empty")
    if health_check is not None:
        settings["healthCheckConfig"] = {"httpGetUrl": health_check}
    return settings or None


# --- what a folder says by itself ---------------------------------------------------------------


def default_name(source: Path) -> str:
    path = source.resolve()
    return path.name if path.is_dir() else path.stem


def default_handler(source: Path) -> str:
    if source.is_file() and source.suffix == ".py":
        return f"{source.stem}.handler"
    return HANDLER


def default_runtime(source: Path, settings: Mapping[str, Any]) -> str:
    starts = "command" in settings.get("customRuntimeConfig", {})
    bootstrap = source / BOOTSTRAP
    executable = bootstrap.is_file() and bootstrap.stat().st_mode & 0o111
    if starts or (executable and not (source / "index.py").exists()):
        return CUSTOM_RUNTIME
    return RUNTIME


def default_settings(source: Path, settings: Mapping[str, Any]) -> Json:
    """Return what a new function is told beside the settings that are given."""
    runtime = settings.get("runtime") or default_runtime(source, settings)
    found = {"runtime": runtime, "handler": default_handler(source)}
    return {**found, "timeout": SERVER_TIMEOUT_S} if runtime in CUSTOM else found


def complete(settings: Mapping[str, Any], old: Mapping[str, Any]) -> Json:
    """Return the settings of an update.

    Groups that it would replace as a whole are filled up with what the function has.
    """
    completed = dict(settings)
    if "instanceLifecycleConfig" in settings:
        there = old.get("instanceLifecycleConfig") or {}
        completed["instanceLifecycleConfig"] = {**there, **settings["instanceLifecycleConfig"]}
    if "customRuntimeConfig" in settings:
        given = dict(settings["customRuntimeConfig"])
        there = dict(old.get("customRuntimeConfig") or {})
        if "command" in given:
            there.pop("args", None)
        if "healthCheckConfig" in given:
            health = {**there.get("healthCheckConfig", {}), **given["healthCheckConfig"]}
            given["healthCheckConfig"] = health
        completed["customRuntimeConfig"] = {**there, **given}
    return completed


def check(source: Path, function: Mapping[str, Any], *, handler_given: bool) -> None:
    """Look at code and settings together for what can only fail later.

    Raises SettingsRefused.
    """
    runtime, custom = function.get("runtime"), function.get("customRuntimeConfig") or {}
    if runtime not in CUSTOM:
        if custom:
            raise SettingsRefused(
                "--command, --port and --health-check are for custom runtimes, and the runtime "
                f"is {runtime}",
                f"Add --runtime {CUSTOM_RUNTIME}.",
            )
        if not handler_given and str(runtime).startswith("python") and source.is_dir():
            _check_index(source)
    elif source.is_dir() and not custom.get("command") and not custom.get("args"):
        _check_bootstrap(source)


def _check_index(folder: Path) -> None:
    if not any(path.stem == "index" for path in folder.iterdir()):
        raise SettingsRefused(
            f"{folder} holds no index.py, where the handler {HANDLER} would be",
            'Name it with --handler FILE.FUNCTION. A web server is started with --command "…".',
        )


def _check_bootstrap(folder: Path) -> None:
    bootstrap = folder / BOOTSTRAP
    if not bootstrap.is_file():
        raise SettingsRefused(
            f"a custom runtime without a command starts /code/{BOOTSTRAP}, and {folder} holds no "
            f"file {BOOTSTRAP}",
            'Say what starts the server: --command "python3 server.py".',
        )
    if not bootstrap.stat().st_mode & 0o111:
        raise SettingsRefused(
            f"{bootstrap} cannot be started: it is not executable", f"chmod +x {bootstrap}"
        )


# --- to the server ------------------------------------------------------------------------------


def find_function(client: "Client", name: str) -> Json | None:
    """Raises ApiError."""
    from anyfc.client import ApiError

    try:
        return client.get_function(name)
    except ApiError as error:
        if error.code != "FunctionNotFound":
            raise
        return None


def plan(client: "Client", name: str, source: Path, settings: Json) -> tuple[Json, bool]:
    """Return what to send, all but the code, and whether it makes a new function.

    The server is asked first: to try one and then the other would send the code twice.
    Raises SettingsRefused, ApiError.
    """
    old = find_function(client, name)
    if old is None:
        wanted = {**default_settings(source, settings), **settings, "functionName": name}
        check(source, wanted, handler_given="handler" in settings)
        return wanted, True
    wanted = complete(settings, old)
    check(source, {**old, **wanted}, handler_given=True)
    return wanted, False


def send(
    client: "Client",
    name: str,
    settings: Json,
    package: bytes,
    *,
    new: bool,
    progress: "Progress | None" = None,
) -> Json:
    """Create a function, or change it. Raises ApiError."""
    settings = {**settings, "code": {"zipFile": base64.b64encode(package).decode()}}
    if new:
        return client.create_function(settings, progress=progress)
    return client.update_function(name, settings, progress=progress)


def render_start(function: Mapping[str, Any]) -> str:
    """Say in a few words what runs: runtime and handler, or runtime, command and port."""
    runtime = str(function.get("runtime"))
    custom = function.get("customRuntimeConfig")
    if not custom:
        return f"{runtime} · {function.get('handler')}"
    words = [*custom.get("command", ()), *custom.get("args", ())]
    return f"{runtime} · {shlex.join(words) or f'/code/{BOOTSTRAP}'} · port {custom.get('port')}"
