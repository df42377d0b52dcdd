"""`anyfc deploy`: a folder, a file or a zip becomes a function, and gets an address."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from anyfc.cli.address import ROUTE, Ways, open_ways, read_certificate
from anyfc.cli.check import SettingsRefused, settle_name
from anyfc.cli.connection import (
    DataDirOption,
    EndpointOption,
    JsonOption,
    connected,
    fail,
    read_settings,
)
from anyfc.cli.function import (
    CommandOption,
    ConcurrencyOption,
    EnvOption,
    HandlerOption,
    HealthCheckOption,
    HookTimeoutOption,
    InitializerOption,
    PortOption,
    RuntimeOption,
    TimeoutOption,
    custom_runtime,
    given_settings,
    hooks,
    parse_variables,
    plan,
    render_start,
    send,
)
from anyfc.cli.package import read_package
from anyfc.cli.progress import uploading, waiting
from anyfc.cli.show import render_size
from anyfc.cli.source import PackageError
from anyfc.cli.terminal import tell
from anyfc.runtime.table import CUSTOM

if TYPE_CHECKING:
    from anyfc.client import Client

Json = dict[str, Any]

TURNS = (
    "its instances have no network of their own on this server: of all that listen on port {}, "
    "one runs at a time"
)
OWN_PORT = (
    "port {} is the server's own, and instances have no network of their own here: this one cannot "
    "listen there. Give the function another --port, or start the server with another one"
)


def deploy(
    source: Annotated[Path, typer.Argument(help="A folder, one source file, or a zip.")],
    name: Annotated[str, typer.Option(help="Default: the name of the folder or file.")] = "",
    runtime: RuntimeOption = None,
    handler: HandlerOption = None,
    command: CommandOption = None,
    port: PortOption = None,
    health_check: HealthCheckOption = None,
    description: Annotated[str | None, typer.Option()] = None,
    timeout: TimeoutOption = None,
    memory: Annotated[int | None, typer.Option(help="MiB, a multiple of 64.")] = None,
    cpu: Annotated[float | None, typer.Option(help="Cores, a multiple of 0.05.")] = None,
    disk: Annotated[int | None, typer.Option(help="MiB, 512 or 10240.")] = None,
    concurrency: ConcurrencyOption = None,
    env: EnvOption = None,
    initializer: InitializerOption = None,
    initializer_timeout: HookTimeoutOption = None,
    pre_stop: Annotated[
        str | None,
        typer.Option(
            help="Handler of the pre-stop hook; with a custom runtime any word has GET /pre-stop "
            "called."
        ),
    ] = None,
    pre_stop_timeout: HookTimeoutOption = None,
    role: Annotated[str | None, typer.Option(help="ARN of the function's role.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="ARN of a layer version; may be repeated.")
    ] = None,
    http: Annotated[
        bool, typer.Option("--http", help="Give it an HTTP trigger; a new one lets everybody in.")
    ] = False,
    auth: Annotated[
        str | None,
        typer.Option(help="Who may call the trigger: anonymous, function, jwt, bearer or basic."),
    ] = None,
    auth_config: Annotated[
        Path | None, typer.Option(help="JSON file with the settings of --auth.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="What the trigger lets through: GET,POST. Default for a new one: all."),
    ] = None,
    domain: Annotated[
        str, typer.Option(help="Custom domain with a route to it; made if it is not there.")
    ] = "",
    route: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help=f"Path of the route, exact or with * at its end. Default: {ROUTE}.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file: has the domain speak HTTPS too.")
    ] = None,
    private_key: Annotated[
        Path | None, typer.Option(help="PEM file with the key of --certificate.")
    ] = None,
    endpoint: EndpointOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a function, or give an existing one new code and settings.

    Settings that are not given keep their values when the function exists. --auth, --auth-config
    and --methods include --http.
    """
    began = time.monotonic()
    try:
        name = settle_name(name, source)
    except SettingsRefused as error:
        fail(f"deploy {source}", str(error), error.hint)
    doing = f"deploy {name}"
    try:
        settings = given_settings(
            runtime=runtime,
            handler=handler,
            customRuntimeConfig=custom_runtime(
                command=command, port=port, health_check=health_check
            ),
            description=description,
            timeout=timeout,
            memorySize=memory,
            cpu=cpu,
            diskSize=disk,
            instanceConcurrency=concurrency,
            role=role,
            layers=layer,
            environmentVariables=parse_variables(env),
            instanceLifecycleConfig=hooks(
                initializer=(initializer, initializer_timeout), preStop=(pre_stop, pre_stop_timeout)
            ),
        )
        trigger = given_settings(
            authType=auth,
            authConfig=read_auth_config(auth_config),
            methods=parse_methods(methods),
        )
        ways = Ways(
            trigger=trigger if http or trigger else None,
            domain=domain,
            route=route or ROUTE,
            certificate=read_certificate(certificate, private_key),
        )
        if not domain and (route or ways.certificate):
            raise ValueError("--route, --certificate and --private-key need a --domain")
    except ValueError as error:
        fail(doing, str(error))
    try:
        with waiting(f"Packing {source}"):
            package = read_package(source, data_dir=read_settings(doing, data_dir).data_dir)
    except PackageError as error:
        fail(doing, f"packing failed: {error}")
    for note in package.notes:
        tell(f"left out: {note}")
    with connected(doing, endpoint=endpoint, data_dir=data_dir) as client:
        function, new = put_function(client, name, source, settings, package.data)
        done = "created" if new else "updated"
        took_s = time.monotonic() - began
        shown, lines = open_ways(client, name, ways, so_far=f"{name} itself is {done}")
        lines += note_turns(client, function)
    if as_json:
        typer.echo(json.dumps({**function, **shown}, indent=2, ensure_ascii=False))
        return
    size = render_size(len(package.data))
    lines.insert(0, f"{done} {name} · {render_start(function)} · {size} · {took_s:.2f} s")
    typer.echo("\n".join(lines))


def put_function(
    client: "Client", name: str, source: Path, settings: Json, package: bytes
) -> tuple[Json, bool]:
    """Create a function or update it, and say whether it was created.

    Ends the command if the settings cannot be meant. Raises ApiError.
    """
    try:
        wanted, new = plan(client, name, source, settings)
    except SettingsRefused as error:
        fail(f"deploy {name}", str(error), error.hint)
    with uploading(f"Uploading {render_size(len(package))}") as progress:
        return send(client, name, wanted, package, new=new, progress=progress), new


def parse_methods(text: str | None) -> list[str] | None:
    """Read `GET,POST`."""
    if text is None:
        return None
    return [word.strip().upper() for word in text.split(",") if word.strip()]


def read_auth_config(path: Path | None) -> Json | None:
    """Raises ValueError."""
    if path is None:
        return None
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"--auth-config: {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"--auth-config: {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"--auth-config: {path} holds no JSON object")
    return content


def note_turns(client: "Client", function: Json) -> list[str]:
    """Say what having no networks of their own means for instances that listen.

    Raises ApiError.
    """
    if function.get("runtime") not in CUSTOM:
        return []
    if client.describe_server().get("ownNetworks", True):
        return []
    port = function["customRuntimeConfig"]["port"]
    text = OWN_PORT if port == urlsplit(client.endpoint).port else TURNS
    return [text.format(port)]
