"""`anyfc logs`: what a function printed."""

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from anyfc.cli.connection import DataDirOption, EndpointOption, JsonOption, connected, fail
from anyfc.cli.function import find_function
from anyfc.cli.terminal import harmless, is_terminal, tell

if TYPE_CHECKING:
    from anyfc.client import Client, LogLine

LOOK_S = 2.0

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def logs(
    name: Annotated[str, typer.Argument(help="The function.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is printed from now on.")
    ] = False,
    request_id: Annotated[str, typer.Option(help="Only the lines of one request.")] = "",
    since: Annotated[str, typer.Option(help="Only lines younger than this: 30s, 5m, 2h, 1d.")] = "",
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the log of a function, oldest line first."""
    doing = f"read the log of {name}"
    try:
        start = time.time() - parse_age_s(since) if since else None
    except ValueError as error:
        fail(doing, f"--since: {error}")
    with connected(doing, endpoint=endpoint, data_dir=data_dir) as client:
        ended = threading.Event()
        if follow:
            look = partial(tell_of_end, client, name, ended.wait)
            threading.Thread(target=look, daemon=True).start()
        try:
            for line in client.logs(name, request_id=request_id, since=start, follow=follow):
                text = render_json(line) if as_json else render_line(line)
                typer.echo(harmless(text) if is_terminal(sys.stdout) else text)
            if follow:  # its end is not what was asked for: the server says why, or is gone
                client.get_function(name)
        except KeyboardInterrupt:
            raise typer.Exit(0 if follow else 130) from None
        finally:
            ended.set()


def tell_of_end(client: "Client", name: str, wait: Callable[[float], bool]) -> None:
    """Say when a function is deleted: its log goes on without a word, with a new one of its name.

    `wait` takes seconds, and says whether that was all.
    """
    from anyfc.client import ApiError

    there = True
    while not wait(LOOK_S):
        try:
            found = find_function(client, name) is not None
        except (ApiError, RuntimeError):
            return  # the log ends as well and says why, or has ended, and with it the client
        if there and not found:
            tell(f"{name} was deleted; a new function of this name would go on here")
        there = found


def parse_age_s(text: str) -> float:
    """Read `30s`, `5m`, `2h`, `1d` or plain seconds.

    Raises ValueError.
    """
    parts = _AGE.fullmatch(text.strip())
    if not parts:
        raise ValueError(f"'{text}' is not an age such as 30s, 5m, 2h or 1d")
    return float(parts[1]) * _UNIT_S[parts[2]]


def render_line(line: "LogLine") -> str:
    then = datetime.fromtimestamp(line.time, UTC)
    return f"{then:%Y-%m-%d %H:%M:%S}.{then.microsecond // 1000:03d}  {line.message.rstrip()}"


def render_json(line: "LogLine") -> str:
    """Write a line as the API does."""
    return json.dumps(
        {
            "time": line.time,
            "requestId": line.request_id,
            "instanceId": line.instance_id,
            "message": line.message,
        },
        ensure_ascii=False,
    )
