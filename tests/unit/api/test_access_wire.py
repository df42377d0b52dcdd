"""Who may call: the forms that clients write, and what they become."""

import json

import pytest

from anyfc.api.access_wire import CORS, read_access, read_cors, show_auth_type, show_cors
from anyfc.errors import InvalidArgument
from anyfc.model.access import (
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

KEY = {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "use": "sig", "kid": "k1", "more": ["y"]}
LOOKUP = "header:Authorization:Bearer,cookie:AuthCookie, query:token,form:token"
JWT = {"jwks": {"keys": [KEY]}, "tokenLookup": LOOKUP}
TOKEN = "0123456789abcdefABCDEF+/=-~.0123"
PASSWORD = "Correct-Horse-1!"


def read(kind, settings):
    return read_access(kind, settings, "c")


@pytest.mark.parametrize("settings", [None, "", {}, "{}", "anything"])
def test_signatures_and_nobody_in_particular_need_no_settings(settings):
    assert read("function", settings) == Signed()
    assert read("anonymous", settings) == Anonymous()


@pytest.mark.parametrize(
    "spelling",
    [
        json.dumps,
        lambda settings: settings,
        lambda settings: {key.capitalize(): value for key, value in settings.items()},
        lambda settings: json.dumps({key.upper(): value for key, value in settings.items()}),
    ],
)
def test_settings_are_text_or_an_object_with_keys_in_any_case(spelling):
    settings = {
        **JWT,
        "claimPassBy": "header:name:X-Name,query:uid:id, cookie:sub",
        "whitelist": ["/public/*", "/login"],
        "blacklist": [],
    }
    assert read("jwt", spelling(settings)) == Jwt(
        keys=(KEY,),
        lookups=(
            Lookup(position="header", name="Authorization", prefix="Bearer"),
            Lookup(position="cookie", name="AuthCookie"),
            Lookup(position="query", name="token"),
            Lookup(position="form", name="token"),
        ),
        claims=(
            ClaimPass(position="header", claim="name", name="X-Name"),
            ClaimPass(position="query", claim="uid", name="id"),
            ClaimPass(position="cookie", claim="sub", name="sub"),
        ),
        public=("/public/*", "/login"),
    )


def test_places_and_claims_may_be_lists_of_objects():
    access = read(
        "jwt",
        {
            "jwks": {"keys": [{"Kty": "oct", "K": "c2VjcmV0"}]},
            "tokenLookup": [
                {"readPosition": "Header", "parameterName": "A", "prefix": "B "},
                "query:t",
            ],
            "claimPassBy": [
                {
                    "mappingParameterPosition": "query",
                    "mappingParameterName": "id",
                    "claimName": "https://claims/uid",
                }
            ],
            "blackList": "/a/*,/b",
        },
    )
    assert access == Jwt(
        keys=({"kty": "oct", "k": "c2VjcmV0"},),
        lookups=(
            Lookup(position="header", name="A", prefix="B "),
            Lookup(position="query", name="t"),
        ),
        claims=(ClaimPass(position="query", claim="https://claims/uid", name="id"),),
        guarded=("/a/*", "/b"),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jwks": None}, "c.jwks: required"),
        ({"jwks": {"keys": []}}, "c.jwks.keys: at least one"),
        ({"jwks": {"keys": [{"n": "1"}]}}, r"c.jwks.keys\[0\].kty: required"),
        ({"jwks": {"keys": ["k"]}}, r"c.jwks.keys\[0\]: the value is not an object"),
        ({"jwks": {"keys": [KEY, {"kty": "RSA"}]}}, r"c.jwks.keys\[1\]: the key cannot be read"),
        ({"jwks": {"keys": [{**KEY, "use": "enc"}]}}, r"c.jwks.keys\[0\]: a key for another use"),
        ({"jwks": {"keys": [{"kty": "oct", "k": ""}]}}, r"c.jwks.keys\[0\]: the key cannot be"),
        ({"jwks": {"keys": [{**KEY, "alg": "RS256"}]}}, r"c.jwks.keys\[0\]: no algorithm for"),
        ({"tokenLookup": None}, "c.tokenLookup: required"),
        ({"tokenLookup": ""}, "c.tokenLookup: at least one"),
        ({"tokenLookup": "body:token"}, r"tokenLookup\[0\].readPosition: 'body' is not one of"),
        ({"tokenLookup": "header"}, r"tokenLookup\[0\].parameterName: required"),
        ({"tokenLookup": "header:a b"}, "'a b' is not a parameter's name"),
        ({"tokenLookup": 5}, "tokenLookup: 5 is not a list"),
        ({"claimPassBy": "header:https://x"}, "is not a parameter's name"),
        ({"whitelist": ["a"]}, "must begin with /"),
        ({"whitelist": ["/a/*/b"]}, "only at its end"),
        ({"whitelist": ["/a"], "blacklist": ["/b"]}, "exclude each other"),
    ],
)
def test_settings_of_tokens_that_make_no_sense_are_refused(change, message):
    with pytest.raises(InvalidArgument, match=message):
        read("jwt", {**JWT, **change})


def test_bearer_tokens_and_users_are_read():
    tokens = [{"name": "a", "token": TOKEN, "enable": False}, {"token": TOKEN}]
    assert read("bearer", {"tokens": tokens}) == Bearer(
        (BearerToken(name="a", token=TOKEN, enabled=False), BearerToken(name="", token=TOKEN))
    )
    users = [{"userName": "administrator", "password": PASSWORD}]
    assert read("basic", json.dumps({"users": users})) == Basic(
        (User(name="administrator", password=PASSWORD),)
    )


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "at least one"),
        ([{"token": TOKEN}] * 21, "21 items; at most 20"),
        ([{"name": "n" * 129, "token": TOKEN}], "has 129 characters"),
        ([{"token": "a" * 31}], "has 31 characters; allowed are 32 to 128"),
        ([{"token": "a" * 129}], "has 129 characters"),
        ([{"token": "a b" * 20}], "must hold only letters"),
        ([{}], "token: required"),
    ],
)
def test_tokens_outside_their_limits_are_refused(tokens, message):
    with pytest.raises(InvalidArgument, match=message):
        read("bearer", {"tokens": tokens})


