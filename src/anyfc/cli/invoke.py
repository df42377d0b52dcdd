"""`anyfc invoke`: the body on stdout, all else on stderr."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anyfc.cli.connection import DataDirOption, EndpointOption, connected, fail
from anyfc.cli.terminal import harmless, is_terminal, tell

if TYPE_CHECKING:
    from anyfc.client import Answer


def invoke(
    name: Annotated[str, typer.Argument(help="The function.")],
    event: Annotated[
        str | None, typer.Argument(help="The event as text, or - to read it from stdin.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the event from a file.")
    ] = None,
    tail: Annotated[
        bool, typer.Option("--tail", help="Show the end of the invocation's log (4 KiB).")
    ] = False,
    qualifier: Annotated[str, typer.Option(help="Version or alias; default LATEST.")] = "",
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
) -> None:
    """Run a function once and print what it returns.

    Exit code: 0 the function succeeded, 1 it failed, 2 it could not be invoked.
    """
    doing = f"invoke {name}"
    payload = read_event(doing, event, file)
    with connected(doing, endpoint=endpoint, data_dir=data_dir) as client:
        answer = client.invoke(name, payload, qualifier=qualifier, want_log_tail=tail)
    sys.stdout.buffer.write(answer.body)
    if is_terminal(sys.stdout) and not answer.body.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
    tell(render_answer(answer, for_terminal=is_terminal(sys.stderr)))
    if answer.error_type:
        raise typer.Exit(1)


def read_event(doing: str, event: str | None, file: Path | None) -> bytes:
    if event is not None and file is not None:
        fail(doing, "the event is given twice: as an argument and with --file")
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as error:
            fail(doing, f"cannot read the event from {file}: {error.strerror}")
    if event == "-":
        try:
            return sys.stdin.buffer.read() if sys.stdin is not None else b""
        except OSError as error:
            fail(doing, f"cannot read the event from standard input: {error.strerror}")
    # The shell's bytes, also where they are not UTF-8.
    return (event or "").encode("utf-8", "surrogateescape")


def render_answer(answer: "Answer", *, for_terminal: bool = False) -> str:
    """Say how an invocation went: outcome, what it took, and the log tail if there is one."""
    outcome = answer.error_type or "ok"
    lines = [
        f"{outcome} · status {answer.status} · {answer.duration_ms:.2f} ms · {answer.request_id}"
    ]
    if answer.log_tail:
        tail = answer.log_tail.decode("utf-8", "replace").rstrip("\n")
        lines += ["--- log", harmless(tail) if for_terminal else tail]
    return "\n".join(lines)
