"""Addresses of code packages that need no signature of the caller, only ours, and not for long."""

import hmac
from datetime import datetime

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from anyfc.api.parts import Parts
from anyfc.errors import CodeNotFound
from anyfc.model.address import CODE

PATH = CODE + "{digest}"
VALID_S = 10 * 60


def make_address(digest: str, *, host: str, key: bytes, now: datetime) -> str:
    """Return an address below the host that the caller used.

    Some clients write the scheme into their Host header; it is kept then.
    """
    expires = str(int(now.timestamp()) + VALID_S)
    base = host if "://" in host else f"http://{host}"
    path = PATH.format(digest=digest)
    return f"{base}{path}?expires={expires}&signature={sign(digest, expires, key=key)}"


def sign(digest: str, expires: str, *, key: bytes) -> str:
    return hmac.new(key, f"{digest}\n{expires}".encode(), "sha256").hexdigest()


async def fetch(request: Request, parts: Parts) -> Response:
    """Stream a package to whoever holds an address that has not expired."""
    digest = request.path_params["digest"]
    expires = request.query_params.get("expires", "")
    signature = request.query_params.get("signature", "")
    wanted = sign(digest, expires, key=parts.address_key)
    if not hmac.compare_digest(signature.encode(), wanted.encode()):
        raise CodeNotFound
    # The signature is ours, so `expires` is a number and `digest` was a package once.
    path = parts.code_path(digest)
    if int(expires) < parts.now().timestamp() or not path.is_file():
        raise CodeNotFound
    return FileResponse(path, media_type="application/zip", filename=f"{digest[:12]}.zip")
