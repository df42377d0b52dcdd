import json

import pytest
from typer.testing import CliRunner

from anyfc.cli.address import (
    Ways,
    open_ways,
    put_http_trigger,
    put_route,
    read_certificate,
    render_route,
    render_trigger,
)
from anyfc.cli.main import app

URL = "http://web-qwertzuiop.cn-hangzhou.fcapp.localhost:9000"


def trigger(name="web", **config):
    return {
        "triggerName": name,
        "triggerType": "http",
        "qualifier": "LATEST",
        "triggerConfig": json.dumps({"methods": ["GET"], **config}),
        "httpTrigger": {"urlInternet": URL},
    }


@pytest.fixture
def functions(api):
    """A server with a function that has no trigger, and one that has."""
    api.kept["/functions/plain"] = {}
    api.kept["/functions/f"] = {}
    api.kept["/functions/f/triggers/timer"] = {
        "triggerName": "timer",
        "triggerType": "timer",
        "qualifier": "LATEST",
        "triggerConfig": "{}",
    }
    api.kept["/functions/f/triggers/web"] = trigger()
    return api


@pytest.fixture
def client(functions):
    from anyfc.client import Client

    with Client("http://127.0.0.1:9000", access_key_id="id", access_key_secret="s") as client:
        yield client


def run(*words):
    return CliRunner().invoke(app, ["url", *words])


def test_the_address_is_printed_and_nothing_else(functions):
    assert run("f").stdout == URL + "\n"


def test_the_address_without_a_host_name_is_that_of_the_proxy(functions):
    assert run("f", "--proxy").stdout == "http://127.0.0.1:9000/proxy/f\n"


def test_a_script_gets_all_of_it(functions):
    assert json.loads(run("f", "--json").stdout) == {
        "url": URL,
        "proxy": "http://127.0.0.1:9000/proxy/f",
        "trigger": "web",
        "authType": "function",
        "methods": ["GET"],
    }


def test_a_function_without_a_trigger_is_told_how_to_get_one(functions):
    result = run("plain")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "plain has no HTTP trigger" in result.stderr
    assert "--name plain --http" in result.stderr


def test_a_function_that_is_not_there_is_named(functions):
    result = run("gone")
    assert result.exit_code == 2
    assert "FunctionNotFound" in result.stderr
    assert "`anyfc list` shows" in result.stderr


def test_a_new_trigger_is_called_http_and_lets_everybody_in(functions, client):
    put_http_trigger(client, "plain", {"methods": ["GET"]})
    ((method, path, body),) = functions.sent
    assert (method, path) == ("POST", "/functions/plain/triggers/http")
    assert json.loads(body["triggerConfig"]) == {"methods": ["GET"], "authType": "anonymous"}


def test_the_trigger_that_is_there_keeps_what_is_not_given(functions, client):
    put_http_trigger(client, "f", {"methods": ["PUT"]})
    ((method, path, body),) = functions.sent
    assert (method, path) == ("PUT", "/functions/f/triggers/web")
    assert json.loads(body["triggerConfig"]) == {"methods": ["PUT"], "authType": "function"}


def test_a_trigger_that_stays_as_it_is_is_not_written(functions, client):
    assert put_http_trigger(client, "f", {})["triggerName"] == "web"
    put_http_trigger(client, "f", {"authType": "function"})
    assert functions.sent == []


def test_another_authentication_drops_the_settings_of_the_old_one(functions, client):
    functions.kept["/functions/f/triggers/web"] = trigger(authType="jwt", authConfig={"jwks": {}})
    put_http_trigger(client, "f", {"methods": ["PUT"]})
    assert json.loads(functions.bodies[0]["triggerConfig"])["authConfig"] == {"jwks": {}}
    put_http_trigger(client, "f", {"authType": "anonymous"})
    assert "authConfig" not in json.loads(functions.bodies[1]["triggerConfig"])


def test_a_domain_is_made_with_its_first_route(functions, client):
    domain, before = put_route(client, "example.com", "/*", "f")
    assert before == ""
    assert functions.bodies == [
        {
            "domainName": "example.com",
            "protocol": "HTTP",
            "routeConfig": {"routes": [{"path": "/*", "functionName": "f", "qualifier": "LATEST"}]},
        }
    ]
    assert domain["domainName"] == "example.com"


def test_a_route_is_added_to_those_that_are_there(functions, client):
    put_route(client, "example.com", "/a", "f")
    put_route(client, "example.com", "/b", "plain")
    routes = functions.bodies[1]["routeConfig"]["routes"]
    assert [(route["path"], route["functionName"]) for route in routes] == [
        ("/a", "f"),
        ("/b", "plain"),
    ]
    assert set(functions.bodies[1]) == {"routeConfig"}


