"""What every store of services promises, whatever database it stands on."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from anyfc.errors import (
    AccessDenied,
    FunctionAlreadyExists,
    ServiceAlreadyExists,
    ServiceNotEmpty,
    ServiceNotFound,
)
from anyfc.model.function import Function, Service
from anyfc.store.catalog import Catalog
from anyfc.store.database import open_database
from anyfc.store.functions import Functions
from anyfc.store.services import Services

NOW = datetime(2025, 3, 1, 12, 30, 1, 2345, tzinfo=UTC)
PLAIN = Service(id="id-p", name="plain", created_at=NOW, modified_at=NOW)
RICH = replace(
    PLAIN,
    id="id-r",
    name="rich",
    description="grüße",
    role="acs:ram::1:role/r",
    log_project="p",
    log_store="s",
    kept={"internetAccess": False, "vpcConfig": {"vSwitchIds": ["a"]}},
)


def function_in(service: str, name: str = "f") -> Function:
    return Function(
        id=f"id-{service}-{name}",
        name=f"{service}${name}",
        service=service,
        runtime="python3.10",
        handler="index.handler",
        code=None,
        created_at=NOW,
        modified_at=NOW,
        kept={"layers": []},
    )


@dataclass
class Opened:
    catalog: Catalog
    functions: Functions
    services: Services


class ServicesContract:
    """Inherit, say in `open_store` how to open the same store again and again, pass."""

    def open_store(self, folder):
        """Return an async context manager that yields an Opened."""
        raise NotImplementedError

    def using(self, folder, work):
        async def run():
            async with self.open_store(folder) as opened:
                return await work(opened)

        return asyncio.run(run())

    def reopened(self, folder):
        async def look(opened):
            functions, _ = opened.catalog.page("", "", 100, lambda f: True)
            services, _ = opened.catalog.page_services("", "", 100)
            return services, functions

        return self.using(folder, look)

    def test_a_service_comes_back_as_it_was(self, tmp_path):
        async def work(opened):
            for service in (PLAIN, RICH):
                await opened.services.create(service)
                assert opened.catalog.get_service(service.name) == service

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([PLAIN, RICH], [])

    def test_a_name_is_given_once(self, tmp_path):
        async def work(opened):
            await opened.services.create(PLAIN)
            with pytest.raises(ServiceAlreadyExists, match="'plain' already exists"):
                await opened.services.create(replace(PLAIN, id="other"))
            assert opened.catalog.get_service("plain").id == "id-p"

        self.using(tmp_path, work)

    def test_a_new_function_has_the_settings_of_its_service(self, tmp_path):
        async def work(opened):
            await opened.services.create(RICH)
            made = await opened.services.create_function(function_in("rich"))
            assert made == opened.catalog.get("rich$f")
            assert (made.role, made.log_project, made.log_store) == (RICH.role, "p", "s")
            assert made.kept == {"layers": [], **RICH.kept}
            assert made.generation == 1
            with pytest.raises(FunctionAlreadyExists, match="'f' already exists in service 'rich'"):
                await opened.services.create_function(function_in("rich"))

        self.using(tmp_path, work)
        (function,) = self.reopened(tmp_path)[1]
        assert (function.service, function.role) == ("rich", RICH.role)

    def test_a_service_that_is_not_there_gets_no_function(self, tmp_path):
        async def work(opened):
            with pytest.raises(ServiceNotFound):
                await opened.services.create_function(function_in("gone"))
            assert opened.catalog.names() == set()

        self.using(tmp_path, work)

    def test_functions_follow_a_change_of_their_service_and_of_no_other(self, tmp_path):
        async def work(opened):
            for service in (PLAIN, RICH):
                await opened.services.create(service)
                await opened.services.create_function(function_in(service.name))
            changed = await opened.services.change("rich", lambda old: replace(old, role="r2"))
            assert changed == opened.catalog.get_service("rich")
            function = opened.catalog.get("rich$f")
            assert (function.role, function.generation) == ("r2", 2)
            assert opened.catalog.get("plain$f").generation == 1

        self.using(tmp_path, work)
        plain, rich = self.reopened(tmp_path)[1]
        assert (plain.role, rich.role) == ("", "r2")

    def test_a_change_that_functions_do_not_see_leaves_them_alone(self, tmp_path):
        async def work(opened):
            await opened.services.create(PLAIN)
            made = await opened.services.create_function(function_in("plain"))
            await opened.services.change("plain", lambda old: replace(old, description="new"))
            assert opened.catalog.get("plain$f") == made
            assert opened.catalog.get_service("plain").description == "new"

        self.using(tmp_path, work)

    def test_a_refused_change_changes_nothing(self, tmp_path):
        def refuse(old):
            raise AccessDenied("no")

        async def work(opened):
            await opened.services.create(PLAIN)
            with pytest.raises(AccessDenied):
                await opened.services.change("plain", refuse)
            with pytest.raises(ServiceNotFound):
                await opened.services.change("gone", lambda old: old)
            assert opened.catalog.get_service("plain") == PLAIN

        self.using(tmp_path, work)

    def test_a_service_with_functions_cannot_be_deleted(self, tmp_path):
        async def work(opened):
            await opened.services.create(PLAIN)
            await opened.services.create_function(function_in("plain"))
            with pytest.raises(ServiceNotEmpty, match="service 'plain' has functions"):
                await opened.services.delete("plain")
            await opened.functions.delete("plain$f")
            await opened.services.delete("plain")
            with pytest.raises(ServiceNotFound):
                await opened.services.delete("plain")

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == ([], [])


class TestSqlite(ServicesContract):
    @asynccontextmanager
    async def _open(self, folder):
        async with open_database(folder / "anyfc.db") as database:
            catalog = Catalog()
            functions = Functions(database, catalog)
            yield Opened(catalog, functions, Services(database, catalog))

    def open_store(self, folder):
        return self._open(folder)
