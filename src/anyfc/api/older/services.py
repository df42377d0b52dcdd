"""Services of the API before 3.0: create, get, list, update, delete; and the account's settings."""

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.body import read_body
from anyfc.api.etag import answer_marked, check_match
from anyfc.api.functions import answer
from anyfc.api.older.service_wire import make, merge, read_create, read_update, show
from anyfc.api.pages import read_page, show_page
from anyfc.api.parts import Parts
from anyfc.errors import NotSupported
from anyfc.model.function import Service, name_in
from anyfc.model.version import check_qualifier


def service_of(request: Request, parts: Parts) -> Service:
    """Return the service that the path names, with a qualifier behind it or in the query.

    Raises ServiceNotFound, and what `check_qualifier` raises.
    """
    name, _, qualifier = unquote(request.path_params["serviceName"]).partition(".")
    service = parts.catalog.get_service(name)
    check_qualifier(name_in(name, ""), qualifier or request.query_params.get("qualifier", ""))
    return service


def read_start(request: Request) -> tuple[str, str, int]:
    """Return prefix, the name to start at, and limit. Raises InvalidArgument.

    These versions let clients choose where the first page starts.
    """
    prefix, start, limit = read_page(request)
    return prefix, start or request.query_params.get("startKey", ""), limit


async def create(request: Request, parts: Parts) -> Response:
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_create)
    service = make(sent, service_id=parts.new_id(), now=parts.now())
    await parts.services.create(service)
    return answer_marked(show(service))


async def get(request: Request, parts: Parts) -> Response:
    return answer_marked(show(service_of(request, parts)))


async def update(request: Request, parts: Parts) -> Response:
    name = service_of(request, parts).name
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_update)
    now = parts.now()

    def edit(old: Service) -> Service:
        check_match(request, show(old))
        return merge(old, sent, now=now)

    return answer_marked(show(await parts.services.change(name, edit)))


async def delete(request: Request, parts: Parts) -> Response:
    service = service_of(request, parts)
    check_match(request, show(service))
    await parts.services.delete(service.name)
    return Response(status_code=204)


async def list_(request: Request, parts: Parts) -> Response:
    if any(name.startswith("tag_") for name in request.query_params):
        raise NotSupported("ListServices: services have no tags in this version of anyfc")
    found, following = parts.catalog.page_services(*read_start(request))
    return answer(show_page("services", [show(service) for service in found], following))


async def get_account(request: Request, parts: Parts) -> Response:
    """GetAccountSettings: there are no zones here, and nothing has made a role."""
    return answer({"availableAZs": [], "defaultRole": ""})