def test_a_route_that_leads_elsewhere_now_says_where_it_led_and_keeps_its_settings(
    functions, client
):
    put_route(client, "example.com", "/a", "f")
    rewriting = {"equalRules": [{"match": "/a", "replacement": "/"}]}
    (route,) = functions.kept["/custom-domains/example.com"]["routeConfig"]["routes"]
    route["rewriteConfig"] = rewriting
    assert put_route(client, "example.com", "/a", "plain")[1] == "f"
    assert put_route(client, "example.com", "/a", "plain")[1] == ""
    (route,) = functions.bodies[1]["routeConfig"]["routes"]
    assert (route["functionName"], route["rewriteConfig"]) == ("plain", rewriting)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({}, f"at {URL} · function · GET"),
        ({"authType": "jwt"}, f"at {URL} · jwt · GET"),
        (
            {"methods": ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]},
            f"at {URL} · function",
        ),
        (
            {"disableURLInternet": True},
            "the address of its HTTP trigger is closed; custom domains work",
        ),
    ],
)
def test_an_address_is_shown_with_who_may_call_and_how(config, line):
    assert render_trigger(trigger(**config)) == line


@pytest.mark.parametrize(
    ("endpoint", "protocol", "places"),
    [
        ("http://127.0.0.1:9000", "HTTP", ["http://example.com:9000"]),
        (
            "http://127.0.0.1:9000",
            "HTTP,HTTPS",
            ["http://example.com:9000", "https://example.com:9443"],
        ),
        ("https://fc.example.com", "HTTP", ["http://example.com"]),
    ],
)
def test_a_route_is_shown_with_the_ports_of_the_server(endpoint, protocol, places):
    domain = {
        "domainName": "example.com",
        "protocol": protocol,
        "authConfig": {"authType": "anonymous"},
    }
    lines = [f"at {place}/a · anonymous" for place in places]
    assert render_route(domain, "/a", "", endpoint, 9443) == lines
    assert render_route(domain, "/a", "g", endpoint, 9443) == [
        f"{line} · led to g before" for line in lines
    ]


def test_a_port_that_nobody_knows_is_left_out():
    domain = {
        "domainName": "example.com",
        "protocol": "HTTPS",
        "authConfig": {"authType": "jwt"},
    }
    endpoint = "http://127.0.0.1:9000"
    assert render_route(domain, "/", "", endpoint, None) == ["at https://example.com/ · jwt"]


def test_a_certificate_makes_a_domain_speak_https_too(functions, client, tmp_path):
    for name in ("site.pem", "site.key"):
        (tmp_path / name).write_text(name)
    certificate = read_certificate(tmp_path / "site.pem", tmp_path / "site.key")
    assert certificate == {
        "certName": "site",
        "certificate": "site.pem",
        "privateKey": "site.key",
    }
    put_route(client, "example.com", "/*", "f")
    put_route(client, "example.com", "/*", "f", certificate=certificate)
    assert "certConfig" not in functions.bodies[0]
    assert functions.bodies[1]["certConfig"] == certificate
    assert functions.bodies[1]["protocol"] == "HTTP,HTTPS"


@pytest.mark.parametrize(
    ("was", "sent"), [("HTTP", "HTTP,HTTPS"), ("HTTPS", None), ("HTTP,HTTPS", None)]
)
def test_a_new_certificate_leaves_a_domain_that_speaks_https_as_it_is(was, sent, functions, client):
    put_route(client, "example.com", "/*", "f")
    functions.kept["/custom-domains/example.com"]["protocol"] = was
    put_route(client, "example.com", "/*", "f", certificate={"certName": "c"})
    assert functions.bodies[1]["certConfig"] == {"certName": "c"}
    assert functions.bodies[1].get("protocol") == sent


@pytest.mark.parametrize(("protocol", "told"), [("HTTP,HTTPS", True), ("HTTP", False)])
def test_https_that_is_not_served_is_said_where_it_is_wanted(
    protocol, told, functions, client, monkeypatch
):
    problem = "ANYFC_TLS_PORT: 127.0.0.1:9443: address already in use"
    monkeypatch.setattr(client, "describe_server", lambda: {"tlsProblem": problem})
    put_route(client, "example.com", "/*", "f")
    functions.kept["/custom-domains/example.com"]["protocol"] = protocol
    functions.kept["/custom-domains/example.com"]["authConfig"] = {"authType": "anonymous"}
    ways = Ways(trigger=None, domain="example.com")
    _, lines = open_ways(client, "plain", ways, so_far="")
    assert (f"https is not served just now: {problem}" in lines) is told


def test_a_certificate_that_cannot_be_read_is_named(tmp_path):
    gone, binary = tmp_path / "gone.pem", tmp_path / "binary.pem"
    binary.write_bytes(b"\xff\xfe")
    assert read_certificate(None, None) is None
    for certificate, private_key, why in (
        (gone, None, "belong together"),
        (gone, gone, "gone.pem: No such file"),
        (binary, binary, "is not a PEM file"),
    ):
        with pytest.raises(ValueError, match=why):
            read_certificate(certificate, private_key)
