"""The older FC signature: of API 2016-08-15, of calls by HTTP, and in addresses. No I/O.

What is signed is the decoded path, the date and the `x-fc-` headers; with calls by HTTP also the
decoded query, and never the body.

Source: Function Compute 2.0, "Signature authentication", "Signed URL"; api.md 9.5, 10.2 and 10.3.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from anyfc.errors import AccessDenied, MissingRequiredHeader, SignatureNotMatch
from anyfc.identity.key import AccessKey, Caller
from anyfc.identity.signature import (
    CLOCK_DIFFERENCE_S,
    Headers,
    KeySource,
    by_name,
    read_query,
    too_far,
)

SCHEME = b"FC"
PROXY = b"/2016-08-15/proxy/"

_ID = b"x-fc-access-key-id"
_EXPIRES = b"x-fc-expires"
_SIGNATURE = b"x-fc-signature"
_TOKEN = b"x-fc-security-token"

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
           b"Dec")  # fmt: skip
_DATE = re.compile(
    rb"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)
_SECONDS = re.compile(rb"\d{1,12}")


def verify_fc(
    method: bytes, target: bytes, headers: Headers, *, keys: KeySource, now: float
) -> Caller:
    """Return who signed a request to API 2016-08-15.

    `target` is the request target as it stood on the request line. `now` is Unix time in seconds.
    Raises MissingRequiredHeader, InvalidAccessKeyID, SignatureNotMatch, AccessDenied.
    """
    spellings = _with_query if target.startswith(PROXY) else _without_query
    return _verify(method, target, headers, spellings, keys, now)


def verify_fc_call(
    method: bytes, target: bytes, headers: Headers, *, keys: KeySource, now: float
) -> Caller:
    """Return who signed a call to an HTTP trigger, a custom domain or `/2016-08-15/proxy/`.

    Raises what `verify_fc` raises.
    """
    return _verify(method, target, headers, _with_query, keys, now)


def verify_fc_address(
    method: bytes, target: bytes, headers: Headers, *, keys: KeySource, now: float
) -> Caller:
    """Return who signed the address that is called, until the time that it names.

    Raises InvalidAccessKeyID, SignatureNotMatch, AccessDenied.
    """
    path, _, query = target.partition(b"?")
    parts = _parts(query)
    fields = _fields_of_address(query)
    expires = fields.get(_EXPIRES, b"")
    if not _SECONDS.fullmatch(expires):
        raise AccessDenied("the parameter x-fc-expires must be a Unix time in seconds")
    if now >= int(expires):
        raise AccessDenied("the signed URL has expired")
    key = _find(keys, fields.get(_ID, b""), fields.get(_TOKEN, b""), now)
    signed = sorted(part for part in parts if not part.startswith(_SIGNATURE + b"="))
    resource = _path(path) + b"\n" + b"\n".join(signed)
    text = _string_to_sign(method, by_name(headers), expires, resource)
    if not hmac.compare_digest(_sign(key, text), fields[_SIGNATURE]):
        raise SignatureNotMatch()
    return key.caller


def is_signed_address(target: bytes) -> bool:
    """Tell whether a request target carries a signature of its own."""
    query = target.partition(b"?")[2]
    return any(name == _SIGNATURE for name, _ in read_query(query))


def _verify(
    method: bytes,
    target: bytes,
    headers: Headers,
    spellings: Callable[[bytes, bytes], list[bytes]],
    keys: KeySource,
    now: float,
) -> Caller:
    found = by_name(headers)
    access_key_id, signature = _parse_authorization(found.get(b"authorization", b""))
    date = found.get(b"date", b"").strip()
    if not date:
        raise MissingRequiredHeader("Date")
    _check_date(date, now)
    key = _find(keys, access_key_id, found.get(_TOKEN, b"").strip(), now)
    path, _, query = target.partition(b"?")
    for resource in spellings(_path(path), query):
        text = _string_to_sign(method, found, date, resource)
        if hmac.compare_digest(_sign(key, text), signature):
            return key.caller
    raise SignatureNotMatch()


def _find(keys: KeySource, access_key_id: bytes, token: bytes, now: float) -> AccessKey:
    return keys.find(access_key_id.decode("latin-1"), token.decode("latin-1"), now)


def _sign(key: AccessKey, text: bytes) -> bytes:
    return base64.b64encode(hmac.digest(key.secret, text, "sha256"))


def _string_to_sign(
    method: bytes, found: Mapping[bytes, bytes], date: bytes, resource: bytes
) -> bytes:
    own = sorted(name for name in found if name.startswith(b"x-fc-"))
    return b"%b\n%b\n%b\n%b\n%b%b" % (
        method.upper(),
        found.get(b"content-md5", b"").strip(),
        found.get(b"content-type", b"").strip(),
        date,
        b"".join([name + b":" + found[name].strip() + b"\n" for name in own]),
        resource,
    )


def _path(path: bytes) -> bytes:
    decoded = unquote_to_bytes(path) or b"/"
    # A line break would let a path pass for a path and a query.
    if b"\n" in decoded:
        raise SignatureNotMatch()
    return decoded


def _without_query(path: bytes, query: bytes) -> list[bytes]:
    return [path]


def _with_query(path: bytes, query: bytes) -> list[bytes]:
    """Path and query as clients sign them: sorted, or in the order of the address.

    The client that keeps the order decodes the query before it takes it apart, so an encoded `&`
    is one like any other to it, and its signature does not tell `x=1%26y=2` from `x=1&y=2`.
    """
    readings = [sorted(_parts(query)), unquote_to_bytes(query.replace(b"+", b" ")).split(b"&")]
    return list(dict.fromkeys([path + b"\n" + b"\n".join(reading) for reading in readings]))


def _parts(query: bytes) -> list[bytes]:
    """Take a query apart at `&` and decode the parts.

    Raises SignatureNotMatch for a part that would read as something else.
    """
    parts = []
    for part in query.replace(b"+", b" ").split(b"&"):
        decoded = unquote_to_bytes(part)
        if b"\n" in decoded or b"=" in unquote_to_bytes(part.partition(b"=")[0]):
            raise SignatureNotMatch()
        if part:
            parts.append(decoded)
    return parts


def _fields_of_address(query: bytes) -> dict[bytes, bytes]:
    """Read the parameters that an address is signed with; none of them may be there twice."""
    fields = {}
    for name, value in read_query(query):
        if name in (_ID, _EXPIRES, _SIGNATURE, _TOKEN):
            if name in fields:
                raise SignatureNotMatch()
            fields[name] = value
    if _SIGNATURE not in fields:
        raise SignatureNotMatch()
    return fields


def _parse_authorization(value: bytes) -> tuple[bytes, bytes]:
    if not value.strip():
        raise MissingRequiredHeader("Authorization")
    scheme, *rest = value.split(None, 1)
    access_key_id, _, signature = b"".join(rest).strip().rpartition(b":")
    if scheme != SCHEME or not access_key_id or not signature:
        raise AccessDenied("the header Authorization must read 'FC ACCESS_KEY_ID:SIGNATURE'")
    return access_key_id, signature


@lru_cache(maxsize=64)
def _read_date(date: bytes) -> float:
    found = _DATE.fullmatch(date)
    if not found or found[2] not in _MONTHS:
        raise ValueError
    day, month, *rest = found.groups()
    year, hour, minute, second = map(int, rest)
    return datetime(
        year, _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC
    ).timestamp()


def _check_date(date: bytes, now: float) -> None:
    try:
        then = _read_date(date)
    except ValueError:
        raise AccessDenied("the header Date must read 'Tue, 02 Jan 2024 03:04:05 GMT'") from None
    if abs(now - then) > CLOCK_DIFFERENCE_S:
        raise too_far(date, now)
