"""The places in a request where tokens are looked for and where verified claims are put. No I/O.

The places are headers, the query, fields of a form, and cookies.

Source: Function Compute, "Configure JWT authentication": `tokenLookup` and `claimPassBy`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from anyfc.errors import InvalidArgument
from anyfc.identity.names import Names, decode
from anyfc.identity.signature import Headers
from anyfc.identity.token import TOKEN_BYTES
from anyfc.model.access import ClaimPass, Jwt, Lookup

FORM = b"application/x-www-form-urlencoded"
FORM_BYTES = 1024 * 1024
# With the claims, of which there may be 100, no more than servers read that stop at 1000 fields.
FORM_FIELDS = 900

# Of a value, so much is decoded: a byte takes up to three, and what is longer is no token.
_VALUE_BYTES = 4 * TOKEN_BYTES

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# To some servers a cookie begins behind a space or a comma too.
_INNER_COOKIE = re.compile(rb"[\s,]([^\s,=]+)\s*=")
# What a cookie's value may hold (RFC 6265, 4.1.1), without the percent sign of the encoding.
_IN_COOKIES = "!#$&'()*+-./:<=>?@[]^_`{|}~"

_TYPE = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(?:;(.*))?")
# In these, names are written as in ASCII.
_CHARSET = re.compile(rb'[ \t;]*(?:charset="?(?:utf-?8|us-ascii|iso-8859-1)"?[ \t;]*)?')
_CONTENT_TYPE = Names(["content-type"])
_CONTENT_ENCODING = Names(["content-encoding"])


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
    form: bytes | None = None  # the body, if it is a form; see `check_form`


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
    for position, take_away in _HIDE.items():
        names = [one.name for one in shown if one.position == position]
        if names:
            parts = take_away(parts, Names(names))
    for one in shown:
        if one.value is not None:
            parts = _ADD[one.position](parts, one.name, one.value)
    return parts


def needs_form(access: Jwt, headers: Headers) -> bool:
    """Tell whether the body must be at hand, as it is a form that is looked into or changed.

    Raises InvalidArgument if claims are passed as fields and a client could send fields that are
    not seen here.
    """
    if any(one.position == "form" for one in access.claims):
        return _is_form(headers)
    if any(one.position == "form" for one in access.lookups):
        kinds = [value.partition(b";")[0] for name, value in headers if name == b"content-type"]
        return any(kind.strip().lower() == FORM for kind in kinds)
    return False


def check_form(form: bytes) -> None:
    """See to it that looking into a form takes no time. Raises InvalidArgument."""
    if form.count(b"&") + form.count(b";") >= FORM_FIELDS:
        raise InvalidArgument(
            f"the form has more than {FORM_FIELDS} fields, and a token or claims are among them "
            "here; send fewer"
        )


def _is_form(headers: Headers) -> bool:
    """Tell whether the body is a form for whatever server, or for none.

    Raises InvalidArgument if servers could differ about it.
    """
    types = [header for header in headers if header[0] in _CONTENT_TYPE]
    codings = {value.strip().lower() for name, value in headers if name in _CONTENT_ENCODING}
    if not codings <= {b"", b"identity"}:
        raise _unseen("without a Content-Encoding")
    if not types and not _has_body(headers):
        return False
    if len(types) != 1 or types[0][0] != b"content-type":
        raise _unseen("with one Content-Type")
    found = _TYPE.fullmatch(types[0][1].strip().lower())
    if found is None:
        raise _unseen("with a Content-Type of the form type/subtype")
    if found[1].startswith(b"multipart/"):
        raise _unseen(f"as {FORM.decode()}")
    if found[1] == FORM and not _CHARSET.fullmatch(found[2] or b""):
        raise _unseen("in UTF-8")
    return found[1] == FORM


def _has_body(headers: Headers) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" 0"))
        for name, value in headers
    )


def _unseen(wanted: str) -> InvalidArgument:
    return InvalidArgument(
        f"a body must be sent {wanted} here: claims of the token are passed as fields of forms"
    )


def _text(claim: Any) -> str | None:
    if claim is None or isinstance(claim, str):
        return claim
    return msgspec.json.encode(claim).decode()


# Headers


def _find_header(parts: Parts, name: bytes) -> list[bytes]:
    return [value.strip() for header, value in parts.headers if header == name.lower()]


def _hide_header(parts: Parts, names: Names) -> Parts:
    return replace(parts, headers=[header for header in parts.headers if header[0] not in names])


def _add_header(parts: Parts, name: str, value: str) -> Parts:
    header = (name.lower().encode(), _CONTROL.sub(b" ", value.encode()))
    return replace(parts, headers=[*parts.headers, header])


# Query and form, which are written the same way.


def _find_parameter(parts: Parts, name: bytes) -> Iterator[bytes]:
    return _values(parts.target.partition(b"?")[2], name)


def _find_field(parts: Parts, name: bytes) -> Iterator[bytes]:
    return _values(parts.form or b"", name)


def _hide_parameter(parts: Parts, names: Names) -> Parts:
    path, mark, query = parts.target.partition(b"?")
    return replace(parts, target=path + mark + _without(query, names))


def _hide_field(parts: Parts, names: Names) -> Parts:
    form = None if parts.form is None else _without(parts.form, names)
    return replace(parts, form=form)


def _add_parameter(parts: Parts, name: str, value: str) -> Parts:
    path, _, query = parts.target.partition(b"?")
    return replace(parts, target=path + b"?" + _with(query, name, value))


def _add_field(parts: Parts, name: str, value: str) -> Parts:
    form = None if parts.form is None else _with(parts.form, name, value)
    return replace(parts, form=form)


def _values(query: bytes, name: bytes) -> Iterator[bytes]:
    for part in query.split(b"&"):
        found, _, value = part.partition(b"=")
        if len(found) <= 3 * len(name) and decode(found) == name:
            yield decode(value[:_VALUE_BYTES])


def _without(query: bytes, names: Names) -> bytes:
    """Leave out parameters. To some servers, `;` stands between them too."""
    kept = []
    for part in query.split(b"&"):
        pieces = part.split(b";")
        others = [piece for piece in pieces if piece.partition(b"=")[0] not in names]
        if others:
            kept.append(b";".join(others))
    return b"&".join(kept)


def _with(query: bytes, name: str, value: str) -> bytes:
    added = f"{quote_plus(name)}={quote_plus(value)}".encode()
    return query + b"&" + added if query else added


# Cookies


def _find_cookie(parts: Parts, name: bytes) -> list[bytes]:
    return [
        pair.partition(b"=")[2].strip(b' \t"')
        for header in _find_header(parts, b"cookie")
        for pair in header.split(b";")
        if pair.partition(b"=")[0].strip() == name
    ]


def _hide_cookie(parts: Parts, names: Names) -> Parts:
    kept = []
    for header, value in parts.headers:
        if header == b"cookie":
            pairs = [_cut_cookie(pair, names) for pair in value.split(b";")]
            value = b";".join([pair for pair in pairs if pair is not None]).strip()
            if not value:
                continue
        kept.append((header, value))
    return replace(parts, headers=kept)


def _cut_cookie(pair: bytes, names: Names) -> bytes | None:
    """Return what is left of a cookie, or None if that is nothing."""
    if pair.partition(b"=")[0] in names:
        return None
    for inner in _INNER_COOKIE.finditer(pair):
        if inner[1] in names:
            return pair[: inner.start()]
    return pair


def _add_cookie(parts: Parts, name: str, value: str) -> Parts:
    """Put a cookie before all others: what they hold cannot hide it."""
    added = f"{name}={quote(value, safe=_IN_COOKIES)}"
    sent = [value_sent for header, value_sent in parts.headers if header == b"cookie"]
    others = [header for header in parts.headers if header[0] != b"cookie"]
    cookies = b"; ".join([added.encode(), *sent])
    return replace(parts, headers=[*others, (b"cookie", cookies)])


_FIND: Mapping[str, Callable[[Parts, bytes], Iterable[bytes]]] = {
    "header": _find_header,
    "query": _find_parameter,
    "form": _find_field,
    "cookie": _find_cookie,
}
_HIDE: Mapping[str, Callable[[Parts, Names], Parts]] = {
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
