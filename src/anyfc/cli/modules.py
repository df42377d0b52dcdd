"""`anyfc modules`: install the modules that the cloud's Python runtimes bring."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anyfc.cli.connection import DataDirOption, fail, read_settings
from anyfc.cli.progress import waiting

if TYPE_CHECKING:
    from anyfc.config import Config
    from anyfc.sandbox.interpreter import Interpreter


def modules(
    runtime: Annotated[str, typer.Argument(help="For example python3.10.")],
    only: Annotated[str, typer.Option(help="Just these, with commas between: oss2,requests.")] = "",
    data_dir: DataDirOption = None,
) -> None:
    """Install the modules that a runtime has in the cloud, for all functions on this server.

    They replace what an earlier run installed. New instances see them; the server needs no restart.
    """
    from anyfc.runtime.preinstalled import requirements
    from anyfc.runtime.table import PYTHON, explain

    doing = f"install the modules of {runtime}"
    if runtime not in PYTHON:
        fail(doing, f"there is no such Python runtime; there are {', '.join(PYTHON)}")
    config = read_settings(doing, data_dir)
    interpreters = find_here(config)
    if not interpreters:
        fail(doing, explain(runtime, interpreters))
    interpreter = choose(runtime, interpreters)
    try:
        wanted = requirements(runtime, interpreter.version, [x for x in only.split(",") if x])
    except ValueError as error:
        fail(doing, f"--only: {error}")
    pip = find_pip(interpreter)
    if pip is None:
        fail(doing, f"{interpreter} has no pip, and neither has the one that runs anyfc")
    typer.echo(f"installing {len(wanted)} modules and what they need for {interpreter}", err=True)
    folder = config.data_dir / "modules" / "python{}.{}".format(*interpreter.version)
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # as the server makes it
        with waiting("pip is at work"):
            installed = install(pip, wanted, folder)
    except OSError as error:
        fail(doing, str(error))
    if not installed:
        fail(
            doing,
            "pip failed; it said above why. Nothing was changed.",
            "Leave out what cannot be installed here: name the others with --only.",
        )
    typer.echo(f"installed in {folder}")


def find_here(config: "Config") -> "list[Interpreter]":
    """Return the interpreters that the server would find with the same settings."""
    from anyfc.sandbox.choice import candidates, gives_up_rights_early
    from anyfc.sandbox.interpreter import default_search, find_interpreters

    root = os.geteuid() == 0
    level = candidates(config.isolation, root=root)[0]
    search = default_search(os.environ.get("PATH", ""), Path.home())
    return find_interpreters(search, for_everybody=gives_up_rights_early(level, root=root))


def choose(runtime: str, interpreters: "Sequence[Interpreter]") -> "Interpreter":
    from anyfc.runtime.table import pick

    interpreter = pick(runtime, interpreters)
    assert interpreter is not None
    return interpreter


def find_pip(interpreter: "Interpreter") -> list[str] | None:
    """Return the command of a pip that installs for an interpreter: its own, or else ours."""
    own = [interpreter.path, "-m", "pip"]
    ours = [sys.executable, "-m", "pip", "--python", interpreter.path]
    for command in (own, ours):
        if not subprocess.run([*command, "--version"], capture_output=True).returncode:
            return command
    return None


def install(pip: Sequence[str], wanted: Sequence[str], folder: Path) -> bool:
    """Let pip fill a new folder, and put it in the place of `folder` when pip has succeeded."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.chmod(0o711)  # functions run as another user, who passes through
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
        fresh, old = Path(scratch) / "fresh", Path(scratch) / "old"
        options = ["--quiet", "--disable-pip-version-check", "--target", str(fresh)]
        # That user must be able to read what this one installs.
        done = subprocess.run([*pip, "install", *options, *wanted], umask=0o022)
        if done.returncode:
            return False
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    return True
