"""Custom domains and addresses of triggers on a real server: hosts, paths and ports."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from alibabacloud_fc20230330 import models
from support import ServerProcess, create_function, make_sdk, wait_until
from transport import Seen
from wire import Raw

from anyfc.web.tls import make_self_signed

CODE = """
import json


def handler(event, context):
    return {"statusCode": 200, "body": json.loads(event)["rawPath"]}
"""
RETRIED_WITHIN_S = 30.0


def ask(server: ServerProcess, host: bytes, target: bytes = b"/") -> Seen:
    with Raw(server) as raw:
        raw.send(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host))
        return raw.read()


@pytest.fixture
def function(sdk: Any) -> Iterator[str]:
    name = create_function(sdk, CODE)
    yield name
    for trigger in sdk.list_triggers(name, models.ListTriggersRequest()).body.triggers:
        sdk.delete_trigger(name, trigger.trigger_name)
    sdk.delete_function(name)


def create_domain(sdk: Any, name: str, function: str, path: str = "/*", **settings: Any) -> None:
    rewrite = settings.pop("rewrite_config", None)
    route = models.PathConfig(path=path, function_name=function, rewrite_config=rewrite)
    body = models.CreateCustomDomainInput(
        domain_name=name, route_config=models.RouteConfig(routes=[route]), **settings
    )
    sdk.create_custom_domain(models.CreateCustomDomainRequest(body=body))


def test_paths_that_are_no_ascii_lead_where_they_say(
    server: ServerProcess, sdk: Any, function: str
) -> None:
    rules = [models.WildcardRule(match="/中/*", replacement="/新 b/$1")]
    rewrite = models.RewriteConfig(wildcard_rules=rules)
    create_domain(sdk, "paths.example.org", function, "/中/*", rewrite_config=rewrite)
    try:
        # White space behind a header is no part of it.
        seen = ask(server, b"paths.example.org \t", b"/%E4%B8%AD/x")
        assert (seen.status, seen.body) == (200, b"/%E6%96%B0%20b/x")
    finally:
        sdk.delete_custom_domain("paths.example.org")


def test_a_closed_trigger_is_reached_from_this_machine_by_its_internal_address_alone(
    server: ServerProcess, sdk: Any, function: str
) -> None:
    config = {"methods": ["GET"], "authType": "anonymous", "disableURLInternet": True}
    body = models.CreateTriggerInput(
        trigger_name="web", trigger_type="http", trigger_config=json.dumps(config)
    )
    addresses = sdk.create_trigger(function, models.CreateTriggerRequest(body=body)).body
    statuses = {}
    for address in (addresses.http_trigger.url_internet, addresses.http_trigger.url_intranet):
        host = urlsplit(address).netloc
        statuses["-vpc." in host] = ask(server, host.encode()).status
    assert statuses == {False: 403, True: 200}


def test_a_server_whose_port_for_https_is_taken_serves_http_and_https_when_it_is_free(
    start_server: Callable[..., ServerProcess],
) -> None:
    certificate, private_key = make_self_signed("tls.example.org")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_server(env={"ANYFC_TLS_PORT": str(port)})
        sdk = make_sdk(server)
        create_domain(
            sdk,
            "tls.example.org",
            create_function(sdk, CODE),
            protocol="HTTP,HTTPS",
            cert_config=models.CertConfig(
                cert_name="c", certificate=certificate, private_key=private_key
            ),
        )
        wait_until(lambda: "setting=ANYFC_TLS_PORT" in server.output)
        assert f"127.0.0.1:{port}: address already in use" in server.output
        assert ask(server, b"tls.example.org", b"/a").body == b"/a"

    def connect() -> bool:
        try:
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain, server_hostname="tls.example.org"),
            ):
                return True
        except ConnectionError:
            return False

    context = ssl.create_default_context(cadata=certificate)
    wait_until(connect, RETRIED_WITHIN_S)
    assert server.output.count("https is not served") == 1
