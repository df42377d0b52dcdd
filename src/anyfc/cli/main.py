"""The tree of commands. Each command's module is imported when that command is asked for."""

import errno
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from anyfc import __version__
from anyfc.cli.connection import fail
from anyfc.cli.terminal import abandon

# Name → module and function, in the order in which help shows them.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("anyfc.cli.serve", "serve"),
    "env": ("anyfc.cli.env", "env"),
    "deploy": ("anyfc.cli.deploy", "deploy"),
    "dev": ("anyfc.cli.dev", "dev"),
    "url": ("anyfc.cli.address", "url"),
    "invoke": ("anyfc.cli.invoke", "invoke"),
    "logs": ("anyfc.cli.logs", "logs"),
    "list": ("anyfc.cli.show", "list_"),
    "show": ("anyfc.cli.show", "show"),
    "delete": ("anyfc.cli.show", "delete"),
    "doctor": ("anyfc.cli.serve", "doctor"),
    "modules": ("anyfc.cli.modules", "modules"),
    "demo": ("anyfc.cli.demo.run", "demo"),
}


# What writing fails with; what else fails has the name of a file, or is explained where it does.
UNWRITABLE = frozenset(
    (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
)


class CommandTree(TyperGroup):
    """A group that builds a command when it is looked up, from the table above."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; output that nobody can have ends it."""
        if sys.stdout is None:
            fail("write the output", "standard output is closed", "Send it to /dev/null.")
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is not None or error.errno not in UNWRITABLE:
                raise
            fail("write the output", str(error.strerror))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        return build(cmd_name, getattr(import_module(module), function))


def build(name: str, function: Callable[..., None]) -> Any:
    """Make the command of a function, from its signature and its docstring."""
    one = typer.Typer(add_completion=False)
    one.command(name)(function)
    return typer.main.get_command(one)


app = typer.Typer(
    name="anyfc",
    cls=CommandTree,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anyfc {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Run functions written for Alibaba Cloud Function Compute, anywhere."""


def main() -> None:
    """Run the command line; the exit code says how it went.

    0: done. 1: the function that was invoked failed. 2: the command could not be carried out.
    """
    try:
        app()
    finally:
        for stream in (sys.stdout, sys.stderr):
            abandon(stream)
