"""Who may call a function by HTTP, through a trigger or a custom domain. Values only, no I/O.

Source: Function Compute, "Configure … authentication for HTTP triggers" (signature, JWT, Bearer,
Basic); runtime.md 15.4, api.md 4.3 and 9.4. Which failure has which status (401, 403) is assumed.
"""

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import unquote_to_bytes

from anyfc.errors import AccessDenied, MissingRequiredHeader, Unauthorized
from anyfc.identity.claims import Parts, Shown, find_token, hide, pass_claims
from anyfc.identity.fc import SCHEME, is_signed_address, verify_fc_address, verify_fc_call
from anyfc.identity.key import Caller
from anyfc.identity.signature import Headers, KeySource, verify_call
from anyfc.identity.token import verify_token
from anyfc.model.access import Access, Anonymous, Basic, Bearer, Jwt, Signed

# What servers do not all read in the same way, in a path that has been decoded once: doubled
# slashes, `.` and `..`, `\`, parameters (`;…`), what is encoded twice or wrongly, what ends a
# path, and control characters.
_AMBIGUOUS = re.compile(r"//|/\.{1,2}(?:/|\Z)|[\\;%?#\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The call may go on to the function.

    `shown` goes through `claims.show`, also where it only takes names from the client: otherwise a
    client could pass off values of its own as verified ones.
    """

    caller: Caller | None = None  # known when the call is signed
    content_sha256: bytes = b""  # for `signature.check_body`; empty: the body is not signed
    shown: tuple[Shown, ...] = ()


EVERYBODY = Granted()


def authorise(
    access: Access,
    *,
    method: bytes,
    target: bytes,
    headers: Headers,
    keys: KeySource,
    now: float,
    form: bytes | None = None,
    base_path: bytes = b"",
) -> Granted:
    """Let a call in, or raise what its caller is told.

    `target` is the request target as it stood on the request line; `base_path` is the part of it
    that the function does not see. `form` is the body when `claims.needs_form` wants it. `now` is
    Unix time in seconds. Raises Unauthorized, AccessDenied, MissingRequiredHeader,
    SignatureNotMatch, InvalidAccessKeyID.
    """
    match access:
        case Anonymous():
            return EVERYBODY
        case Signed():
            return _check_signature(method, target, headers, keys, now)
        case Jwt():
            parts = Parts(target=target, headers=headers, form=form)
            return _check_token(access, parts, base_path, now)
        case Bearer():
            return _check_bearer(access, headers)
        case Basic():
            return _check_basic(access, headers)
        case _:
            assert_never(access)


def _check_signature(
    method: bytes, target: bytes, headers: Headers, keys: KeySource, now: float
) -> Granted:
    sent = _authorization(headers)
    scheme = sent.partition(b" ")[0]
    if scheme == SCHEME:
        caller = verify_fc_call(method, target, headers, keys=keys, now=now)
        return Granted(caller=caller)
    # In a call whose address is signed, another Authorization is the function's own business.
    if not scheme.startswith(b"ACS3-") and is_signed_address(target):
        caller = verify_fc_address(method, target, headers, keys=keys, now=now)
        return Granted(caller=caller)
    if not sent:
        raise MissingRequiredHeader("Date")  # what the cloud says to a call without a signature
    call = verify_call(method, target, headers, keys=keys, now=now)
    return Granted(caller=call.caller, content_sha256=call.content_sha256)


def _check_token(access: Jwt, parts: Parts, base_path: bytes, now: float) -> Granted:
    path = parts.target.partition(b"?")[0].removeprefix(base_path)
    if not needs_token(access, path):
        return Granted(shown=hide(access.claims))
    token = find_token(access.lookups, parts)
    if not token:
        raise Unauthorized("the jwt token is missing", challenge="Bearer")
    claims = verify_token(access, token, now=now)
    return Granted(shown=pass_claims(access.claims, claims))


def needs_token(access: Jwt, path: bytes) -> bool:
    """Tell whether a path, as sent, needs a token.

    One that the function may read in more ways than one does, whatever paths are listed.
    """
    plain = _read_plain(path) if access.guarded or access.public else None
    if plain is None:
        return True
    if not access.guarded:
        return not any(_matches(pattern, plain) for pattern in access.public)
    # Most frameworks take paths that differ like this for the same, and a token is the safe side.
    bare = plain.casefold().rstrip("/")
    guarded = [pattern.casefold() for pattern in access.guarded]
    return any(_matches(pattern, bare) or _matches(pattern, bare + "/") for pattern in guarded)


def _matches(pattern: str, path: str) -> bool:
    return path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def _read_plain(path: bytes) -> str | None:
    """Return a path decoded, or None if servers could read it in several ways."""
    try:
        decoded = unquote_to_bytes(path).decode() or "/"
    except UnicodeDecodeError:
        return None
    # An encoded slash is one to some servers. What does not begin with one is an address of its
    # own, `http://…`, or nothing that has a path.
    if b"%2f" in path.lower() or not decoded.startswith("/") or _AMBIGUOUS.search(decoded):
        return None
    return decoded


def _check_bearer(access: Bearer, headers: Headers) -> Granted:
    sent = _authorization(headers)
    if not sent:
        raise Unauthorized("Authorization header is expected but missing", challenge="Bearer")
    scheme, _, token = sent.partition(b" ")
    # All are compared, and each in constant time: how long it takes says nothing.
    found = [
        one.enabled & hmac.compare_digest(one.token.encode(), token.strip())
        for one in access.tokens
    ]
    if scheme.lower() != b"bearer" or not token.strip() or not any(found):
        raise AccessDenied("access denied due to invalid bearer token")
    return EVERYBODY


def _check_basic(access: Basic, headers: Headers) -> Granted:
    challenge = 'Basic realm="function", charset="UTF-8"'
    sent = _authorization(headers)
    if not sent:
        raise Unauthorized("authorization require", challenge=challenge)
    scheme, _, encoded = sent.partition(b" ")
    if scheme.lower() != b"basic":
        raise Unauthorized("Authorization header must start with Basic", challenge=challenge)
    try:
        pair = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        pair = b""
    name, _, password = pair.partition(b":")
    found = [
        hmac.compare_digest(user.name.encode(), name)
        & hmac.compare_digest(user.password.encode(), password)
        for user in access.users
    ]
    if not name or not any(found):
        raise AccessDenied("access denied due to invalid user name or password")
    return EVERYBODY


def _authorization(headers: Headers) -> bytes:
    """The header Authorization; of several the first."""
    return next((value.strip() for name, value in headers if name == b"authorization"), b"")
