"""`anyfc logs`: what a function printed."""

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from anyfc.cli.connection import DataDirOption, EndpointOption, JsonOption, connected, fail

if TYPE_CHECKING:
    from anyfc.client import LogLine

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
        try:
            for line in client.logs(name, request_id=request_id, since=start, follow=follow):
                typer.echo(render_json(line) if as_json else render_line(line))
        except KeyboardInterrupt:
            raise typer.Exit(0 if follow else 130) from None


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
