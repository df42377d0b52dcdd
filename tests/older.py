"""The older signature as its clients make it, written apart from the code that checks it."""

import base64
import hmac
from collections.abc import Mapping
from email.utils import formatdate
from urllib.parse import unquote, unquote_plus


def sign_older(
    method: str, target: str, headers: Mapping[str, str], *, key: tuple[str, str], now: float
) -> dict[str, str]:
    """Return the headers of a request with those that sign it; `now` is Unix time in seconds.

    Source: Function Compute 2.0, "Signature authentication"; api.md 10.2.
    """
    signed = {name.lower(): value for name, value in headers.items()}
    signed["date"] = formatdate(now, usegmt=True)
    own = sorted(name for name in signed if name.startswith("x-fc-"))
    path, _, query = target.partition("?")
    resource = unquote(path)
    if "/proxy/" in path:
        resource += "\n" + "\n".join(sorted(unquote_plus(part) for part in query.split("&")))
    lines = [
        method,
        signed.get("content-md5", ""),
        signed.get("content-type", ""),
        signed["date"],
        *(f"{name}:{signed[name]}" for name in own),
        resource,
    ]
    digest = hmac.digest(key[1].encode(), "\n".join(lines).encode(), "sha256")
    return signed | {"authorization": f"FC {key[0]}:{base64.b64encode(digest).decode()}"}
