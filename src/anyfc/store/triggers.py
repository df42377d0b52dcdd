"""Triggers in the database: every change is durable, and in the routes, before it returns."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from anyfc.errors import FunctionNotFound, TriggerNotFound
from anyfc.model.trigger import HttpSettings, Trigger, check_room
from anyfc.store.database import Database
from anyfc.store.routes import Routes
from anyfc.store.tables import FUNCTIONS, TRIGGERS

HTTP_FIELDS = tuple(field.name for field in fields(HttpSettings))
FIELDS = tuple(field.name for field in fields(Trigger) if field.name != "http")

OF_FUNCTION = TRIGGERS.c.function == bindparam("by_function")
NAMED = TRIGGERS.c.name == bindparam("by_name")

SELECT_FUNCTION = select(FUNCTIONS.c.name).where(FUNCTIONS.c.name == bindparam("by_function"))
SELECT_ALL = select(TRIGGERS)
SELECT = SELECT_ALL.where(OF_FUNCTION)
INSERT = insert(TRIGGERS)
UPDATE = update(TRIGGERS).where(OF_FUNCTION, NAMED)
DELETE = delete(TRIGGERS).where(OF_FUNCTION, NAMED)


class Triggers:
    """All triggers of a database. Making this fills the routes, which follow from then on."""

    def __init__(self, database: Database, routes: Routes) -> None:
        self._database = database
        self._routes = routes
        for trigger in database.read(_select_all):
            routes.put_trigger(trigger)

    async def create(self, trigger: Trigger) -> None:
        """Store a new trigger. Raises FunctionNotFound and `check_room`'s."""

        def change(connection: Connection) -> Trigger:
            function = {"by_function": trigger.function}
            if connection.execute(SELECT_FUNCTION, function).first() is None:
                raise FunctionNotFound(trigger.function)
            check_room(trigger, _select(connection, trigger.function))
            connection.execute(INSERT, _row(trigger))
            return trigger

        await self._database.write(change, on_commit=self._routes.put_trigger)

    async def change(self, function: str, name: str, edit: Callable[[Trigger], Trigger]) -> Trigger:
        """Replace a trigger by what `edit` makes of its newest state, and return that.

        `edit` runs on the writer thread, so it must be quick and touch nothing else. What it raises
        is raised here, and nothing is changed. Raises TriggerNotFound and `check_room`'s.
        """

        def change(connection: Connection) -> Trigger:
            old, others = _pick(name, function, _select(connection, function))
            trigger = edit(old)
            check_room(trigger, others)
            connection.execute(UPDATE, {**_row(trigger), "by_function": function, "by_name": name})
            return trigger

        return await self._database.write(change, on_commit=self._routes.put_trigger)

    async def delete(self, function: str, name: str) -> Trigger:
        """Remove a trigger and return its last state. Raises TriggerNotFound."""

        def change(connection: Connection) -> Trigger:
            old, _ = _pick(name, function, _select(connection, function))
            connection.execute(DELETE, {"by_function": function, "by_name": name})
            return old

        return await self._database.write(change, on_commit=self._routes.remove_trigger)


def _pick(name: str, function: str, triggers: list[Trigger]) -> tuple[Trigger, list[Trigger]]:
    """Return the trigger of a name, and the others."""
    for trigger in triggers:
        if trigger.name == name:
            return trigger, [other for other in triggers if other is not trigger]
    raise TriggerNotFound(name, function)


def _row(trigger: Trigger) -> dict[str, Any]:
    row = {field: getattr(trigger, field) for field in FIELDS}
    return row | {field: getattr(trigger.http, field, None) for field in HTTP_FIELDS}


def _trigger(row: Mapping[str, Any]) -> Trigger:
    http = None
    if row["methods"] is not None:
        http = HttpSettings(**{field: row[field] for field in HTTP_FIELDS})
    return Trigger(http=http, **{field: row[field] for field in FIELDS})


def _select_all(connection: Connection) -> list[Trigger]:
    return [_trigger(dict(row)) for row in connection.execute(SELECT_ALL).mappings()]


def _select(connection: Connection, function: str) -> list[Trigger]:
    rows = connection.execute(SELECT, {"by_function": function}).mappings()
    return [_trigger(dict(row)) for row in rows]
