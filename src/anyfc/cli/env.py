"""`anyfc env`: point the official SDKs and tools at this server."""

import json
import shlex
from collections.abc import Mapping

import typer

from anyfc.cli.connection import (
    DataDirOption,
    EndpointOption,
    JsonOption,
    explained,
    fail,
    find_endpoint,
    read_settings,
)


def env(
    endpoint: EndpointOption = "", data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Print the export lines that point SDKs and `s` at the server: eval "$(anyfc env)"."""
    from anyfc.client import check_endpoint
    from anyfc.identity.key import PairUnreadable, ensure_pair, mark_shown, read_pair

    doing = "show the key"
    config = read_settings(doing, data_dir)
    endpoint = endpoint or find_endpoint(doing, config.data_dir)
    with explained(doing):
        check_endpoint(endpoint)
    key = (config.access_key_id, config.access_key_secret)
    if not config.access_key_id:
        try:
            # As the server would make it: nobody else gets in.
            config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if read_pair(config.data_dir) is None:
                typer.echo(f"anyfc: made a new key in {config.data_dir.absolute()}", err=True)
            pair = ensure_pair(config.data_dir)
            mark_shown(config.data_dir)
        except (PairUnreadable, OSError) as error:
            fail(doing, str(error))
        key = (pair.access_key_id, pair.access_key_secret)
    variables = {
        "FC_CLIENT_CUSTOM_ENDPOINT": endpoint,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": key[0],
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": key[1],
        "FC_ACCOUNT_ID": config.account_id,
        "FC_REGION": config.region,
    }
    typer.echo(json.dumps(variables, indent=2) if as_json else render_exports(variables))


def render_exports(variables: Mapping[str, str]) -> str:
    """Write variables as lines that a shell can evaluate."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
