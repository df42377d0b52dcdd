"""What a function is told: flags → settings of the API, and how they get to the server."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anyfc.cli.check import (
    BOOTSTRAP,
    CUSTOM_RUNTIME,
    HANDLER,
    RUNTIME,
    SERVER_TIMEOUT_S,
    check,
    default_settings,
)

if TYPE_CHECKING:
    from anyfc.client import Client, Progress

Json = dict[str, Any]

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
HookTimeoutOption = Annotated[
    int | None, typer.Option(show_default=False, help="Seconds. Default for a new hook: 3.")
]


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


def hooks(**given: tuple[str | None, int | None]) -> Json | None:
    """Build the lifecycle settings out of handlers and timeouts, or None if there are none."""
    settings = {
        name: given_settings(handler=handler, timeout=timeout_s)
        for name, (handler, timeout_s) in given.items()
    }
    return {name: hook for name, hook in settings.items() if hook} or None


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


# --- settings that are there already ------------------------------------------------------------


def complete(settings: Mapping[str, Any], old: Mapping[str, Any]) -> Json:
    """Return the settings of an update.

    Groups that it would replace as a whole are filled up with what the function has.
    """
    completed = dict(settings)
    if "instanceLifecycleConfig" in settings:
        there = old.get("instanceLifecycleConfig") or {}
        given = settings["instanceLifecycleConfig"]
        completed["instanceLifecycleConfig"] = {
            **there,
            **{name: _complete_hook(hook, there.get(name) or {}) for name, hook in given.items()},
        }
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


def _complete_hook(given: Json, old: Mapping[str, Any]) -> Json:
    if "handler" not in given:
        return {**old, **given}
    if not given["handler"]:
        return given  # there is to be none
    return {**{name: value for name, value in old.items() if name != "command"}, **given}


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
    else:
        wanted = complete(settings, old)
    function = {**(old or {}), **wanted}
    chosen = "handler" in settings or (old is not None and "runtime" not in settings)
    check(source, settings, function, handler_chosen=chosen)
    return wanted, old is None


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
