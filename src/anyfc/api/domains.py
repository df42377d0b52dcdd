"""Custom domains and their routes: create, get, list, update, delete."""

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.body import read_body
from anyfc.api.domain_wire import make, merge, read_create, read_update, show
from anyfc.api.functions import answer
from anyfc.api.pages import read_page, show_page
from anyfc.api.parts import Parts


def name_of(request: Request) -> str:
    return unquote(request.path_params["domainName"])


async def create(request: Request, parts: Parts) -> Response:
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_create)
    domain = make(sent, now=parts.now())
    await parts.domains.create(domain)
    return answer(show(domain, account_id=parts.account_id))


async def get(request: Request, parts: Parts) -> Response:
    domain = parts.routes.get_domain(name_of(request))
    return answer(show(domain, account_id=parts.account_id))


async def update(request: Request, parts: Parts) -> Response:
    name = name_of(request)
    parts.routes.get_domain(name)
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_update)
    now = parts.now()
    domain = await parts.domains.change(name, lambda old: merge(old, sent, now=now))
    return answer(show(domain, account_id=parts.account_id))


async def delete(request: Request, parts: Parts) -> Response:
    await parts.domains.delete(name_of(request))
    return Response(status_code=204)


async def list_(request: Request, parts: Parts) -> Response:
    found, following = parts.routes.page_domains(*read_page(request))
    shown = [show(domain, account_id=parts.account_id) for domain in found]
    return answer(show_page("customDomains", shown, following))
