"""What the server says of itself to the command line; only anyfc has this."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from anyfc.api.parts import Parts

PATH = "/anyfc/server"


async def describe(request: Request, parts: Parts) -> Response:
    content = {
        "isolation": parts.level.value,
        "ownNetworks": parts.own_networks,
        "tlsPort": parts.tls_port(),
        "tlsProblem": parts.tls_problem(),
    }
    return Response(msgspec.json.encode(content), media_type="application/json")
