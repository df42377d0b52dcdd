"""How a function is reached: its HTTP trigger, routes of custom domains. `anyfc url`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from anyfc.cli.connection import (
    DataDirOption,
    EndpointOption,
    JsonOption,
    connected,
    explained,
    fail,
)

if TYPE_CHECKING:
    from anyfc.client import Client

Json = dict[str, Any]

TRIGGER = "http"
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
LATEST = "LATEST"
ROUTE = "/*"


def url(
    name: Annotated[str, typer.Argument(help="The function.")],
    proxy: Annotated[
        bool,
        typer.Option("--proxy", help="The address for clients that cannot choose the Host."),
    ] = False,
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the address of a function's HTTP trigger."""
    doing = f"find the address of {name}"
    with connected(doing, endpoint=endpoint, data_dir=data_dir) as client:
        trigger = find_http_trigger(client, name)
        if trigger is None:
            fail(
                doing,
                f"{name} has no HTTP trigger",
                f"Make one: anyfc deploy FOLDER --name {name} --http",
            )
        shown = show_address(client, name, trigger)
    if as_json:
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        typer.echo(shown["proxy" if proxy else "url"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a function is to be reached by HTTP."""

    trigger: Json | None  # settings of its HTTP trigger; None: leave that as it is
    domain: str = ""
    route: str = ROUTE
    certificate: Json | None = None  # of the domain; None: leave that as it is


def open_ways(client: "Client", name: str, ways: Ways, *, so_far: str) -> tuple[Json, list[str]]:
    """Make or change what leads to a function; returns that, and lines that say where it is.

    Ends the command with an explanation that tells what is done `so_far`. Raises ApiError.
    """
    shown: Json = {}
    lines = []
    if ways.trigger is not None:
        with explained(f"give {name} an HTTP trigger; {so_far}"):
            trigger: Json | None = put_http_trigger(client, name, ways.trigger)
    else:
        trigger = find_http_trigger(client, name)
    if trigger is not None:
        shown["httpTrigger"] = trigger["httpTrigger"]
        lines.append(render_trigger(trigger))
    if ways.domain:
        with explained(f"route {ways.domain}{ways.route} to {name}; {so_far}"):
            domain, before = put_route(
                client, ways.domain, ways.route, name, certificate=ways.certificate
            )
        shown["customDomain"] = domain
        server = client.describe_server()
        lines += render_route(domain, ways.route, before, client.endpoint, server.get("tlsPort"))
        problem = server.get("tlsProblem")
        if problem and "HTTPS" in domain["protocol"]:
            lines.append(f"https is not served just now: {problem}")
    return shown, lines


# --- triggers -----------------------------------------------------------------------------------


def find_http_trigger(client: "Client", name: str) -> Json | None:
    """Return the HTTP trigger of a function; there is one at most. Raises ApiError."""
    for trigger in client.list_triggers(name):
        if trigger["triggerType"] == "http" and trigger["qualifier"] == LATEST:
            return trigger
    return None


def put_http_trigger(client: "Client", name: str, given: Mapping[str, Any]) -> Json:
    """Give a function an HTTP trigger that lets everybody in, or change settings of the one it has.

    Raises ApiError.
    """
    trigger = find_http_trigger(client, name)
    if trigger is None:
        config = {"methods": list(METHODS), "authType": "anonymous", **given}
        return client.create_trigger(
            name,
            {"triggerName": TRIGGER, "triggerType": "http", "triggerConfig": json.dumps(config)},
        )
    old = read_config(trigger)
    config = {**old, **given}
    if config["authType"] != old["authType"] and "authConfig" not in given:
        config.pop("authConfig", None)  # it was the other one's
    if config == old:
        return trigger
    return client.update_trigger(
        name, trigger["triggerName"], {"triggerConfig": json.dumps(config)}
    )


def read_config(trigger: Mapping[str, Any]) -> Json:
    """Return the settings of an HTTP trigger, with the authentication it has if none is set."""
    return {"authType": "function", **json.loads(trigger["triggerConfig"])}


def show_address(client: "Client", name: str, trigger: Mapping[str, Any]) -> Json:
    """Return the addresses of an HTTP trigger, and who may call there and how."""
    config = read_config(trigger)
    return {
        "url": trigger["httpTrigger"]["urlInternet"],
        "proxy": f"{client.endpoint}/proxy/{quote(name, '')}",
        "trigger": trigger["triggerName"],
        "authType": config["authType"],
        "methods": config["methods"],
    }


# --- custom domains -----------------------------------------------------------------------------


def read_certificate(certificate: Path | None, private_key: Path | None) -> Json | None:
    """Return the settings of a certificate in two PEM files.

    Raises ValueError.
    """
    if certificate is None and private_key is None:
        return None
    if certificate is None or private_key is None:
        raise ValueError("--certificate and --private-key belong together")
    try:
        return {
            "certName": certificate.stem,
            "certificate": certificate.read_text(),
            "privateKey": private_key.read_text(),
        }
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{certificate} or {private_key} is not a PEM file") from error


def put_route(
    client: "Client", domain: str, path: str, function: str, *, certificate: Json | None = None
) -> tuple[Json, str]:
    """Have a path of a custom domain lead to a function; the domain is made if it is not there.

    With a certificate it speaks HTTPS too; one that speaks nothing else goes on so. Returns the
    domain, and the function that the path led to before, if that was another. Raises ApiError.
    """
    from anyfc.client import ApiError

    route: Json = {"path": path, "functionName": function, "qualifier": LATEST}
    settings: Json = {}
    if certificate is not None:
        settings = {"protocol": "HTTP,HTTPS", "certConfig": certificate}
    try:
        found = client.get_custom_domain(domain)
    except ApiError as error:
        if error.code != "DomainNameNotFound":
            raise
        new = {"domainName": domain, "protocol": "HTTP", "routeConfig": {"routes": [route]}}
        return client.create_custom_domain({**new, **settings}), ""
    if found["protocol"] != "HTTP":
        settings.pop("protocol", None)
    routes = found["routeConfig"]["routes"]
    old = next((one for one in routes if one["path"] == path), None)
    if old is None:
        routes = [*routes, route]
    else:
        routes = [{**old, **route} if one is old else one for one in routes]
    changed = client.update_custom_domain(domain, {"routeConfig": {"routes": routes}, **settings})
    before = old["functionName"] if old is not None else ""
    return changed, before if before != function else ""


# --- words --------------------------------------------------------------------------------------


def render_trigger(trigger: Mapping[str, Any]) -> str:
    """Say where an HTTP trigger is and whom it lets in."""
    config = read_config(trigger)
    if config.get("disableURLInternet"):
        return "the address of its HTTP trigger is closed; custom domains work"
    methods = "" if set(METHODS) <= set(config["methods"]) else f" · {','.join(config['methods'])}"
    return f"at {trigger['httpTrigger']['urlInternet']} · {config['authType']}{methods}"


def render_route(
    domain: Mapping[str, Any], path: str, before: str, endpoint: str, https_port: int | None
) -> list[str]:
    """Say where a route of a custom domain is: at the ports of the server."""
    name, auth_type = domain["domainName"], domain["authConfig"]["authType"]
    was = f" · led to {before} before" if before else ""
    ports = {"HTTP": urlsplit(endpoint).port, "HTTPS": https_port}
    return [
        f"at {scheme.lower()}://{name}{f':{port}' if port else ''}{path} · {auth_type}{was}"
        for scheme, port in ports.items()
        if scheme in domain["protocol"].split(",")
    ]
