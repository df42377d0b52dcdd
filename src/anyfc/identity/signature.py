"""ACS3-HMAC-SHA256: sign a request, and find out who signed one. Values only, no I/O.

Checking has two steps because the head of a request arrives before its body: `verify` trusts the
hash that the head claims, `check_body` compares that claim with what arrived. Calls to functions
by HTTP are signed with fewer headers and without the body: `verify_call`.

Source: Alibaba Cloud, "V3 request body and signature mechanism"; Function Compute, "Configure
signature authentication for HTTP triggers".
"""

import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from anyfc.errors import AccessDenied, MissingRequiredHeader, SignatureNotMatch
from anyfc.identity.key import AccessKey, Caller

# Names in lower case, as an HTTP parser hands them over.
Headers = Sequence[tuple[bytes, bytes]]

ALGORITHM: Final = b"ACS3-HMAC-SHA256"
CLOCK_DIFFERENCE_S: Final = 15 * 60
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

_TOKEN: Final = b"x-acs-security-token"
_MUST_BE_SIGNED: Final = frozenset((b"host", b"x-acs-date", b"x-acs-content-sha256"))
_MUST_BE_SIGNED_IN_CALLS: Final = frozenset((b"x-acs-date",))

_START: Final = ALGORITHM + b" Credential="
_PARTS: Final = [b"Credential", b"SignedHeaders", b"Signature"]
_DATE: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MILLISECONDS: Final = re.compile(rb"\.\d{1,9}Z$")
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")
# A query of one parameter that is its own canonical form, such as `qualifier=LATEST`.
_CANONICAL_PARAMETER: Final = re.compile(rb"[\w.~-]+=[\w.~-]*")


class KeySource(Protocol):
    def find(self, access_key_id: str, security_token: str, now: float) -> AccessKey:
        """Raises InvalidAccessKeyID, AccessDenied."""


def verify(
    method: bytes,
    target: bytes,
    headers: Headers,
    *,
    keys: KeySource,
    now: float,
    fields: dict[bytes, bytes] | None = None,
) -> Caller:
    """Return who signed the head of a request; the body is not looked at.

    `target` is the request target as it stood on the request line, `fields` are the headers by name
    if that is known already, of a repeated one the last. `now` is Unix time in seconds.
    Raises MissingRequiredHeader, InvalidAccessKeyID, SignatureNotMatch; AccessDenied for all that
    a client must do differently, such as signing one more header or setting its clock.
    """
    found = by_name(headers, fields)
    credential, names, signature = _parse_authorization(found.get(b"authorization"))
    date = found.get(b"x-acs-date", b"").strip()
    if not date:
        raise MissingRequiredHeader("x-acs-date")
    claimed = found.get(b"x-acs-content-sha256", b"").strip()
    if not claimed:
        raise MissingRequiredHeader("x-acs-content-sha256")
    if not _SHA256.fullmatch(claimed):
        raise _not_a_hash()
    signed = _read_names(names)
    token = found.get(_TOKEN, b"").strip()
    if token and _TOKEN not in signed.names:
        raise AccessDenied("the header x-acs-security-token must be signed")
    _check_date(date, date, now)
    key = keys.find(credential.decode("latin-1"), token.decode("latin-1"), now)
    try:
        headers_text = signed.fill(found)
    except KeyError as error:
        raise _not_sent(error.args[0]) from None
    path, _, query = target.partition(b"?")
    expected = _signature(
        key.secret, method, path or b"/", canonical_query(query), headers_text, claimed
    )
    if not hmac.compare_digest(expected.encode(), signature):
        raise SignatureNotMatch()
    return key.caller


class SignedCall(NamedTuple):
    """Who signed a call to a function, and the hash of the body if that was signed too."""

    caller: Caller
    content_sha256: bytes  # what `check_body` takes; empty: the body is not signed


