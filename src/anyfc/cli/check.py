"""What a source says by itself, and what of it and of the settings could only fail later."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from anyfc.cli.package import is_zip
from anyfc.cli.source import is_virtual_environment
from anyfc.cli.terminal import readable
from anyfc.runtime.table import CUSTOM, PYTHON

Json = dict[str, Any]

RUNTIME = "python3.12"
CUSTOM_RUNTIME = "custom.debian12"
HANDLER = "index.handler"
BOOTSTRAP = "bootstrap"
# As in the cloud's console; elsewhere the API's 3 s. A WebSocket lasts no longer than this.
SERVER_TIMEOUT_S = 60

# Wire name → flag.
CUSTOM_FLAGS = {"command": "--command", "port": "--port", "healthCheckConfig": "--health-check"}
HOOK_FLAGS = {"initializer": "--initializer", "preStop": "--pre-stop"}

SERVED = 'A web server is started with --command "…".'


class SettingsRefused(Exception):
    """Settings that cannot be meant; `hint` says what to do instead."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


# --- what a source says by itself ---------------------------------------------------------------


def settle_name(given: str, source: Path) -> str:
    """Return the name of a function: the one that is given, or that of its folder or file.

    Raises SettingsRefused.
    """
    from anyfc.api.wire import FUNCTION_NAME
    from anyfc.errors import InvalidArgument

    if given:
        return given
    path = source.resolve()
    name = path.name if path.is_dir() else path.stem
    try:
        return FUNCTION_NAME.read(name, "the name of the function")
    except InvalidArgument as error:
        raise SettingsRefused(readable(str(error)), "Give one with --name.") from None


def default_handler(source: Path) -> str:
    if source.is_file() and source.suffix == ".py":
        return f"{source.stem}.handler"
    return HANDLER


def default_runtime(source: Path, settings: Mapping[str, Any]) -> str:
    there = on_top(source)
    starts = "command" in settings.get("customRuntimeConfig", {})
    if starts or (there.get(BOOTSTRAP) and "index.py" not in there):
        return CUSTOM_RUNTIME
    return RUNTIME


def default_settings(source: Path, settings: Mapping[str, Any]) -> Json:
    """Return what a new function is told beside the settings that are given."""
    runtime = settings.get("runtime") or default_runtime(source, settings)
    found = {"runtime": runtime, "handler": default_handler(source)}
    return {**found, "timeout": SERVER_TIMEOUT_S} if runtime in CUSTOM else found


def on_top(source: Path) -> dict[str, bool]:
    """Return the files and folders on top of a package, and which are files to be executed."""
    if not is_zip(source):
        paths = list(source.iterdir()) if source.is_dir() else [source]
        return {path.name: path.is_file() and _executable(path.stat().st_mode) for path in paths}
    found: dict[str, bool] = {}
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            first, *rest = PurePosixPath(entry.filename).parts or ("",)
            is_program = not rest and not entry.is_dir() and _executable(entry.external_attr >> 16)
            found[first] = found.get(first, False) or is_program
    return found


def _executable(mode: int) -> bool:
    return mode & 0o111 != 0


# --- what could only fail later -----------------------------------------------------------------


def check(
    source: Path, given: Mapping[str, Any], function: Mapping[str, Any], *, handler_chosen: bool
) -> None:
    """Look at code and settings together: those that are given, and all that there will be.

    Whoever chose the handler, now or earlier, knows where it is. Raises SettingsRefused.
    """
    runtime, custom = str(function.get("runtime")), function.get("customRuntimeConfig") or {}
    for name in given.get("instanceLifecycleConfig", {}):
        _check_hook(HOOK_FLAGS[name], function["instanceLifecycleConfig"][name])
    if runtime not in CUSTOM:
        if flags := [CUSTOM_FLAGS[name] for name in given.get("customRuntimeConfig", {})]:
            raise SettingsRefused(
                f"{', '.join(flags)}: for custom runtimes, and the runtime is {runtime}",
                f"Add --runtime {CUSTOM_RUNTIME}.",
            )
        if not handler_chosen and function.get("handler") == HANDLER and runtime in PYTHON:
            _check_index(source, runtime)
    elif command := [*custom.get("command", ()), *custom.get("args", ())]:
        _check_command(source, command)
    else:
        _check_bootstrap(source)


def _check_hook(flag: str, hook: Mapping[str, Any]) -> None:
    if "timeout" in hook and not hook.get("handler") and not hook.get("command"):
        what = flag.removeprefix("--")
        raise SettingsRefused(
            f"{flag}-timeout: the function has no {what}", f"Name it with {flag} HANDLER."
        )


def _check_index(source: Path, runtime: str) -> None:
    if any(name.partition(".")[0] == "index" for name in on_top(source)):
        return
    if source.is_file() and source.suffix != ".py" and not is_zip(source):
        raise SettingsRefused(
            f"{source} is no Python file, and the runtime is {runtime}",
            f"Give its folder, or a zip of it. {SERVED}",
        )
    raise SettingsRefused(
        f"{source} holds no index.py, where the handler {HANDLER} would be",
        f"Name it with --handler FILE.FUNCTION. {SERVED}",
    )


def _check_bootstrap(source: Path) -> None:
    there = on_top(source)
    if BOOTSTRAP not in there:
        raise SettingsRefused(
            f"a custom runtime without a command starts /code/{BOOTSTRAP}, and {source} holds no "
            f"file {BOOTSTRAP}",
            'Say what starts the server: --command "python3 server.py".',
        )
    if not there[BOOTSTRAP]:
        zipped = is_zip(source)
        bootstrap = source / BOOTSTRAP if source.is_dir() else source
        raise SettingsRefused(
            f"{f'{BOOTSTRAP} in {source}' if zipped else bootstrap} cannot be started: it is not "
            "executable",
            f"chmod +x {BOOTSTRAP}, and zip it again." if zipped else f"chmod +x {bootstrap}",
        )


def _check_command(source: Path, command: Sequence[str]) -> None:
    """Look for a program that a package leaves out. Raises SettingsRefused."""
    for word in command:
        path = PurePosixPath(word.removeprefix("/code/"))
        folders = [] if path.is_absolute() else list(path.parents)[:-1]
        if any(is_virtual_environment(source / folder) for folder in folders):
            raise SettingsRefused(
                f"{word} is in a virtual environment, which is left out of packages: it works only "
                "where it was made",
                f'Install with `pip install --target {source} …`, and start with "python3 -m …".',
            )
