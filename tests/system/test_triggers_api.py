"""Triggers and custom domains through the official SDK: create, read, update, list, delete."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from alibabacloud_fc20230330 import models
from support import ServerProcess, create_function, make_sdk, refused

CODE = "def handler(event, context):\n    return 'hello'\n"
HTTP = {"methods": ["GET", "POST"], "authType": "anonymous", "disableURLInternet": False}
CRON = '{"cronExpression":"@every 4m","payload":"p","enable":false}'


def create_trigger(sdk: Any, function: str, name: str, kind: str, config: str, **more: Any) -> Any:
    body = models.CreateTriggerInput(
        trigger_name=name, trigger_type=kind, trigger_config=config, **more
    )
    return sdk.create_trigger(function, models.CreateTriggerRequest(body=body)).body


def update_trigger(sdk: Any, function: str, name: str, **changes: Any) -> Any:
    body = models.UpdateTriggerInput(**changes)
    return sdk.update_trigger(function, name, models.UpdateTriggerRequest(body=body)).body


def list_triggers(sdk: Any, function: str, **query: Any) -> Any:
    return sdk.list_triggers(function, models.ListTriggersRequest(**query)).body


def create_domain(sdk: Any, name: str, **settings: Any) -> Any:
    body = models.CreateCustomDomainInput(domain_name=name, **settings)
    return sdk.create_custom_domain(models.CreateCustomDomainRequest(body=body)).body


def list_domains(sdk: Any, **query: Any) -> Any:
    return sdk.list_custom_domains(models.ListCustomDomainsRequest(**query)).body


def route(path: str, function: str, **more: Any) -> models.RouteConfig:
    return models.RouteConfig(routes=[models.PathConfig(path=path, function_name=function, **more)])


class TestTriggers:
    @pytest.fixture
    def function(self, sdk: Any) -> Any:
        name = create_function(sdk, CODE)
        yield name
        for trigger in list_triggers(sdk, name).triggers:
            sdk.delete_trigger(name, trigger.trigger_name)
        sdk.delete_function(name)

    def test_an_http_trigger_has_an_address_of_this_server(
        self, sdk: Any, server: ServerProcess, function: str
    ) -> None:
        made = create_trigger(sdk, function, "web", "http", json.dumps(HTTP), qualifier="LATEST")
        assert sdk.get_trigger(function, "web").body.to_map() == made.to_map()
        assert json.loads(made.trigger_config) == HTTP
        address = urlsplit(made.http_trigger.url_internet)
        assert address.port == server.port
        assert address.hostname is not None
        label, _, rest = address.hostname.partition(".")
        assert label.startswith(f"{function}-")
        assert rest == "cn-hangzhou.fcapp.localhost"

    def test_an_update_changes_what_it_names_and_not_the_address(
        self, sdk: Any, function: str
    ) -> None:
        before = create_trigger(sdk, function, "web", "http", json.dumps(HTTP), description="d")
        closed = json.dumps({**HTTP, "disableURLInternet": True}, separators=(",", ":"))
        after = update_trigger(sdk, function, "web", trigger_config=closed)
        assert after.trigger_config == closed
        assert after.description == "d"
        assert after.http_trigger.to_map() == before.http_trigger.to_map()
        assert sdk.get_trigger(function, "web").body.to_map() == after.to_map()

    def test_triggers_are_listed_in_pages_and_deleted(self, sdk: Any, function: str) -> None:
        for name in ("c", "a", "b"):
            create_trigger(sdk, function, name, "timer", CRON)
        page = list_triggers(sdk, function, limit=2)
        assert [trigger.trigger_name for trigger in page.triggers] == ["a", "b"]
        page = list_triggers(sdk, function, limit=2, next_token=page.next_token)
        assert [trigger.trigger_name for trigger in page.triggers] == ["c"]
        assert not page.next_token
        assert page.triggers[0].trigger_config == CRON
        sdk.delete_trigger(function, "c")
        with refused("TriggerNotFound", 404, "'c'"):
            sdk.get_trigger(function, "c")

    def test_what_stands_in_the_way_is_a_conflict(self, sdk: Any, function: str) -> None:
        create_trigger(sdk, function, "web", "http", json.dumps(HTTP))
        with refused("TriggerAlreadyExists", 409, "'web'"):
            create_trigger(sdk, function, "web", "timer", CRON)
        with refused("TriggerAlreadyExists", 409, "HTTP trigger"):
            create_trigger(sdk, function, "web2", "http", json.dumps(HTTP))
        with refused("FunctionNotEmpty", 409, f"function '{function}' has active triggers"):
            sdk.delete_function(function)

    def test_wrong_settings_are_refused(self, sdk: Any, function: str) -> None:
        with refused("InvalidArgument", 400, "triggerConfig.methods"):
            create_trigger(sdk, function, "web", "http", "{}")
        with refused("FunctionNotFound", 404):
            create_trigger(sdk, "nobody", "web", "http", json.dumps(HTTP))
        with refused("AliasNotFound", 404, "'prod'"):
            create_trigger(sdk, function, "web", "http", json.dumps(HTTP), qualifier="prod")


class TestCustomDomains:
    @pytest.fixture(autouse=True)
    def no_domains_left(self, sdk: Any) -> Any:
        yield
        for domain in list_domains(sdk).custom_domains:
            sdk.delete_custom_domain(domain.domain_name)

    def test_what_is_created_is_what_is_read(self, sdk: Any) -> None:
        made = create_domain(
            sdk,
            "*.example.com",
            protocol="HTTP",
            route_config=route(
                "/api/*",
                "f",
                methods=["GET"],
                rewrite_config=models.RewriteConfig(
                    wildcard_rules=[models.WildcardRule(match="/api/*", replacement="/$1")]
                ),
            ),
            cors_config=models.CORSConfig(allow_origins=["*"], allow_methods=["GET"]),
        )
        found = sdk.get_custom_domain("*.example.com").body
        assert found.to_map() == made.to_map()
        (read,) = found.route_config.routes
        assert (read.path, read.function_name, read.qualifier) == ("/api/*", "f", "LATEST")
        assert read.rewrite_config.wildcard_rules[0].replacement == "/$1"
        assert found.cors_config.max_age == 3600
        assert found.api_version == "2023-03-30"

    def test_an_update_changes_what_it_names_and_nothing_else(self, sdk: Any) -> None:
        before = create_domain(sdk, "a.example.com", route_config=route("/*", "f")).to_map()
        body = models.UpdateCustomDomainInput(route_config=route("/*", "g"))
        after = sdk.update_custom_domain(
            "a.example.com", models.UpdateCustomDomainRequest(body=body)
        ).body.to_map()
        changed = {key for key in after if after[key] != before.get(key)}
        assert changed - {"lastModifiedTime"} == {"routeConfig"}

    def test_domains_are_listed_in_pages_and_deleted(self, sdk: Any) -> None:
        for name in ("c.com", "a.com", "b.com"):
            create_domain(sdk, name)
        page = list_domains(sdk, limit=2)
        assert [domain.domain_name for domain in page.custom_domains] == ["a.com", "b.com"]
        page = list_domains(sdk, limit=2, next_token=page.next_token)
        assert [domain.domain_name for domain in page.custom_domains] == ["c.com"]
        assert not page.next_token
        sdk.delete_custom_domain("c.com")
        with refused("DomainNameNotFound", 404, "domain name 'c.com' does not exist"):
            sdk.get_custom_domain("c.com")

    def test_a_name_that_is_taken_and_wrong_settings_are_refused(self, sdk: Any) -> None:
        create_domain(sdk, "a.com")
        with refused("DomainNameAlreadyExists", 409, "a.com"):
            create_domain(sdk, "a.com")
        with refused("InvalidArgument", 400, "certConfig"):
            create_domain(sdk, "b.com", protocol="HTTPS")


def test_triggers_and_domains_are_there_after_a_restart(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server(data_dir=tmp_path)
    sdk = make_sdk(server)
    function = create_function(sdk, CODE)
    made = create_trigger(sdk, function, "web", "http", json.dumps(HTTP))
    create_domain(sdk, "a.com", route_config=route("/*", function))
    server.stop()
    sdk = make_sdk(start_server(data_dir=tmp_path))
    found = sdk.get_trigger(function, "web").body
    assert urlsplit(found.http_trigger.url_internet).hostname == (
        urlsplit(made.http_trigger.url_internet).hostname
    )
    assert sdk.get_custom_domain("a.com").body.route_config.routes[0].function_name == function