def verify_call(
    method: bytes, target: bytes, headers: Headers, *, keys: KeySource, now: float
) -> SignedCall:
    """Return who signed a call to an HTTP trigger or a custom domain.

    Clients sign the date and the security token only, also an empty one that they then leave out,
    and path and query in one of several spellings. Who signs as for the control API is let in too.
    `now` is Unix time in seconds. Raises what `verify` raises.
    """
    found = {_TOKEN: b"", **by_name(headers)}
    date = found.get(b"x-acs-date", b"").strip()
    if not date:
        raise MissingRequiredHeader("Date")
    credential, names, signature = _parse_authorization(found.get(b"authorization"))
    signed = _read_names_of_call(names)
    token = found[_TOKEN].strip()
    if token and _TOKEN not in signed.names:
        raise AccessDenied("the header x-acs-security-token must be signed")
    _check_date(date, _MILLISECONDS.sub(b"Z", date), now)
    try:
        headers_text = signed.fill(found)
    except KeyError as error:
        raise _not_sent(error.args[0]) from None
    claimed = b""
    if b"x-acs-content-sha256" in signed.names:
        claimed = found[b"x-acs-content-sha256"].strip()
        if not _SHA256.fullmatch(claimed):
            raise _not_a_hash()
    key = keys.find(credential.decode("latin-1"), token.decode("latin-1"), now)
    path, _, query = target.partition(b"?")
    for written in _spellings_of_path(path or b"/"):
        for parameters in _spellings_of_query(query):
            expected = _signature(key.secret, method, written, parameters, headers_text, claimed)
            if hmac.compare_digest(expected.encode(), signature):
                return SignedCall(key.caller, claimed)
    raise SignatureNotMatch()


def check_body(claimed: bytes, digest: bytes) -> None:
    """Compare the value of `x-acs-content-sha256` with the SHA-256 (32 bytes) of what arrived.

    Raises SignatureNotMatch.
    """
    if claimed.strip() != digest.hex().encode():
        raise SignatureNotMatch()


def sign(
    method: bytes,
    target: bytes,
    headers: Headers,
    *,
    access_key_id: str,
    access_key_secret: str,
) -> bytes:
    """Return the value of `Authorization` for a request; every given header is signed.

    Among the headers must be `host`, `x-acs-date` and `x-acs-content-sha256`.
    """
    found = by_name(headers)
    signed = sorted(found)
    names = b";".join(signed)
    path, _, query = target.partition(b"?")
    signature = _signature(
        access_key_secret.encode(),
        method,
        path or b"/",
        canonical_query(query),
        _read_names(names).fill(found),
        found[b"x-acs-content-sha256"].strip(),
    )
    return b"%b Credential=%b,SignedHeaders=%b,Signature=%b" % (
        ALGORITHM,
        access_key_id.encode(),
        names,
        signature.encode(),
    )


def format_date(now: float) -> str:
    """Write Unix time in seconds as `x-acs-date` wants it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical_query(query: bytes) -> bytes:
    """Decode a query as a form, sort it and encode its values the one way that is signed.

    Raises SignatureNotMatch for keys that would read as something else: keys stay unencoded.
    """
    if not query or _CANONICAL_PARAMETER.fullmatch(query):
        return query
    pairs = read_query(query)
    pairs.sort()
    for key, _ in pairs:
        if b"&" in key or b"=" in key or b"\n" in key:
            raise SignatureNotMatch()
    return _join(pairs)


def read_query(query: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and values of a query, decoded as a form, in their order."""
    pairs = []
    for parameter in query.replace(b"+", b" ").split(b"&"):
        if parameter:
            key, _, value = parameter.partition(b"=")
            pairs.append((unquote_to_bytes(key), unquote_to_bytes(value)))
    return pairs


