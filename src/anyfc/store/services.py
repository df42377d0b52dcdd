"""Services in the database: every change is durable, and in the catalog, before it returns."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exc, insert, select, update

from anyfc.errors import ServiceAlreadyExists, ServiceNotEmpty, ServiceNotFound
from anyfc.model.function import Function, Service, follow, furnish
from anyfc.store.catalog import Catalog
from anyfc.store.database import Database
from anyfc.store.functions import insert_function, select_in_service, update_function
from anyfc.store.tables import SERVICES

FIELDS = tuple(column.name for column in SERVICES.columns)

SELECT_ALL = select(SERVICES)
SELECT = SELECT_ALL.where(SERVICES.c.name == bindparam("by_name"))
INSERT = insert(SERVICES)
UPDATE = update(SERVICES).where(SERVICES.c.name == bindparam("by_name"))
DELETE = delete(SERVICES).where(SERVICES.c.name == bindparam("by_name"))


class Services:
    """All services of a database. Making this fills the catalog, which follows from then on."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog
        for service in database.read(_select_all):
            catalog.put_service(service)

    async def create(self, service: Service) -> None:
        """Store a new service. Raises ServiceAlreadyExists."""

        def change(connection: Connection) -> Service:
            try:
                connection.execute(INSERT, _row(service))
            except exc.IntegrityError as error:
                raise ServiceAlreadyExists(service.name) from error
            return service

        await self._database.write(change, on_commit=self._catalog.put_service)

    async def create_function(self, function: Function) -> Function:
        """Store a new function of a service, and return it with the service's settings.

        Raises ServiceNotFound, FunctionAlreadyExists.
        """

        def change(connection: Connection) -> Function:
            furnished = furnish(function, _select(connection, function.service))
            insert_function(connection, furnished)
            return furnished

        return await self._database.write(change, on_commit=self._catalog.put)

    async def change(self, name: str, edit: Callable[[Service], Service]) -> Service:
        """Replace a service by what `edit` makes of its newest state, and return that.

        Its functions follow in the same write. `edit` runs on the writer thread, so it must be
        quick and touch nothing else. What it raises is raised here, and nothing is changed. Raises
        ServiceNotFound.
        """

        def change(connection: Connection) -> tuple[Service, list[Function]]:
            service = edit(_select(connection, name))
            connection.execute(UPDATE, {**_row(service), "by_name": name})
            changed = []
            for old in select_in_service(connection, name):
                function = follow(old, service)
                if function != old:
                    update_function(connection, function)
                    changed.append(function)
            return service, changed

        def put(changed: tuple[Service, list[Function]]) -> None:
            service, functions = changed
            self._catalog.put_service(service)
            for function in functions:
                self._catalog.put(function)

        service, _ = await self._database.write(change, on_commit=put)
        return service

    async def delete(self, name: str) -> None:
        """Remove a service. Raises ServiceNotFound, and ServiceNotEmpty while it has functions."""

        def change(connection: Connection) -> str:
            _select(connection, name)
            if select_in_service(connection, name):
                raise ServiceNotEmpty(name)
            connection.execute(DELETE, {"by_name": name})
            return name

        await self._database.write(change, on_commit=self._catalog.remove_service)


def _row(service: Service) -> dict[str, Any]:
    return {field: getattr(service, field) for field in FIELDS}


def _select_all(connection: Connection) -> list[Service]:
    return [Service(**row) for row in connection.execute(SELECT_ALL).mappings()]


def _select(connection: Connection, name: str) -> Service:
    row = connection.execute(SELECT, {"by_name": name}).mappings().first()
    if row is None:
        raise ServiceNotFound(name)
    return Service(**row)
