"""Functions in the database: every change is durable, and in the catalog, before it returns."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exc, insert, select, update

from anyfc.errors import FunctionAlreadyExists, FunctionNotEmpty, FunctionNotFound
from anyfc.model.function import Function
from anyfc.store.catalog import Catalog
from anyfc.store.database import Database
from anyfc.store.tables import FUNCTIONS, TRIGGERS

FIELDS = tuple(column.name for column in FUNCTIONS.columns)

SELECT_ALL = select(FUNCTIONS)
SELECT = SELECT_ALL.where(FUNCTIONS.c.name == bindparam("by_name"))
SELECT_IN = SELECT_ALL.where(FUNCTIONS.c.service == bindparam("by_service"))
INSERT = insert(FUNCTIONS)
UPDATE = update(FUNCTIONS).where(FUNCTIONS.c.name == bindparam("by_name"))
SELECT_TRIGGER = select(TRIGGERS.c.name).where(TRIGGERS.c.function == bindparam("by_name"))
DELETE = delete(FUNCTIONS).where(FUNCTIONS.c.name == bindparam("by_name"))


class Functions:
    """All functions of a database. Making this fills the catalog, which follows from then on."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog
        for function in database.read(_select_all):
            catalog.put(function)

    async def create(self, function: Function) -> None:
        """Store a new function. Raises FunctionAlreadyExists."""

        def change(connection: Connection) -> Function:
            insert_function(connection, function)
            return function

        await self._database.write(change, on_commit=self._catalog.put)

    async def change(self, name: str, edit: Callable[[Function], Function]) -> Function:
        """Replace a function by what `edit` makes of its newest state, and return that.

        `edit` runs on the writer thread, so it must be quick and touch nothing else. What it raises
        is raised here, and nothing is changed. Raises FunctionNotFound.
        """

        def change(connection: Connection) -> Function:
            function = edit(_select(connection, name))
            update_function(connection, function)
            return function

        return await self._database.write(change, on_commit=self._catalog.put)

    async def delete(self, name: str) -> Function:
        """Remove a function and return its last state.

        Raises FunctionNotFound, and FunctionNotEmpty while it has triggers.
        """

        def change(connection: Connection) -> Function:
            function = _select(connection, name)
            if connection.execute(SELECT_TRIGGER, {"by_name": name}).first() is not None:
                raise FunctionNotEmpty(name)
            connection.execute(DELETE, {"by_name": name})
            return function

        return await self._database.write(
            change, on_commit=lambda function: self._catalog.remove(function.name)
        )


def insert_function(connection: Connection, function: Function) -> None:
    """Raises FunctionAlreadyExists."""
    try:
        connection.execute(INSERT, _row(function))
    except exc.IntegrityError as error:
        raise FunctionAlreadyExists(function.name) from error


def update_function(connection: Connection, function: Function) -> None:
    connection.execute(UPDATE, {**_row(function), "by_name": function.name})


def select_in_service(connection: Connection, service: str) -> list[Function]:
    rows = connection.execute(SELECT_IN, {"by_service": service}).mappings()
    return [Function(**row) for row in rows]


def _row(function: Function) -> dict[str, Any]:
    return {field: getattr(function, field) for field in FIELDS}


def _select_all(connection: Connection) -> list[Function]:
    return [Function(**row) for row in connection.execute(SELECT_ALL).mappings()]


def _select(connection: Connection, name: str) -> Function:
    row = connection.execute(SELECT, {"by_name": name}).mappings().first()
    if row is None:
        raise FunctionNotFound(name)
    return Function(**row)
