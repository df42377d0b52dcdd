"""Functions of services, in the API before 3.0: create, get, list, update, delete; their code."""

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.body import read_body
from anyfc.api.etag import answer_marked, check_match
from anyfc.api.functions import add_code, answer, answer_code, refuse_taken
from anyfc.api.older.function_wire import Sent, make, merge, read_create, read_update, show
from anyfc.api.older.services import read_start, service_of
from anyfc.api.pages import show_page
from anyfc.api.parts import Parts
from anyfc.model.function import Function, name_in

CHECKSUM_HEADER = "x-fc-code-checksum"


def function_of(request: Request, parts: Parts) -> Function:
    """Return the function that the path names.

    Raises ServiceNotFound, FunctionNotFound, and what `check_qualifier` raises.
    """
    service = service_of(request, parts)
    return parts.catalog.get(name_in(service.name, unquote(request.path_params["functionName"])))


async def read(request: Request, parts: Parts, shape: Any) -> Sent:
    """Read a body; the checksum of the code in it is in a header."""
    sent: Sent = await read_body(request, limit_bytes=parts.body_bytes, read=shape)
    checksum = request.headers.get(CHECKSUM_HEADER)
    if sent.package is None or not checksum:
        return sent
    return replace(sent, package=replace(sent.package, checksum=checksum))


async def create(request: Request, parts: Parts) -> Response:
    service = service_of(request, parts).name
    sent = await read(request, parts, read_create)
    name = name_in(service, sent.fields["functionName"])
    refuse_taken(name, parts)
    described = make(sent, name=name, service=service, function_id=parts.new_id(), now=parts.now())
    coded = replace(described, code=await add_code(sent.package, parts))
    function = await parts.services.create_function(coded)
    await parts.logs.remove(name)  # of an earlier function of that name
    parts.announce(function)
    return answer_marked(show(function))


async def get(request: Request, parts: Parts) -> Response:
    return answer_marked(show(function_of(request, parts)))


async def update(request: Request, parts: Parts) -> Response:
    name = function_of(request, parts).name
    sent = await read(request, parts, read_update)
    now = parts.now()
    # Once before the code is unpacked, so that nothing is left of an update that is refused.
    refused = parts.catalog.get(name)
    check_match(request, show(refused))
    merge(refused, sent, code=None, now=now)
    code = await add_code(sent.package, parts)

    def edit(old: Function) -> Function:
        check_match(request, show(old))
        return merge(old, sent, code=code, now=now)

    function = await parts.functions.change(name, edit)
    parts.announce(function)
    return answer_marked(show(function))


async def delete(request: Request, parts: Parts) -> Response:
    function = function_of(request, parts)
    check_match(request, show(function))
    await parts.functions.delete(function.name)
    return Response(status_code=204)


async def list_(request: Request, parts: Parts) -> Response:
    start_of_names = name_in(service_of(request, parts).name, "")
    prefix, start, limit = read_start(request)
    found, following = parts.catalog.page(
        start_of_names + prefix, start_of_names + start, limit, lambda function: True
    )
    if following is not None:
        following = following.removeprefix(start_of_names)
    return answer(show_page("functions", [show(function) for function in found], following))


async def get_code(request: Request, parts: Parts) -> Response:
    return answer_code(function_of(request, parts), request, parts)
