"""The places in a request where tokens are looked for and where verified claims are put. No I/O.

The places are headers, the query, fields of a form, and cookies.

Source: Function Compute, "Configure JWT authentication": `tokenLookup` and `claimPassBy`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, quote_plus, unquote_to_bytes

import msgspec

from anyfc.errors import InvalidArgument
from anyfc.identity.signature import Headers, read_query
from anyfc.model.access import ClaimPass, Jwt, Lookup

FORM = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data"

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# What a cookie's value may hold (RFC 6265, 4.1.1), without the percent sign of the encoding.
_IN_COOKIES = "!#$&'()*+-./:<=>?@[]^_`{|}~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the function is shown under a name, in place of all that the client sent there."""

    position: str  # header, query, form or cookie
    name: str
    value: str | None  # None: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a request that hold values with names."""

    target: bytes
    headers: Headers
    form: bytes | None = None  # the body, if it is a form


def find_token(lookups: Sequence[Lookup], parts: Parts) -> bytes:
    """Return the token from the first place that has one; empty if none has."""
    for lookup in lookups:
        for value in _FIND[lookup.position](parts, lookup.name.encode()):
            prefix = lookup.prefix.encode()
            if value[: len(prefix)].lower() == prefix.lower():
                token = value[len(prefix) :].strip()
                if token:
                    return token
    return b""


def hide(passes: Sequence[ClaimPass]) -> tuple[Shown, ...]:
    """Take the places of claims from the client, without anything to put there."""
    return tuple(Shown(position=one.position, name=one.name, value=None) for one in passes)


def pass_claims(passes: Sequence[ClaimPass], claims: Mapping[str, Any]) -> tuple[Shown, ...]:
    """Say where the function is shown which claim; one that is no text is shown as JSON."""
    return tuple(
        Shown(position=one.position, name=one.name, value=_text(claims.get(one.claim)))
        for one in passes
    )


def show(shown: Sequence[Shown], parts: Parts) -> Parts:
    """Return the parts as the function is to see them.

    A request without a form gets none. The length of a form changes: framing is the caller's work.
    """
    for one in shown:
        parts = _HIDE[one.position](parts, one.name.encode())
    for one in shown:
        if one.value is not None:
            parts = _ADD[one.position](parts, one.name, one.value)
    return parts


def needs_form(access: Jwt, headers: Headers) -> bool:
    """Tell whether the body must be at hand, as it is a form that is looked into or changed.

    Raises InvalidArgument if claims are passed as fields and a client could send fields that are
    not seen here.
    """
    kinds = [value.partition(b";")[0].strip().lower() for name, value in headers
             if name == b"content-type"]  # fmt: skip
    if any(one.position == "form" for one in access.claims):
        if len(kinds) > 1 or MULTIPART in kinds:
            raise InvalidArgument(f"forms must be sent as {FORM.decode()} here")
        return FORM in kinds
    return FORM in kinds and any(one.position == "form" for one in access.lookups)


def _text(claim: Any) -> str | None:
    if claim is None or isinstance(claim, str):
        return claim
    return msgspec.json.encode(claim).decode()


# Headers. A server behind us may read an underscore as a hyphen, as CGI and WSGI do.


def _spelled(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def _find_header(parts: Parts, name: bytes) -> list[bytes]:
    return [value.strip() for header, value in parts.headers if header == name.lower()]


def _hide_header(parts: Parts, name: bytes) -> Parts:
    kept = [header for header in parts.headers if _spelled(header[0]) != _spelled(name)]
    return replace(parts, headers=kept)


def _add_header(parts: Parts, name: str, value: str) -> Parts:
    header = (name.lower().encode(), _CONTROL.sub(b" ", value.encode()))
    return replace(parts, headers=[*parts.headers, header])


# Query and form, which are written the same way.


def _find_parameter(parts: Parts, name: bytes) -> list[bytes]:
    return _values(parts.target.partition(b"?")[2], name)


def _find_field(parts: Parts, name: bytes) -> list[bytes]:
    return _values(parts.form or b"", name)


def _hide_parameter(parts: Parts, name: bytes) -> Parts:
    path, mark, query = parts.target.partition(b"?")
    return replace(parts, target=path + mark + _without(query, name))


def _hide_field(parts: Parts, name: bytes) -> Parts:
    form = None if parts.form is None else _without(parts.form, name)
    return replace(parts, form=form)


def _add_parameter(parts: Parts, name: str, value: str) -> Parts:
    path, _, query = parts.target.partition(b"?")
    return replace(parts, target=path + b"?" + _with(query, name, value))


def _add_field(parts: Parts, name: str, value: str) -> Parts:
    form = None if parts.form is None else _with(parts.form, name, value)
    return replace(parts, form=form)


def _values(query: bytes, name: bytes) -> list[bytes]:
    return [value for found, value in read_query(query) if found == name]


def _without(query: bytes, name: bytes) -> bytes:
    return b"&".join(part for part in query.split(b"&") if _base_name(part) != name)


def _base_name(part: bytes) -> bytes:
    """The name of a parameter as servers see it that make lists of `name[]` and `name[key]`."""
    name = unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" "))
    return name.partition(b"[")[0]


def _with(query: bytes, name: str, value: str) -> bytes:
    added = f"{quote_plus(name)}={quote_plus(value)}".encode()
    return query + b"&" + added if query else added


# Cookies. Some servers decode their names.


def _find_cookie(parts: Parts, name: bytes) -> list[bytes]:
    return [
        pair.partition(b"=")[2].strip(b' \t"')
        for header in _find_header(parts, b"cookie")
        for pair in header.split(b";")
        if pair.partition(b"=")[0].strip() == name
    ]


def _hide_cookie(parts: Parts, name: bytes) -> Parts:
    kept = []
    for header, value in parts.headers:
        if header == b"cookie":
            pairs = [pair for pair in value.split(b";")
                     if unquote_to_bytes(pair.partition(b"=")[0].strip()) != name]  # fmt: skip
            value = b";".join(pairs).strip()
            if not value:
                continue
        kept.append((header, value))
    return replace(parts, headers=kept)


def _add_cookie(parts: Parts, name: str, value: str) -> Parts:
    added = f"{name}={quote(value, safe=_IN_COOKIES)}"
    sent = [value_sent for header, value_sent in parts.headers if header == b"cookie"]
    others = [header for header in parts.headers if header[0] != b"cookie"]
    cookies = b"; ".join([*sent, added.encode()])
    return replace(parts, headers=[*others, (b"cookie", cookies)])


_FIND: Mapping[str, Callable[[Parts, bytes], list[bytes]]] = {
    "header": _find_header,
    "query": _find_parameter,
    "form": _find_field,
    "cookie": _find_cookie,
}
_HIDE: Mapping[str, Callable[[Parts, bytes], Parts]] = {
    "header": _hide_header,
    "query": _hide_parameter,
    "form": _hide_field,
    "cookie": _hide_cookie,
}
_ADD: Mapping[str, Callable[[Parts, str, str], Parts]] = {
    "header": _add_header,
    "query": _add_parameter,
    "form": _add_field,
    "cookie": _add_cookie,
}
