"""Which server a command talks to and as whom, and how it says that something went wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from anyfc.cli.terminal import tell
from anyfc.config import Config, SettingError, read_config

if TYPE_CHECKING:
    from anyfc.client import ApiError, Client

SERVER_FILE = "server.json"

_HINTS = {
    "ConnectFailed": "Is the server running? Start it with `anyfc serve`, or say where it is "
    "with --endpoint.",
    "ConnectionLost": "Did the server stop? Its own output says why.",
    "BadAnswer": "Say where the anyfc server is with --endpoint.",
    "InvalidEndpoint": "Give --endpoint (or ANYFC_ENDPOINT) as http://HOST:PORT.",
    "InvalidText": "Names and settings are text in UTF-8.",
    "FunctionNotFound": "`anyfc list` shows the functions there are.",
    "InvalidAccessKeyID": "The key belongs to another server: check --data-dir, or "
    "ANYFC_ACCESS_KEY_ID and ANYFC_ACCESS_KEY_SECRET.",
    "SignatureNotMatch": "The secret is wrong: check --data-dir, or ANYFC_ACCESS_KEY_ID and "
    "ANYFC_ACCESS_KEY_SECRET.",
}

EndpointOption = Annotated[
    str,
    typer.Option(
        "--endpoint",
        envvar="ANYFC_ENDPOINT",
        show_default=False,
        help="The server: http://HOST:PORT. Default: the one running on the data directory.",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="ANYFC_DATA_DIR",
        show_default=False,
        help="The server's data directory; its key is used. Default: anyfc-data.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def fail(doing: str, why: str, hint: str = "") -> NoReturn:
    """Say on stderr what could not be done, why, and what to do about it; exit with 2."""
    lines = [f"anyfc: could not {doing}", why, hint]
    tell("\n  ".join(line for line in lines if line))
    raise typer.Exit(2)


@contextmanager
def connected(doing: str, *, endpoint: str, data_dir: Path | None) -> Iterator["Client"]:
    """Yield a client of the server; what the API refuses ends the command with an explanation."""
    from anyfc.client import Client

    config = read_settings(doing, data_dir)
    access_key_id, access_key_secret = _find_key(doing, config)
    with (
        explained(doing),
        Client(
            endpoint or find_endpoint(doing, config.data_dir),
            access_key_id=access_key_id,
            access_key_secret=access_key_secret,
        ) as client,
    ):
        yield client


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """End the command with an explanation when the API refuses what is asked in the block."""
    from anyfc.client import ApiError

    try:
        yield
    except ApiError as error:
        fail(doing, describe(error), _HINTS.get(error.code, ""))


def read_settings(doing: str, data_dir: Path | None, **given: Any) -> Config:
    try:
        return read_config(data_dir=data_dir, **given)
    except SettingError as error:
        fail(doing, str(error))


def find_endpoint(doing: str, data_dir: Path) -> str:
    """Return where the server of a data directory listens, or where it would by default."""
    path = data_dir / SERVER_FILE
    try:
        return str(json.loads(path.read_bytes())["endpoint"])
    except FileNotFoundError:
        config = Config()
        return f"http://{config.host}:{config.port}"
    except (OSError, ValueError, TypeError, KeyError) as error:
        fail(doing, f"{path} cannot be read: {error!r}", "Say where the server is with --endpoint.")


def describe(error: "ApiError") -> str:
    status = f" ({error.status})" if error.status else ""
    request = f"\n  request id: {error.request_id}" if error.request_id else ""
    return f"{error.code}{status}: {error.message}{request}"


def _find_key(doing: str, config: Config) -> tuple[str, str]:
    from anyfc.identity.key import PairUnreadable, read_pair

    if config.access_key_id:
        return config.access_key_id, config.access_key_secret
    try:
        pair = read_pair(config.data_dir)
    except PairUnreadable as error:
        fail(doing, str(error))
    if pair is None:
        fail(
            doing,
            f"no access key: there is none in the data directory {config.data_dir}, and "
            "ANYFC_ACCESS_KEY_ID is not set",
            "Start the server with `anyfc serve`, or name its data directory with --data-dir.",
        )
    return pair.access_key_id, pair.access_key_secret
