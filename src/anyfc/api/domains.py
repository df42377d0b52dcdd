"""Custom domains and their routes: create, get, list, update, delete."""

import asyncio
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.body import read_body
from anyfc.api.domain_wire import Sent, check_served, make, merge, read_create, read_update, show
from anyfc.api.functions import answer
from anyfc.api.pages import read_page, show_page
from anyfc.api.parts import Parts
from anyfc.model.domain import CustomDomain

OF_TLS = {"certificate", "tls"}  # what a change must be tried out for


class Changed(Exception):
    """What was tried out is no longer what would be stored."""


def name_of(request: Request) -> str:
    return unquote(request.path_params["domainName"])


async def create(request: Request, parts: Parts) -> Response:
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_create)
    domain = make(sent, now=parts.now())
    if sent.keys() & OF_TLS:
        await asyncio.to_thread(check_served, domain)
    await parts.domains.create(domain)
    return answer(show(domain, account_id=parts.account_id))


async def get(request: Request, parts: Parts) -> Response:
    domain = parts.routes.get_domain(name_of(request))
    return answer(show(domain, account_id=parts.account_id))


async def update(request: Request, parts: Parts) -> Response:
    name = name_of(request)
    parts.routes.get_domain(name)
    sent = await read_body(request, limit_bytes=parts.body_bytes, read=read_update)
    domain = None
    while domain is None:
        try:
            domain = await change(name, sent, parts)
        except Changed:  # once more, with what somebody else has stored meanwhile
            continue
    return answer(show(domain, account_id=parts.account_id))


async def change(name: str, sent: Sent, parts: Parts) -> CustomDomain:
    """Try a change out, and make it. Raises InvalidArgument, DomainNameNotFound, Changed."""
    now = parts.now()
    tried = merge(parts.routes.get_domain(name), sent, now=now)
    if sent.keys() & OF_TLS:
        await asyncio.to_thread(check_served, tried)

    def edit(old: CustomDomain) -> CustomDomain:
        new = merge(old, sent, now=now)
        if (new.certificate, new.tls) != (tried.certificate, tried.tls):
            raise Changed
        return new

    return await parts.domains.change(name, edit)


async def delete(request: Request, parts: Parts) -> Response:
    await parts.domains.delete(name_of(request))
    return Response(status_code=204)


async def list_(request: Request, parts: Parts) -> Response:
    found, following = parts.routes.page_domains(*read_page(request))
    shown = [show(domain, account_id=parts.account_id) for domain in found]
    return answer(show_page("customDomains", shown, following))