def user(name="administrator", password=PASSWORD):
    return {"username": name, "password": password}


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([], "at least one"),
        ([user(f"administrator{n}") for n in range(21)], "21 items; at most 20"),
        ([user("short")], "has 5 characters; allowed are 12 to 128"),
        ([user("with:a:colon:in:it")], "must not contain :"),
        ([user(), user()], r"c.users\[1\].username: another user has this name"),
        ([user(password="Short-1!")], "is not text of 12 to 128 characters"),
        ([user(password="correct-horse-1!")], "needs a capital"),
        ([user(password="CORRECT-HORSE-1!")], "a small letter"),
        ([user(password="Correct-Horse-x!")], "a digit"),
        ([user(password="Correct-Horse-12")], "one of"),
    ],
)
def test_users_outside_their_limits_are_refused(users, message):
    with pytest.raises(InvalidArgument, match=message):
        read("basic", {"users": users})


SECRET = "correct-horse-1!"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("basic", {"users": [user(password=SECRET)]}),
        ("basic", {"users": [user(SECRET + ":")]}),
        ("basic", {"users": [user(SECRET), user(SECRET)]}),
        ("basic", {"users": [SECRET]}),
        ("basic", {"users": SECRET}),
        ("bearer", {"tokens": [{"token": SECRET * 2}]}),
        ("bearer", {"tokens": [{"token": SECRET}]}),
        ("bearer", {"tokens": [{"token": [SECRET]}]}),
        ("bearer", {"tokens": [{"token": TOKEN, "name": [SECRET]}]}),
        ("bearer", {"tokens": [SECRET]}),
        ("bearer", {"tokens": {"token": SECRET}}),
        ("jwt", {**JWT, "jwks": SECRET}),
        ("jwt", {**JWT, "jwks": {"keys": SECRET}}),
        ("jwt", {**JWT, "jwks": {"keys": [SECRET]}}),
        ("jwt", {**JWT, "jwks": {"keys": [{"kty": [SECRET]}]}}),
        ("jwt", {**JWT, "jwks": {"keys": [{"kty": "oct", "k": [SECRET]}]}}),
        *((kind, SECRET) for kind in ("basic", "bearer", "jwt")),
        *((kind, [SECRET]) for kind in ("basic", "bearer", "jwt")),
        *((kind, f'["{SECRET}"]') for kind in ("basic", "bearer", "jwt")),
    ],
)
def test_a_secret_is_never_in_a_refusal(kind, settings):
    with pytest.raises(InvalidArgument) as refusal:
        read(kind, settings)
    assert "correct" not in refusal.value.message


@pytest.mark.parametrize("kind", ["jwt", "bearer", "basic"])
@pytest.mark.parametrize("settings", [None, "", "[]", "{", 5, "[" * 5000])
def test_settings_that_are_needed_and_not_there_are_refused(kind, settings):
    with pytest.raises(InvalidArgument, match=r"^c"):
        read(kind, settings)


@pytest.mark.parametrize("kind", ["function", "anonymous"])
def test_the_type_is_shown_as_it_was_sent(kind):
    assert show_auth_type(read(kind, None)) == kind


def cors(**sent):
    return read_cors(CORS.read(sent, "c"), "c")


def test_cross_origin_settings_are_read_and_shown():
    sent = {
        "allowOrigins": ["https://a.com", "https://*"],
        "allowMethods": ["get", "PUT"],
        "allowHeaders": ["X-One"],
        "exposeHeaders": ["X-Two"],
        "allowCredentials": True,
        "maxAge": 86400,
    }
    read = cors(**sent)
    assert read == Cors(
        origins=("https://a.com", "https://*"),
        methods=("GET", "PUT"),
        headers=("X-One",),
        exposed_headers=("X-Two",),
        credentials=True,
        max_age_s=86400,
    )
    assert show_cors(read) == {**sent, "allowMethods": ["GET", "PUT"]}
    assert cors() is None
    assert cors(allowOrigins=["*"]) == Cors(origins=("*",), max_age_s=3600)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"allowOrigins": ["*"], "allowCredentials": True}, "exclude each other"),
        ({"allowOrigins": ["a"] * 101}, "101 items; at most 100"),
        ({"allowOrigins": ["a" * 257]}, "has 257 characters"),
        ({"allowOrigins": ["https://a.com*"]}, "an origin such as https://www.example.com"),
        ({"allowOrigins": ["https://a.com/"]}, "an origin such as https://www.example.com"),
        ({"allowOrigins": ["a.com"]}, "an origin such as https://www.example.com"),
        ({"allowHeaders": ["a: b"]}, "is not the name of a header"),
        ({"exposeHeaders": ["a\r\nb"]}, "is not the name of a header"),
        ({"allowMethods": ["OPTIONS"]}, "'OPTIONS' is not one of"),
        ({"allowHeaders": ["a"] * 51}, "51 items; at most 50"),
        ({"exposeHeaders": ["a"] * 51}, "51 items; at most 50"),
        ({"maxAge": 86401}, "86401 is not between 0 and 86400"),
    ],
)
def test_cross_origin_settings_outside_their_limits_are_refused(sent, message):
    with pytest.raises(InvalidArgument, match=message):
        cors(**sent)
