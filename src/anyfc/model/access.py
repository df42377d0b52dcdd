"""Access: who may call a trigger or a custom domain, and what browsers are told about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Everybody."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signs the request with an access key (`authType: function`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A place where a token is looked for."""

    position: str  # header, query, form or cookie
    name: str
    prefix: str = ""  # taken off the value


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPass:
    """A verified claim that the function is shown, at a position and under a name."""

    position: str  # header, query, form or cookie
    claim: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwt:
    """Who brings a token signed with one of the keys.

    A path of `public` needs no token; if there are `guarded` paths, only these need one. Paths are
    exact, or end in `*`.
    """

    keys: tuple[Mapping[str, Any], ...]  # JWKs
    lookups: tuple[Lookup, ...]
    claims: tuple[ClaimPass, ...] = ()
    public: tuple[str, ...] = ()
    guarded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerToken:
    name: str
    token: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who brings one of the tokens."""

    tokens: tuple[BearerToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Basic:
    """Who brings the name and password of one of the users."""

    users: tuple[User, ...]


Access = Anonymous | Signed | Jwt | Bearer | Basic


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """What pages of other origins may do (`corsConfig`); names as configured, `*` is any."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int = 3600
