"""JSON Web Tokens: which key signed one, and what it claims. No I/O.

How a token is checked follows from the key, never from what the token says about itself.

Source: RFC 7515, 7517 to 7519 and 8725; Function Compute, "Configure JWT authentication".
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import Algorithm

from anyfc.errors import AccessDenied, InvalidArgument
from anyfc.model.access import Jwt

TOKEN_BYTES = 8 * 1024

# By key type, and by curve where the curve decides.
ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
    ("oct", ""): ("HS256", "HS384", "HS512"),
}

_PUBLIC_PARTS = ("n", "e", "x", "y", "k")
_BASE64 = re.compile(r"[A-Za-z0-9_+/-]*={0,2}")
_PRIVATE_PARTS = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth"))
_PARSER = jwt.PyJWS()


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key that is ready for use: for each algorithm it may check, what the library wants."""

    kid: str | None
    algorithms: Mapping[str, tuple[Algorithm, Any]]


def verify_token(access: Jwt, token: bytes, *, now: float) -> dict[str, Any]:
    """Return what a token claims. `now` is Unix time in seconds.

    A token without `exp` does not expire. Raises AccessDenied, without saying what is wrong.
    """
    if len(token) > TOKEN_BYTES:
        raise _invalid()
    try:
        parsed = _PARSER.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise _invalid() from error
    head = parsed["header"]
    content = token.rpartition(b".")[0]
    for key in _chosen(_read_keys(_Settings(access)), head.get("kid")):
        algorithm, prepared = _algorithm(key, head.get("alg"))
        if algorithm and algorithm.verify(content, prepared, parsed["signature"]):
            return _check_claims(parsed["payload"], now)
    raise _invalid()


def check_keys(keys: Sequence[Mapping[str, Any]], field: str) -> None:
    """Find out, when they are configured, whether all keys can be used.

    `field` is what the settings call them. Raises InvalidArgument.
    """
    for number, key in enumerate(keys):
        try:
            read_key(key)
        except InvalidArgument as problem:
            raise InvalidArgument(f"{field}[{number}]: {problem}") from problem


def read_key(jwk: Mapping[str, Any]) -> VerifyingKey:
    """Make a key ready for use. Of a pair, only the public half is kept.

    Raises InvalidArgument.
    """
    kind, curve, wanted, kid = (jwk.get(name, "") for name in ("kty", "crv", "alg", "kid"))
    if not all(isinstance(text, str) for text in (kind, curve, wanted, kid)):
        raise InvalidArgument("kty, crv, alg and kid must be texts")
    if jwk.get("use", "sig") != "sig":
        raise InvalidArgument("a key for another use than 'sig' verifies no token; leave it out")
    fitting = ALGORITHMS.get((kind, curve if kind in ("EC", "OKP") else ""), ())
    if wanted:
        fitting = tuple(name for name in fitting if name == wanted)
    if not fitting:
        raise InvalidArgument(
            f"no algorithm for kty '{kind[:20]}', crv '{curve[:20]}' and alg '{wanted[:20]}'"
        )
    for name in _PUBLIC_PARTS:
        value = jwk.get(name, "")
        # The library would leave out what does not belong there, and verify with another key.
        if not isinstance(value, str) or not _BASE64.fullmatch(value):
            raise InvalidArgument(f"{name} must be text in base64url")
    public = {
        name: value for name, value in jwk.items() if kind == "oct" or name not in _PRIVATE_PARTS
    }
    try:
        algorithms = {name: _prepare(jwt.PyJWK(public, name)) for name in fitting}
    except KeyError as error:
        raise InvalidArgument(f"{error.args[0]} is missing") from error
    except (jwt.PyJWTError, UnsupportedAlgorithm, ArithmeticError, LookupError, TypeError,
            ValueError) as error:  # fmt: skip
        raise InvalidArgument(f"the key cannot be read ({error})") from error
    return VerifyingKey(kid or None, algorithms)


def _prepare(key: jwt.PyJWK) -> tuple[Algorithm, Any]:
    return key.Algorithm, key.Algorithm.prepare_key(key.key)


class _Settings:
    """Settings that are told apart by being the same object: their keys cannot be hashed."""

    __slots__ = ("access",)

    def __init__(self, access: Jwt) -> None:
        self.access = access

    def __hash__(self) -> int:
        return id(self.access)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Settings) and self.access is other.access


@lru_cache(maxsize=256)  # reading a key takes longer than checking a token with it
def _read_keys(settings: _Settings) -> tuple[VerifyingKey, ...]:
    keys = []
    for key in settings.access.keys:
        # Keys are checked when they are configured. One that cannot be read any more, after a
        # change of the library, lets nobody in, and must not shut out those with another key.
        with suppress(InvalidArgument):
            keys.append(read_key(key))
    return tuple(keys)


def _chosen(keys: Sequence[VerifyingKey], kid: str | None) -> Sequence[VerifyingKey]:
    """The keys that may have signed: the named ones, or else those that have no name."""
    if kid is None:
        return keys
    return [key for key in keys if key.kid == kid] or [key for key in keys if key.kid is None]


def _algorithm(key: VerifyingKey, name: object) -> tuple[Algorithm | None, Any]:
    return key.algorithms.get(name, (None, None)) if isinstance(name, str) else (None, None)


def _check_claims(payload: bytes, now: float) -> dict[str, Any]:
    try:
        claims = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise _invalid() from error
    # The library's own check reads the clock.
    if now >= _time(claims, "exp", now + 1) or now < _time(claims, "nbf", now):
        raise _invalid()
    return claims


def _time(claims: Mapping[str, Any], name: str, default: float) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid()
    return value


def _invalid() -> AccessDenied:
    return AccessDenied("invalid or expired jwt")
