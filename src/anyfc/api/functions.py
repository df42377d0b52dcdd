"""Functions: create, get, list, update, delete; their code; enable and disable invocation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.body import read_body
from anyfc.api.download import make_address
from anyfc.api.kept import Tags
from anyfc.api.older.service_wire import check_function
from anyfc.api.pages import read_page, show_page
from anyfc.api.parts import Parts
from anyfc.api.shape import Flag, Record, Text
from anyfc.api.wire import (
    Package,
    make,
    merge,
    read_create,
    read_update,
    show,
    show_in_list,
)
from anyfc.errors import CodeNotFound, FunctionAlreadyExists, FunctionNotFound, InvalidArgument
from anyfc.model.function import Code, Function, Restriction
from anyfc.model.version import LATEST

DISABLE = Record({"reason": Text(0, 1024), "abortOngoingRequest": Flag()})


def name_of(request: Request) -> str:
    """The function that the path names; the path is routed as it was sent, still escaped."""
    return unquote(request.path_params["functionName"])


def answer(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def answer_function(function: Function, parts: Parts) -> Response:
    return answer(show(function, region=parts.region, account_id=parts.account_id))


async def add_code(package: Package | None, parts: Parts) -> Code | None:
    if package is None:
        return None
    return await parts.packages.add(package.data, checksum=package.checksum)


async def create(request: Request, parts: Parts) -> Response:
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_create)
    refuse_taken(sent.values["name"], parts)
    described = make(sent, function_id=parts.new_id(), now=parts.now())
    function = replace(described, code=await add_code(sent.package, parts))
    await parts.functions.create(function)
    await parts.logs.remove(function.name)  # of an earlier function of that name
    parts.announce(function)
    return answer_function(function, parts)


def refuse_taken(name: str, parts: Parts) -> None:
    """Refuse a name early, before its code is unpacked; the store has the last word."""
    try:
        parts.catalog.get(name)
    except FunctionNotFound:
        return
    raise FunctionAlreadyExists(name)


async def get(request: Request, parts: Parts) -> Response:
    qualifier = request.query_params.get("qualifier") or LATEST
    function, _ = parts.catalog.resolve(name_of(request), qualifier)
    return answer_function(function, parts)


async def update(request: Request, parts: Parts) -> Response:
    name = name_of(request)
    parts.catalog.get(name)
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_update)
    now = parts.now()

    def edit(old: Function, code: Code | None) -> Function:
        new = merge(old, sent, code=code, now=now)
        check_function(old, new)
        return new

    # Once before the code is unpacked, so that nothing is left of an update that is refused.
    edit(parts.catalog.get(name), None)
    code = await add_code(sent.package, parts)
    function = await parts.functions.change(name, lambda old: edit(old, code))
    parts.announce(function)
    return answer_function(function, parts)


async def delete(request: Request, parts: Parts) -> Response:
    await parts.functions.delete(name_of(request))
    return Response(status_code=204)


async def list_(request: Request, parts: Parts) -> Response:
    found, following = parts.catalog.page(*read_page(request), make_filter(request))
    shown = [
        show_in_list(function, region=parts.region, account_id=parts.account_id)
        for function in found
    ]
    return answer(show_page("functions", shown, following))


def make_filter(request: Request) -> Callable[[Function], bool]:
    """Return whether a function is wanted, by the filters of ListFunctions. All must match."""
    query = request.query_params
    wanted: dict[str, Callable[[Function], str]] = {
        "functionName": lambda function: function.name,
        "runtime": lambda function: function.runtime,
        "resourceGroupId": lambda function: function.kept.get("resourceGroupId", ""),
        "gpuType": lambda function: function.kept.get("gpuConfig", {}).get("gpuType", ""),
        "fcVersion": lambda function: "v2" if function.service else "v3",
    }
    equal = [(value, read) for name, read in wanted.items() if (value := query.get(name))]
    part = query.get("description", "")
    tags = read_tags(query.get("tags", ""))

    def keep(function: Function) -> bool:
        own_tags = function.kept.get("tags", ())
        return (
            all(read(function) == value for value, read in equal)
            and part in function.description
            and all(tag in own_tags for tag in tags)
        )

    return keep


def read_tags(text: str) -> list[dict[str, str]]:
    try:
        return Tags().read(msgspec.json.decode(text), "tags") if text else []
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"tags: is not valid JSON: {error}") from None


async def get_code(request: Request, parts: Parts) -> Response:
    qualifier = request.query_params.get("qualifier") or LATEST
    function, _ = parts.catalog.resolve(name_of(request), qualifier)
    return answer_code(function, request, parts)


def answer_code(function: Function, request: Request, parts: Parts) -> Response:
    """Say where the code of a function is. Raises CodeNotFound."""
    if function.code is None:
        raise CodeNotFound
    url = make_address(
        function.code.digest,
        host=request.headers.get("host", ""),
        key=parts.address_key,
        now=parts.now(),
    )
    return answer({"checksum": function.code.checksum, "url": url})


async def disable(request: Request, parts: Parts) -> Response:
    name = name_of(request)
    sent = await read_body(
        request, limit_bytes=parts.body_bytes, read=lambda body: DISABLE.read(body, "")
    )
    restriction = Restriction(reason=sent.get("reason", ""), since=parts.now())
    await parts.functions.change(name, lambda old: replace(old, restriction=restriction))
    if sent.get("abortOngoingRequest", False):
        parts.abort(name)
    return answer({"success": True})


async def enable(request: Request, parts: Parts) -> Response:
    await read_body(request, limit_bytes=parts.body_bytes, read=lambda body: None)
    await parts.functions.change(name_of(request), lambda old: replace(old, restriction=None))
    return answer({"success": True})
