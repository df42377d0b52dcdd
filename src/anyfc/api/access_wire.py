"""Who may call, on the wire: authType with authConfig or authInfo, and corsConfig.

Triggers and custom domains say it in the same words. Names and forms that the published pages leave
open (those of `bearer` and `basic`) are chosen here and nowhere else.

Source: "Configure JWT/Bearer/Basic authentication for HTTP triggers", "Configure CORS"; the JWT
settings as the deployment tools write them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from anyfc.api.shape import (
    Anything,
    Choice,
    Clearable,
    Flag,
    Integer,
    Items,
    JsonObject,
    Record,
    Shape,
    Text,
    mistyped,
)
from anyfc.errors import InvalidArgument
from anyfc.identity.token import check_keys
from anyfc.model.access import (
    Access,
    Anonymous,
    Basic,
    Bearer,
    BearerToken,
    ClaimPass,
    Cors,
    Jwt,
    Lookup,
    Signed,
    User,
)
from anyfc.model.trigger import METHODS

AUTH_NAMES: Mapping[str, type[Access]] = {
    "function": Signed,
    "anonymous": Anonymous,
    "jwt": Jwt,
    "bearer": Bearer,
    "basic": Basic,
}
POSITIONS = ("header", "query", "form", "cookie")
SPECIAL = "!@#$%^&*()"

NAME = Text(1, 256, re.compile(r"[\w.!#$%&'*+^`|~\[\]-]+", re.ASCII), "is not a parameter's name")
CLAIM = Text(1, 256)
PATH = Text(1, 2048, re.compile(r"/[^*]*\*?|\*"), "must begin with / and have * only at its end")
TOKEN = Text(
    32,
    128,
    re.compile(r"[A-Za-z0-9+/=~.-]+"),
    "must hold only letters, digits and + / = - ~ .",
    secret=True,
)
USER_NAME = Text(
    12,
    128,
    re.compile(r"[^:\0-\x1f]+"),
    "must not contain : or control characters",
    secret=True,
)


class Word:
    """One of a closed list of words, in any case; `fold` gives a word the case of the list."""

    def __init__(self, *words: str, fold: Callable[[str], str] = str.lower) -> None:
        self._choice = Choice(words)
        self._fold = fold

    def read(self, value: Any, field: str) -> str:
        word = self._choice.read(self._fold(value) if isinstance(value, str) else value, field)
        return str(word)


AUTH_TYPE = Word(*AUTH_NAMES)
POSITION = Word(*POSITIONS)
METHOD = Word(*METHODS, fold=str.upper)
ORIGIN = Text(
    1,
    256,
    re.compile(r"\*|https?://\*|[a-z][a-z0-9+.-]*://[^\s/*?#@,]+", re.IGNORECASE),
    "is not *, http://*, https://* or an origin such as https://www.example.com",
)
CORS_HEADER = Text(
    1, 256, re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"), "is not the name of a header, or *"
)
CORS_METHOD = Word(*(name for name in METHODS if name != "OPTIONS"), "*", fold=str.upper)


class Key:
    """A JSON Web Key, with the names of its members in lower case."""

    def read(self, value: Any, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise mistyped(field, value, "an object", secret=True)
        key = {name.lower(): content for name, content in value.items()}
        Record({"kty": Text(1, 16, secret=True)}, ("kty",)).read(key, field)
        return key


class Listed:
    """Records in a list, or as `a:b:c` in a list or in text with commas in between.

    `parts` are the names that `a`, `b` and `c` have in a record, in this order.
    """

    def __init__(self, record: Record, parts: tuple[str, ...]) -> None:
        self._records = Items(record, 100)
        self._parts = parts

    def read(self, value: Any, field: str) -> list[dict[str, Any]]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list):
            value = [self._divide(item) if isinstance(item, str) else item for item in value]
        return self._records.read(value, field)

    def _divide(self, text: str) -> dict[str, str]:
        words = [word.strip() for word in text.split(":", len(self._parts) - 1)]
        return dict(zip(self._parts, words, strict=False))


class Paths:
    """Paths in a list, or in text with commas in between."""

    paths = Items(PATH, 100)

    def read(self, value: Any, field: str) -> list[str]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        return self.paths.read(value, field)


class Password:
    """12 to 128 characters with a capital, a small letter, a digit and a special character."""

    text = Text(12, 128)
    needed = (r"[A-Z]", r"[a-z]", r"[0-9]", f"[{re.escape(SPECIAL)}]")

    def read(self, value: Any, field: str) -> str:
        # The message never shows it: it might be right but for one character.
        if not isinstance(value, str) or not self.text.least <= len(value) <= self.text.most:
            raise InvalidArgument(
                f"{field}: is not text of {self.text.least} to {self.text.most} characters"
            )
        if not all(re.search(kind, value) for kind in self.needed):
            raise InvalidArgument(
                f"{field}: needs a capital, a small letter, a digit and one of {SPECIAL}"
            )
        return value


JWT = Record(
    {
        "jwks": Record({"keys": Items(Key(), 50, secret=True)}, ("keys",), secret=True),
        "tokenLookup": Listed(
            Record(
                {"readPosition": POSITION, "parameterName": NAME, "prefix": Text(0, 256)},
                ("readPosition", "parameterName"),
            ),
            ("readPosition", "parameterName", "prefix"),
        ),
        "claimPassBy": Listed(
            Record(
                {
                    "mappingParameterPosition": POSITION,
                    "claimName": CLAIM,
                    "mappingParameterName": NAME,
                },
                ("mappingParameterPosition", "claimName"),
            ),
            ("mappingParameterPosition", "claimName", "mappingParameterName"),
        ),
        "whitelist": Paths(),
        "blacklist": Paths(),
    },
    ("jwks", "tokenLookup"),
)
BEARER = Record(
    {
        "tokens": Items(
            Record(
                {"name": Text(0, 128, secret=True), "token": TOKEN, "enable": Flag()},
                ("token",),
                secret=True,
            ),
            20,
            secret=True,
        )
    },
    ("tokens",),
)
BASIC = Record(
    {
        "users": Items(
            Record(
                {"username": USER_NAME, "password": Password()},
                ("username", "password"),
                secret=True,
            ),
            20,
            secret=True,
        )
    },
    ("users",),
)
CORS = Clearable(
    Record(
        {
            "allowOrigins": Items(ORIGIN, 100),
            "allowMethods": Items(CORS_METHOD),
            "allowHeaders": Items(CORS_HEADER, 50),
            "exposeHeaders": Items(CORS_HEADER, 50),
            "allowCredentials": Flag(),
            "maxAge": Integer(0, 86400),
        }
    )
)
# The settings of an auth type: which they are is read only when the type is known.
SETTINGS: Shape = Anything()


def read_access(auth_type: str, settings: Any, field: str) -> Access:
    """Return who may call. `settings` is JSON text or an object; None stands for none.

    Raises InvalidArgument.
    """
    if auth_type == "function":
        return Signed()
    if auth_type == "anonymous":
        return Anonymous()
    text = JsonObject(secret=True).read("" if settings is None else settings, field)
    content = msgspec.json.decode(text or "{}")
    match auth_type:
        case "jwt":
            return read_jwt(JWT.read(content, field), field)
        case "bearer":
            return read_bearer(BEARER.read(content, field), field)
        case _:
            return read_basic(BASIC.read(content, field), field)


def read_jwt(fields: dict[str, Any], field: str) -> Jwt:
    public, guarded = fields.get("whitelist", []), fields.get("blacklist", [])
    if public and guarded:
        raise InvalidArgument(f"{field}: whitelist and blacklist exclude each other")
    keys = some(fields["jwks"]["keys"], f"{field}.jwks.keys")
    check_keys(keys, f"{field}.jwks.keys")
    return Jwt(
        keys=tuple(keys),
        lookups=tuple(
            Lookup(
                position=place["readPosition"],
                name=place["parameterName"],
                prefix=place.get("prefix", ""),
            )
            for place in some(fields["tokenLookup"], f"{field}.tokenLookup")
        ),
        claims=tuple(
            ClaimPass(
                position=claim["mappingParameterPosition"],
                claim=claim["claimName"],
                name=claim.get("mappingParameterName") or NAME.read(claim["claimName"], field),
            )
            for claim in fields.get("claimPassBy", [])
        ),
        public=tuple(public),
        guarded=tuple(guarded),
    )


def read_bearer(fields: dict[str, Any], field: str) -> Bearer:
    return Bearer(
        tuple(
            BearerToken(
                name=token.get("name", ""), token=token["token"], enabled=token.get("enable", True)
            )
            for token in some(fields["tokens"], f"{field}.tokens")
        )
    )


def read_basic(fields: dict[str, Any], field: str) -> Basic:
    users = some(fields["users"], f"{field}.users")
    names = [user["username"] for user in users]
    for at, name in enumerate(names):
        if names.index(name) < at:
            raise InvalidArgument(f"{field}.users[{at}].username: another user has this name")
    return Basic(tuple(User(name=user["username"], password=user["password"]) for user in users))


def some(items: list[Any], field: str) -> list[Any]:
    if not items:
        raise InvalidArgument(f"{field}: at least one is required")
    return items


def read_cors(fields: dict[str, Any], field: str) -> Cors | None:
    """Return what a `corsConfig` of its shape says; an empty one says nothing."""
    if not fields:
        return None
    origins, credentials = fields.get("allowOrigins", []), fields.get("allowCredentials", False)
    if credentials and "*" in origins:
        raise InvalidArgument(f"{field}: allowCredentials and the origin * exclude each other")
    return Cors(
        origins=tuple(origins),
        methods=tuple(fields.get("allowMethods", ())),
        headers=tuple(fields.get("allowHeaders", ())),
        exposed_headers=tuple(fields.get("exposeHeaders", ())),
        credentials=credentials,
        max_age_s=fields.get("maxAge", 3600),
    )


def show_cors(cors: Cors) -> dict[str, Any]:
    return {
        "allowOrigins": list(cors.origins),
        "allowMethods": list(cors.methods),
        "allowHeaders": list(cors.headers),
        "exposeHeaders": list(cors.exposed_headers),
        "allowCredentials": cors.credentials,
        "maxAge": cors.max_age_s,
    }


def show_auth_type(access: Access) -> str:
    return next(name for name, kind in AUTH_NAMES.items() if isinstance(access, kind))
