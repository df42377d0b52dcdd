"""Triggers of a function: create, get, list, update, delete."""

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.body import read_body
from anyfc.api.functions import answer, name_of
from anyfc.api.pages import read_page, show_page
from anyfc.api.parts import Parts
from anyfc.api.trigger_wire import find_port, make, merge, read_create, read_update, show
from anyfc.model.trigger import Trigger


def names_of(request: Request, parts: Parts) -> tuple[str, str]:
    """The function, which must be there, and the trigger that the path names."""
    function = name_of(request)
    parts.catalog.get(function)
    return function, unquote(request.path_params["triggerName"])


def answer_trigger(trigger: Trigger, request: Request, parts: Parts) -> Response:
    return answer(show_here(trigger, request, parts))


def show_here(trigger: Trigger, request: Request, parts: Parts) -> dict[str, object]:
    """Show a trigger with an address that leads here the way the caller came."""
    port = find_port(request.headers.get("host", "")) or parts.address_port()
    return show(trigger, region=parts.region, account_id=parts.account_id, port=port)


async def create(request: Request, parts: Parts) -> Response:
    function = name_of(request)
    parts.catalog.get(function)
    return answer_trigger(await store_new(function, request, parts), request, parts)


async def store_new(function: str, request: Request, parts: Parts) -> Trigger:
    """Make the trigger that a request asks for. Raises what reading and storing it do."""
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_create)
    trigger = make(
        sent,
        function=function,
        trigger_id=parts.new_id(),
        letters=parts.new_letters(),
        now=parts.now(),
    )
    await parts.triggers.create(trigger)
    return trigger


async def get(request: Request, parts: Parts) -> Response:
    function, name = names_of(request, parts)
    return answer_trigger(parts.routes.get_trigger(function, name), request, parts)


async def update(request: Request, parts: Parts) -> Response:
    function, name = names_of(request, parts)
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_update)
    now = parts.now()
    trigger = await parts.triggers.change(function, name, lambda old: merge(old, sent, now=now))
    return answer_trigger(trigger, request, parts)


async def delete(request: Request, parts: Parts) -> Response:
    await parts.triggers.delete(*names_of(request, parts))
    return Response(status_code=204)


async def list_(request: Request, parts: Parts) -> Response:
    function = name_of(request)
    parts.catalog.get(function)
    found, following = parts.routes.page_triggers(function, *read_page(request))
    shown = [show_here(trigger, request, parts) for trigger in found]
    return answer(show_page("triggers", shown, following))
