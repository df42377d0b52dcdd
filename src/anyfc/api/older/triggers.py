"""Triggers of functions in services, in the API before 3.0: create, get, list, update, delete.

`triggerConfig` is an object in version 2016-08-15 and JSON text in 2021-04-06; both are accepted in
both. The addresses of an HTTP trigger stand at the top.
"""

from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.body import read_body
from anyfc.api.etag import answer_marked, check_match
from anyfc.api.functions import answer
from anyfc.api.older.functions import function_of
from anyfc.api.older.services import read_start
from anyfc.api.pages import show_page
from anyfc.api.parts import Parts
from anyfc.api.trigger_wire import merge, read_update
from anyfc.api.triggers import show_here, store_new
from anyfc.model.trigger import Trigger
from anyfc.model.version import LATEST

CONFIG_IS_OBJECT = "/2016-08-15/"


def names_of(request: Request, parts: Parts) -> tuple[str, str]:
    """The function, which must be there, and the trigger that the path names."""
    return function_of(request, parts).name, unquote(request.path_params["triggerName"])


def show(trigger: Trigger, request: Request, parts: Parts) -> dict[str, Any]:
    """Show a trigger as the version that the path names does."""
    shown: dict[str, Any] = dict(show_here(trigger, request, parts))
    del shown["status"]
    service, _, function = trigger.function.partition("$")
    if trigger.qualifier != LATEST:
        service += f".{trigger.qualifier}"
    place = f"acs:fc:{parts.region}:{parts.account_id}"
    shown["targetArn"] = f"{place}:services/{service}/functions/{function}"
    if "httpTrigger" in shown:
        shown |= shown.pop("httpTrigger")
        shown["domainName"] = urlsplit(shown["urlInternet"]).hostname
    if request.scope["path"].startswith(CONFIG_IS_OBJECT):
        shown["triggerConfig"] = msgspec.json.decode(trigger.config or "{}")
    return shown


async def create(request: Request, parts: Parts) -> Response:
    function = function_of(request, parts).name
    return answer_marked(show(await store_new(function, request, parts), request, parts))


async def get(request: Request, parts: Parts) -> Response:
    function, name = names_of(request, parts)
    return answer_marked(show(parts.routes.get_trigger(function, name), request, parts))


async def update(request: Request, parts: Parts) -> Response:
    function, name = names_of(request, parts)
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_update)
    now = parts.now()

    def edit(old: Trigger) -> Trigger:
        check_match(request, show(old, request, parts))
        return merge(old, sent, now=now)

    trigger = await parts.triggers.change(function, name, edit)
    return answer_marked(show(trigger, request, parts))


async def delete(request: Request, parts: Parts) -> Response:
    function, name = names_of(request, parts)
    check_match(request, show(parts.routes.get_trigger(function, name), request, parts))
    await parts.triggers.delete(function, name)
    return Response(status_code=204)


async def list_(request: Request, parts: Parts) -> Response:
    function = function_of(request, parts).name
    found, following = parts.routes.page_triggers(function, *read_start(request))
    shown = [show(trigger, request, parts) for trigger in found]
    return answer(show_page("triggers", shown, following))
