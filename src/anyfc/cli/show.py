"""`anyfc list`, `show` and `delete`: tables for people, JSON for scripts."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from anyfc.cli.connection import DataDirOption, EndpointOption, JsonOption, connected
from anyfc.cli.terminal import is_terminal, tell

Json = dict[str, Any]

COLUMNS = ("NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CODE", "CHANGED")

# What `show` prints, in this order: wire name and unit.
FIELDS = {
    "functionName": "",
    "description": "",
    "functionArn": "",
    "runtime": "",
    "handler": "",
    "customRuntimeConfig": "",
    "timeout": "s",
    "memorySize": "MiB",
    "cpu": "cores",
    "diskSize": "MiB",
    "instanceConcurrency": "",
    "environmentVariables": "",
    "instanceLifecycleConfig": "",
    "role": "",
    "layers": "",
    "codeSize": "bytes",
    "codeChecksum": "",
    "createdTime": "",
    "lastModifiedTime": "",
    "invocationRestriction": "",
    "state": "",
    "stateReason": "",
}


def list_(
    prefix: Annotated[str, typer.Option(help="Only names that begin with this.")] = "",
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the functions."""
    with connected("list the functions", endpoint=endpoint, data_dir=data_dir) as client:
        functions = list(client.list_functions(prefix=prefix))
    if as_json:
        typer.echo(json.dumps(functions, indent=2, ensure_ascii=False))
    elif functions:
        print_table(COLUMNS, [row(function) for function in functions])
    elif prefix:
        tell(f"no function has a name that begins with {prefix}")
    else:
        tell("no functions yet; `anyfc deploy FOLDER` makes one")


def show(
    name: Annotated[str, typer.Argument(help="The function.")],
    qualifier: Annotated[str, typer.Option(help="Version or alias; default LATEST.")] = "",
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the settings of a function."""
    with connected(f"show {name}", endpoint=endpoint, data_dir=data_dir) as client:
        function = client.get_function(name, qualifier=qualifier)
    typer.echo(
        json.dumps(function, indent=2, ensure_ascii=False) if as_json else render_function(function)
    )


def delete(
    name: Annotated[str, typer.Argument(help="The function.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
) -> None:
    """Delete a function, its triggers and its code. Asks when a person is at the terminal."""
    if not yes and is_terminal(sys.stdin):
        typer.confirm(f"Delete the function {name}, its triggers and its code?", abort=True)
    with connected(f"delete {name}", endpoint=endpoint, data_dir=data_dir) as client:
        for trigger in list(client.list_triggers(name)):
            client.delete_trigger(name, trigger["triggerName"])
        client.delete_function(name)
    typer.echo(f"deleted {name}")


def row(function: Json) -> tuple[str, ...]:
    return (
        str(function.get("functionName", "")),
        str(function.get("runtime", "")),
        str(function.get("handler", "")),
        f"{function.get('memorySize', 0)} MiB",
        f"{function.get('timeout', 0)} s",
        render_size(int(function.get("codeSize") or 0)),
        str(function.get("lastModifiedTime", "")),
    )


def render_function(function: Json) -> str:
    """Write the settings that are set, one to a line."""
    width = max(len(name) for name in FIELDS)
    lines = []
    for name, unit in FIELDS.items():
        value = function.get(name)
        if value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(f"{name:<{width}}  {text} {unit}".rstrip())
    return "\n".join(lines)


def render_size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on a terminal, and fields with tabs between them into a pipe."""
    if not is_terminal(sys.stdout):
        for line in (columns, *rows):
            typer.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in rows:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)
