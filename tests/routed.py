"""Triggers and custom domains that lead to functions, without a store."""

from datetime import UTC, datetime
from typing import Any

from anyfc.model.access import Access, Anonymous
from anyfc.model.domain import CustomDomain, Route
from anyfc.model.trigger import HttpSettings, Trigger
from anyfc.store.routes import Routes

NOW = datetime(2025, 3, 1, tzinfo=UTC)


def make_trigger(
    function: str,
    *,
    label: str = "",
    qualifier: str = "LATEST",
    methods: tuple[str, ...] = ("GET", "POST"),
    access: Access | None = None,
    **settings: Any,
) -> Trigger:
    """An HTTP trigger; its host is `{function}-abcdefghij.…`."""
    return Trigger(
        id=f"{function}-{qualifier}",
        function=function,
        name=f"http-{qualifier}",
        type="http",
        qualifier=qualifier,
        config="{}",
        created_at=NOW,
        modified_at=NOW,
        label=label or f"{function}-abcdefghij",
        http=HttpSettings(methods=methods, access=access or Anonymous(), **settings),
    )


def make_domain(name: str, *routes: Route, **settings: Any) -> CustomDomain:
    usual = {"protocol": "HTTP", "created_at": NOW, "modified_at": NOW}
    return CustomDomain(name=name, routes=routes, **(usual | settings))


def make_routes(*things: Trigger | CustomDomain) -> Routes:
    routes = Routes()
    for thing in things:
        if isinstance(thing, Trigger):
            routes.put_trigger(thing)
        else:
            routes.put_domain(thing)
    return routes
