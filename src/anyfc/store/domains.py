"""Custom domains in the database: every change is durable, and in the routes, before it returns."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exc, insert, select, update

from anyfc.errors import DomainNameAlreadyExists, DomainNameNotFound
from anyfc.model.domain import CustomDomain
from anyfc.store.database import Database
from anyfc.store.routes import Routes
from anyfc.store.tables import CUSTOM_DOMAINS

FIELDS = tuple(field.name for field in fields(CustomDomain))
COLUMNS = [CUSTOM_DOMAINS.c[field] for field in FIELDS]
BY_HOST = CUSTOM_DOMAINS.c.host == bindparam("by_host")

SELECT_ALL = select(*COLUMNS)
SELECT = SELECT_ALL.where(BY_HOST)
INSERT = insert(CUSTOM_DOMAINS)
UPDATE = update(CUSTOM_DOMAINS).where(BY_HOST)
DELETE = delete(CUSTOM_DOMAINS).where(BY_HOST)


class Domains:
    """All custom domains of a database. Making this fills the routes, which follow from then on."""

    def __init__(self, database: Database, routes: Routes) -> None:
        self._database = database
        self._routes = routes
        for domain in database.read(_select_all):
            routes.put_domain(domain)

    async def create(self, domain: CustomDomain) -> None:
        """Store a new domain. Raises DomainNameAlreadyExists."""

        def change(connection: Connection) -> CustomDomain:
            try:
                connection.execute(INSERT, _row(domain))
            except exc.IntegrityError as error:
                raise DomainNameAlreadyExists(domain.name) from error
            return domain

        await self._database.write(change, on_commit=self._routes.put_domain)

    async def change(self, name: str, edit: Callable[[CustomDomain], CustomDomain]) -> CustomDomain:
        """Replace a domain by what `edit` makes of its newest state, and return that.

        `edit` runs on the writer thread, so it must be quick and touch nothing else. What it raises
        is raised here, and nothing is changed. Raises DomainNameNotFound.
        """

        def change(connection: Connection) -> CustomDomain:
            domain = edit(_select(connection, name))
            connection.execute(UPDATE, {**_row(domain), "by_host": domain.host})
            return domain

        return await self._database.write(change, on_commit=self._routes.put_domain)

    async def delete(self, name: str) -> CustomDomain:
        """Remove a domain and return its last state. Raises DomainNameNotFound."""

        def change(connection: Connection) -> CustomDomain:
            domain = _select(connection, name)
            connection.execute(DELETE, {"by_host": domain.host})
            return domain

        return await self._database.write(change, on_commit=self._routes.remove_domain)


def _row(domain: CustomDomain) -> dict[str, Any]:
    return {"host": domain.host, **{field: getattr(domain, field) for field in FIELDS}}


def _select_all(connection: Connection) -> list[CustomDomain]:
    return [CustomDomain(**row) for row in connection.execute(SELECT_ALL).mappings()]


def _select(connection: Connection, name: str) -> CustomDomain:
    row = connection.execute(SELECT, {"by_host": name.lower()}).mappings().first()
    if row is None:
        raise DomainNameNotFound(name)
    return CustomDomain(**row)