def by_name(headers: Headers, fields: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """Return the headers by their names, values of a repeated one sorted and joined.

    `fields` are the same with the last value of a repeated one, if there is such a thing already.
    """
    found = dict(headers) if fields is None else fields
    if len(found) == len(headers):
        return found
    values = defaultdict(list)
    for name, value in headers:
        values[name].append(value.strip())
    return {name: b",".join(sorted(several)) for name, several in values.items()}


def too_far(sent: bytes, now: float) -> AccessDenied:
    """Say that the time a client sent is too far from `now`, Unix time in seconds."""
    return AccessDenied(
        f"the difference between the request time '{sent.decode('latin-1')}' and the current time "
        f"'{format_date(now)}' is too large"
    )


def _signature(
    secret: bytes, method: bytes, path: bytes, query: bytes, headers: bytes, payload: bytes
) -> str:
    request = b"\n".join((method, path, query, headers, payload))
    text = ALGORITHM + b"\n" + hashlib.sha256(request).hexdigest().encode()
    return hmac.digest(secret, text, "sha256").hex()


def _spellings_of_path(path: bytes) -> list[bytes]:
    """A path as clients sign it: as sent or decoded, both also with an encoded `$`."""
    decoded = unquote_to_bytes(path)
    written = [path, path.replace(b"$", b"%24")]
    # With a line break in it, a path could pass for a path and a query.
    if b"\n" not in decoded:
        written += [decoded, decoded.replace(b"$", b"%24")]
    return list(dict.fromkeys(written))


def _spellings_of_query(query: bytes) -> list[bytes]:
    """A query as clients sign it: all values of a name or the first, names encoded or not."""
    pairs = read_query(query)
    firsts = list(dict(reversed(pairs)).items())
    written = []
    for chosen in (pairs, firsts):
        chosen.sort()
        written.append(
            _join([(quote_from_bytes(key, "").encode(), value) for key, value in chosen])
        )
        # A name that would read as something else is signed encoded only.
        if not any(b"&" in key or b"=" in key or b"\n" in key for key, _ in chosen):
            written.append(_join(chosen))
    return list(dict.fromkeys(written))


def _join(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"&".join([key + b"=" + quote_from_bytes(value, "").encode() for key, value in pairs])


class _Signed:
    """What follows from a list of signed headers alone."""

    __slots__ = ("_listed", "names")

    def __init__(self, listed: bytes) -> None:
        self._listed = listed
        self.names = listed.split(b";")

    def fill(self, found: dict[bytes, bytes]) -> bytes:
        """Return the canonical headers and their list. Raises KeyError for one that is missing."""
        lines = [b"%b:%b\n" % (name, found[name].strip()) for name in self.names]
        lines.append(b"\n")
        lines.append(self._listed)
        return b"".join(lines)


@lru_cache(maxsize=256)  # a client signs the same headers each time
def _read_names(names: bytes) -> _Signed:
    return _signed(names, _MUST_BE_SIGNED)


@lru_cache(maxsize=256)
def _read_names_of_call(names: bytes) -> _Signed:
    return _signed(names, _MUST_BE_SIGNED_IN_CALLS)


def _signed(names: bytes, wanted: frozenset[bytes]) -> _Signed:
    signed = _Signed(names)
    if not wanted.issubset(signed.names):
        missing = b", ".join(sorted(wanted.difference(signed.names))).decode()
        raise AccessDenied(f"the header {missing} must be signed")
    return signed


def _not_sent(name: bytes) -> AccessDenied:
    text = name.decode("latin-1")
    return AccessDenied(f"the header {text} is listed as signed but was not sent")


def _not_a_hash() -> AccessDenied:
    return AccessDenied(
        "x-acs-content-sha256 must be the SHA-256 of the body as 64 lower-case hex digits"
    )


def _parse_authorization(value: bytes | None) -> tuple[bytes, bytes, bytes]:
    if not value or value.isspace():
        raise MissingRequiredHeader("Authorization")
    # As all clients known to us write it; then, as tolerantly as it can be read.
    start, _, rest = value.partition(b",SignedHeaders=")
    names, _, signature = rest.partition(b",Signature=")
    if start.startswith(_START) and start != _START and names and signature.isalnum():
        return start[len(_START) :], names, signature
    algorithm, *rest_of_it = value.split(None, 1)
    parts = [part.partition(b"=") for part in b"".join(rest_of_it).split(b",")]
    if algorithm == ALGORITHM and [name.strip() for name, _, _ in parts] == _PARTS:
        credential, names, signature = [text.strip() for _, _, text in parts]
        if credential and names and signature:
            return credential, names, signature
    if algorithm != ALGORITHM:
        name = algorithm[:40].decode("latin-1")
        raise AccessDenied(f"the algorithm '{name}' is not supported; use {ALGORITHM.decode()}")
    raise AccessDenied(
        "the header Authorization must read "
        f"'{ALGORITHM.decode()} Credential=…,SignedHeaders=…,Signature=…'"
    )


@lru_cache(maxsize=64)  # thousands of requests are signed in the same second
def _read_date(date: bytes) -> float:
    if not _DATE.fullmatch(date):
        raise ValueError
    return datetime.fromisoformat(date.decode()).timestamp()


def _check_date(sent: bytes, plain: bytes, now: float) -> None:
    """Compare the clocks; `plain` is what was sent, without milliseconds."""
    try:
        then = _read_date(plain)
    except ValueError:
        raise AccessDenied("the header x-acs-date must read yyyy-MM-ddTHH:mm:ssZ") from None
    if abs(now - then) > CLOCK_DIFFERENCE_S:
        raise too_far(sent, now)
