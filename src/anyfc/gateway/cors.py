"""CORS: what browsers are told about calls from pages of other origins.

Source: runtime.md 15.3; "Configure CORS" in the Function Compute documentation, for `corsConfig`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from anyfc.model.access import Cors
from anyfc.web.message import Header, Response

ANY: Final = "*"
SCHEMES: Final = ("http://*", "https://*")  # all origins of one of them
EXPOSED: Final = b"Date,x-fc-request-id"
PREFLIGHT_AGE_S: Final = 3600

ALLOW_ORIGIN: Final = b"access-control-allow-origin"
VARY: Final[Header] = (b"Vary", b"Origin")
CREDENTIALS: Final[Header] = (b"Access-Control-Allow-Credentials", b"true")


def is_preflight(method: bytes, fields: Mapping[bytes, bytes]) -> bool:
    """Say whether a browser asks with a request what its page may ask for."""
    return (
        method == b"OPTIONS"
        and bool(fields.get(b"origin"))
        and bool(fields.get(b"access-control-request-method"))
    )


def answer_preflight(
    cors: Cors | None, fields: Mapping[bytes, bytes], methods: Sequence[str]
) -> Response | None:
    """Return the answer to a preflight that the function is not asked about, else None.

    `methods` are those that the trigger or the route lets through; none means all. Without `cors`
    the function is asked if OPTIONS is one of them, and else everything is permitted. With `cors`
    it is asked only if the preflight is not permitted.
    """
    origin = fields[b"origin"]
    method = fields[b"access-control-request-method"]
    names = fields.get(b"access-control-request-headers", b"")
    if cors is None:
        if not methods or "OPTIONS" in methods:
            return None
        return Response(status=200, headers=_echo(origin, method, names))
    if not _permits(cors, origin, method, names, methods):
        return None
    return Response(status=204, headers=_grant(cors, origin, method, names, methods))


def cors_headers(
    cors: Cors | None, origin: bytes | None, returned: Sequence[Header]
) -> list[Header]:
    """Return the headers to add to a response that has the headers `returned`.

    What the function says itself counts: nothing that is there is added, and nothing at all when it
    chose the origin. For an answer of the gateway's own the same rules hold.
    """
    if not origin and (cors is None or ANY in cors.origins):
        return []
    there = {name.lower() for name, _ in returned}
    if ALLOW_ORIGIN in there:
        return []
    added: list[Header] = []
    if origin and (cors is None or _permits_origin(cors, origin)):
        added += _allow(cors, origin)
        exposed = EXPOSED if cors is None else _join(cors.exposed_headers)
        if exposed:
            added.append((b"Access-Control-Expose-Headers", exposed))
    # The answer to another origin, or to none, is another one: caches must know.
    if (cors is None or ANY not in cors.origins) and not _varies(returned):
        added.append(VARY)
    return [header for header in added if header[0] == b"Vary" or header[0].lower() not in there]


def _allow(cors: Cors | None, origin: bytes) -> list[Header]:
    """Name the origin, or any where that is allowed, and say whether cookies may be sent."""
    if cors is not None and ANY in cors.origins:
        return [(b"Access-Control-Allow-Origin", b"*")]  # never together with credentials
    allowed = [(b"Access-Control-Allow-Origin", origin)]
    if cors is None or cors.credentials:
        allowed.append(CREDENTIALS)
    return allowed


def _echo(origin: bytes, method: bytes, names: bytes) -> list[Header]:
    headers = [
        *_allow(None, origin),
        (b"Access-Control-Allow-Methods", method),
        (b"Access-Control-Max-Age", b"%d" % PREFLIGHT_AGE_S),
        VARY,
    ]
    if names:
        headers.append((b"Access-Control-Allow-Headers", names))
    return headers


def _grant(
    cors: Cors, origin: bytes, method: bytes, names: bytes, methods: Sequence[str]
) -> list[Header]:
    granted = [name.upper() for name in cors.methods or methods]
    headers = [
        *_allow(cors, origin),
        (b"Access-Control-Allow-Methods", method if _any(granted) else _join(granted)),
        (b"Access-Control-Max-Age", b"%d" % cors.max_age_s),
    ]
    if ANY not in cors.origins:
        headers.append(VARY)
    allowed = names if ANY in cors.headers else _join(cors.headers)
    if allowed:
        headers.append((b"Access-Control-Allow-Headers", allowed))
    return headers


def _permits(
    cors: Cors, origin: bytes, method: bytes, names: bytes, methods: Sequence[str]
) -> bool:
    granted = [name.upper() for name in cors.methods or methods]
    if not (
        _permits_origin(cors, origin) and (_any(granted) or method.decode("latin-1") in granted)
    ):
        return False
    if ANY in cors.headers:
        return True
    wanted = {name.strip().lower() for name in names.decode("latin-1").split(",")} - {""}
    return wanted <= {name.lower() for name in cors.headers}


def _any(methods: Sequence[str]) -> bool:
    return not methods or ANY in methods


def _permits_origin(cors: Cors, origin: bytes) -> bool:
    text = origin.decode("latin-1").lower()
    exact, beginnings = _read_origins(cors.origins)
    return text in exact or text.startswith(beginnings)


@lru_cache(maxsize=256)
def _read_origins(origins: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the origins that must be met exactly, and the beginnings (`*`, `https://*`).

    A star elsewhere is no wildcard: `https://a.example*` would let in `https://a.example.evil`.
    """
    lower = [origin.lower() for origin in origins]
    beginnings = [origin for origin in lower if origin == ANY or origin in SCHEMES]
    return (
        frozenset([origin for origin in lower if origin not in beginnings]),
        tuple([origin[:-1] for origin in beginnings]),
    )


def _join(names: Sequence[str]) -> bytes:
    return ",".join(names).encode()


def _varies(returned: Sequence[Header]) -> bool:
    for name, value in returned:
        if name.lower() == b"vary":
            names = {each.strip() for each in value.lower().split(b",")}
            if names & {b"origin", b"*"}:
                return True
    return False
