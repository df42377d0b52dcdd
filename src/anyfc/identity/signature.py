"""ACS3-HMAC-SHA256: sign a request, and find out who signed one. Values only, no I/O.

Checking has two steps because the head of a request arrives before its body: `verify` trusts the
hash that the head claims, `check_body` compares that claim with what arrived.

Source: Alibaba Cloud, "V3 request body and signature mechanism".
"""

import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from anyfc.errors import AccessDenied, MissingRequiredHeader, SignatureNotMatch
from anyfc.identity.key import AccessKey, Caller

# Names in lower case, as an HTTP parser hands them over.
Headers = Sequence[tuple[bytes, bytes]]

ALGORITHM = b"ACS3-HMAC-SHA256"
CLOCK_DIFFERENCE_S = 15 * 60
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_MUST_BE_SIGNED = frozenset((b"host", b"x-acs-date", b"x-acs-content-sha256"))

_START = ALGORITHM + b" Credential="
_PARTS = [b"Credential", b"SignedHeaders", b"Signature"]
_DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SHA256 = re.compile(rb"[0-9a-f]{64}")
# A query of one parameter that is its own canonical form, such as `qualifier=LATEST`.
_CANONICAL_PARAMETER = re.compile(rb"[\w.~-]+=[\w.~-]*")


class KeySource(Protocol):
    def find(self, access_key_id: str, security_token: str, now: float) -> AccessKey:
        """Raises InvalidAccessKeyID, AccessDenied."""


def verify(
    method: bytes, target: bytes, headers: Headers, *, keys: KeySource, now: float
) -> Caller:
    """Return who signed the head of a request; the body is not looked at.

    `target` is the request target as it stood on the request line. `now` is Unix time in seconds.
    Raises MissingRequiredHeader, InvalidAccessKeyID, SignatureNotMatch; AccessDenied for all that
    a client must do differently, such as signing one more header or setting its clock.
    """
    found = _by_name(headers)
    credential, names, signature = _parse_authorization(found.get(b"authorization"))
    date = found.get(b"x-acs-date", b"").strip()
    if not date:
        raise MissingRequiredHeader("x-acs-date")
    claimed = found.get(b"x-acs-content-sha256", b"").strip()
    if not claimed:
        raise MissingRequiredHeader("x-acs-content-sha256")
    if not _SHA256.fullmatch(claimed):
        raise AccessDenied(
            "x-acs-content-sha256 must be the SHA-256 of the body as 64 lower-case hex digits"
        )
    signed = _read_names(names)
    token = found.get(b"x-acs-security-token", b"").strip()
    if token and b"x-acs-security-token" not in signed.names:
        raise AccessDenied("the header x-acs-security-token must be signed")
    _check_date(date, now)
    key = keys.find(credential.decode("latin-1"), token.decode("latin-1"), now)
    try:
        headers_text = signed.fill(found)
    except KeyError as error:
        name = error.args[0].decode("latin-1")
        raise AccessDenied(f"the header {name} is listed as signed but was not sent") from None
    expected = _signature(key.secret, method, target, headers_text, claimed)
    if not hmac.compare_digest(expected.encode(), signature):
        raise SignatureNotMatch()
    return key.caller


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
    found = _by_name(headers)
    signed = sorted(found)
    names = b";".join(signed)
    claimed = found[b"x-acs-content-sha256"].strip()
    signature = _signature(
        access_key_secret.encode(), method, target, _read_names(names).fill(found), claimed
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
    pairs = []
    for parameter in query.replace(b"+", b" ").split(b"&"):
        if parameter:
            key, _, value = parameter.partition(b"=")
            pairs.append((unquote_to_bytes(key), unquote_to_bytes(value)))
    pairs.sort()
    for key, _ in pairs:
        if b"&" in key or b"=" in key or b"\n" in key:
            raise SignatureNotMatch()
    return b"&".join([key + b"=" + quote_from_bytes(value, "").encode() for key, value in pairs])


def _signature(secret: bytes, method: bytes, target: bytes, headers: bytes, payload: bytes) -> str:
    path, _, query = target.partition(b"?")
    request = b"\n".join((method, path or b"/", canonical_query(query), headers, payload))
    text = ALGORITHM + b"\n" + hashlib.sha256(request).hexdigest().encode()
    return hmac.digest(secret, text, "sha256").hex()


class _Signed(NamedTuple):
    """What follows from a list of signed headers alone; `template` takes their values."""

    names: list[bytes]
    template: bytes

    def fill(self, found: Mapping[bytes, bytes]) -> bytes:
        """Return the canonical headers and their list. Raises KeyError for one that is missing."""
        return self.template % tuple(map(bytes.strip, map(found.__getitem__, self.names)))


@lru_cache(maxsize=256)  # a client signs the same headers each time
def _read_names(names: bytes) -> _Signed:
    listed = names.split(b";")
    if not _MUST_BE_SIGNED.issubset(listed):
        missing = b", ".join(sorted(_MUST_BE_SIGNED.difference(listed))).decode()
        raise AccessDenied(f"the header {missing} must be signed")
    escaped = names.replace(b"%", b"%%")
    lines = b"".join([name + b":%b\n" for name in escaped.split(b";")])
    return _Signed(listed, lines + b"\n" + escaped)


def _by_name(headers: Headers) -> dict[bytes, bytes]:
    found = dict(headers)
    if len(found) == len(headers):
        return found
    values = defaultdict(list)
    for name, value in headers:
        values[name].append(value.strip())
    return {name: b",".join(sorted(several)) for name, several in values.items()}


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


def _check_date(date: bytes, now: float) -> None:
    try:
        then = _read_date(date)
    except ValueError:
        raise AccessDenied("the header x-acs-date must read yyyy-MM-ddTHH:mm:ssZ") from None
    if abs(now - then) > CLOCK_DIFFERENCE_S:
        raise AccessDenied(
            f"the difference between the request time '{date.decode()}' and the current time "
            f"'{format_date(now)}' is too large"
        )
