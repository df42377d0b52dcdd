"""What every store of triggers and custom domains promises, whatever database it stands on."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from anyfc.errors import (
    AccessDenied,
    DomainNameAlreadyExists,
    DomainNameNotFound,
    FunctionNotEmpty,
    FunctionNotFound,
    LimitExceededError,
    TriggerAlreadyExists,
    TriggerNotFound,
)
from anyfc.model.access import Basic, Cors, Jwt, Lookup, User
from anyfc.model.domain import Certificate, CustomDomain, Rewrite, Route, Rule, Tls
from anyfc.model.function import CustomRuntime, Function, HealthCheck, Hook
from anyfc.model.trigger import HttpSettings, Trigger
from anyfc.store.catalog import Catalog
from anyfc.store.database import open_database
from anyfc.store.domains import Domains
from anyfc.store.functions import Functions
from anyfc.store.routes import Routes
from anyfc.store.triggers import Triggers

NOW = datetime(2025, 3, 1, 12, 30, 1, 2345, tzinfo=UTC)

FUNCTION = Function(
    id="id-f",
    name="f",
    runtime="custom.debian12",
    handler="index.handler",
    code=None,
    created_at=NOW,
    modified_at=NOW,
    custom=CustomRuntime(
        command=("node", "a b"), args=("",), port=80, health_check=HealthCheck(path="/up")
    ),
    pre_freeze=Hook(handler="h", timeout_s=1),
    service="s",
)
TIMER = Trigger(
    id="id-1",
    function="f",
    name="tick",
    type="timer",
    qualifier="LATEST",
    config='{"cronExpression":"@every 1m"}',
    created_at=NOW,
    modified_at=NOW,
)
CORS = Cors(origins=("*",), methods=("GET",), headers=("x",), exposed_headers=("y",), max_age_s=0)
WEB = replace(
    TIMER,
    id="id-2",
    name="web",
    type="http",
    config="{}",
    source_arn="arn",
    invocation_role="role",
    description="grüße",
    label="f-abc",
    http=HttpSettings(
        methods=("GET", "PUT"),
        access=Jwt(keys=({"kty": "oct"},), lookups=(Lookup(position="form", name="t"),)),
        cors=CORS,
        closed=True,
    ),
)
PLAIN = CustomDomain(name="Example.com", protocol="HTTP", created_at=NOW, modified_at=NOW)
RICH = CustomDomain(
    name="*.example.com",
    protocol="HTTP,HTTPS",
    created_at=NOW,
    modified_at=NOW,
    routes=(
        Route(
            path="/*",
            function="f",
            methods=("GET",),
            rewrite=Rewrite(equal=(Rule("/a", "/b"),), regex=(Rule("(.*)", "$1"),)),
        ),
        Route(path="/", function="g", qualifier="prod"),
    ),
    access=Basic((User(name="u", password="p"),)),
    auth_info='{"users":[]}',
    cors=CORS,
    certificate=Certificate(name="c", certificate="PEM", private_key="KEY"),
    tls=Tls(min_version="TLSv1.2", max_version="TLSv1.3", cipher_suites=("A", "B")),
    waf=True,
)


@dataclass
class Stores:
    functions: Functions
    triggers: Triggers
    domains: Domains
    catalog: Catalog
    routes: Routes


class RoutesContract:
    """Inherit, say in `open_stores` how to open the same stores again and again, pass."""

    def open_stores(self, folder):
        """Return an async context manager that yields Stores."""
        raise NotImplementedError

    def using(self, folder, work):
        async def run():
            async with self.open_stores(folder) as stores:
                return await work(stores)

        return asyncio.run(run())

    def reopened(self, folder):
        async def look(stores):
            triggers, _ = stores.routes.page_triggers("f", "", "", 1000)
            domains, _ = stores.routes.page_domains("", "", 1000)
            return triggers, domains

        return self.using(folder, look)

    def test_triggers_come_back_as_they_were(self, tmp_path):
        async def work(stores):
            await stores.functions.create(FUNCTION)
            await asyncio.gather(stores.triggers.create(WEB), stores.triggers.create(TIMER))
            assert stores.routes.find_trigger_by_host_label("f-abc") == WEB

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([TIMER, WEB], [])

    def test_settings_of_a_custom_runtime_come_back_as_they_were(self, tmp_path):
        async def create(stores):
            await stores.functions.create(FUNCTION)

        async def look(stores):
            return stores.catalog.get("f")

        self.using(tmp_path, create)
        assert self.using(tmp_path, look) == FUNCTION

    def test_a_trigger_needs_its_function(self, tmp_path):
        async def work(stores):
            with pytest.raises(FunctionNotFound, match="'f'"):
                await stores.triggers.create(WEB)

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([], [])

    def test_a_function_with_triggers_is_not_deleted(self, tmp_path):
        async def work(stores):
            await stores.functions.create(FUNCTION)
            await stores.triggers.create(WEB)
            with pytest.raises(FunctionNotEmpty, match="function 'f' has active triggers"):
                await stores.functions.delete("f")
            assert stores.catalog.get("f") == FUNCTION
            assert await stores.triggers.delete("f", "web") == WEB
            assert stores.routes.find_trigger_by_host_label("f-abc") is None
            await stores.functions.delete("f")

        self.using(tmp_path, work)

    def test_a_trigger_that_has_no_room_is_refused(self, tmp_path):
        async def work(stores):
            await stores.functions.create(FUNCTION)
            await stores.triggers.create(WEB)
            for wrong in (WEB, replace(WEB, id="id-3", name="web2", label="f-def")):
                with pytest.raises(TriggerAlreadyExists):
                    await stores.triggers.create(wrong)
            for n in range(49):
                await stores.triggers.create(replace(TIMER, id=f"n{n}", name=f"n{n}"))
            with pytest.raises(LimitExceededError):
                await stores.triggers.create(TIMER)

        self.using(tmp_path, work)
        assert len(self.reopened(tmp_path)[0]) == 50

    def test_a_changed_trigger_is_seen_at_once_and_after_a_restart(self, tmp_path):
        def refuse(old):
            raise AccessDenied("not yours")

        async def work(stores):
            await stores.functions.create(FUNCTION)
            await stores.triggers.create(WEB)
            changed = await stores.triggers.change("f", "web", lambda t: replace(t, config="[]"))
            assert changed == replace(WEB, config="[]")
            assert stores.routes.get_trigger("f", "web") == changed
            with pytest.raises(AccessDenied):
                await stores.triggers.change("f", "web", refuse)

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([replace(WEB, config="[]")], [])

    def test_an_http_trigger_cannot_move_to_where_there_is_one(self, tmp_path):
        other = replace(WEB, id="id-3", name="web2", label="f-def", qualifier="prod")

        async def work(stores):
            await stores.functions.create(FUNCTION)
            await stores.triggers.create(WEB)
            await stores.triggers.create(other)
            with pytest.raises(TriggerAlreadyExists):
                await stores.triggers.change(
                    "f", "web2", lambda old: replace(old, qualifier="LATEST")
                )

        self.using(tmp_path, work)
        assert self.reopened(tmp_path)[0] == [WEB, other]

    def test_what_does_not_exist_cannot_be_changed_or_deleted(self, tmp_path):
        async def work(stores):
            with pytest.raises(TriggerNotFound):
                await stores.triggers.change("f", "web", lambda old: old)
            with pytest.raises(TriggerNotFound):
                await stores.triggers.delete("f", "web")
            with pytest.raises(DomainNameNotFound):
                await stores.domains.change("example.com", lambda old: old)
            with pytest.raises(DomainNameNotFound):
                await stores.domains.delete("example.com")

        self.using(tmp_path, work)

    def test_domains_come_back_as_they_were(self, tmp_path):
        async def work(stores):
            await asyncio.gather(stores.domains.create(PLAIN), stores.domains.create(RICH))
            assert stores.routes.find_domain("a.example.com") == RICH

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([], [RICH, PLAIN])

    def test_the_name_of_a_domain_is_taken_once_whatever_its_case(self, tmp_path):
        async def work(stores):
            await stores.domains.create(PLAIN)
            with pytest.raises(DomainNameAlreadyExists, match=r"'EXAMPLE\.com' already exists"):
                await stores.domains.create(replace(PLAIN, name="EXAMPLE.com"))

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([], [PLAIN])

    def test_a_domain_is_changed_and_deleted(self, tmp_path):
        async def work(stores):
            await stores.domains.create(PLAIN)
            changed = await stores.domains.change(
                "example.com", lambda old: replace(old, routes=RICH.routes)
            )
            assert stores.routes.find_domain("example.com") == changed
            assert await stores.domains.delete("Example.com") == replace(PLAIN, routes=RICH.routes)
            assert stores.routes.find_domain("example.com") is None

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([], [])


class TestSqlite(RoutesContract):
    @asynccontextmanager
    async def open_stores(self, folder):
        catalog, routes = Catalog(), Routes()
        async with open_database(folder / "anyfc.db") as database:
            yield Stores(
                Functions(database, catalog),
                Triggers(database, routes),
                Domains(database, routes),
                catalog,
                routes,
            )
