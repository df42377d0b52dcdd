import base64
import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.errors import (
    AccessDenied,
    FunctionComputeError,
    InvalidAccessKeyID,
    MissingRequiredHeader,
    SignatureNotMatch,
    Unauthorized,
)
from anyfc.identity.claims import Parts, show
from anyfc.identity.key import AccessKey, Caller, Keys
from anyfc.identity.signature import sign
from anyfc.identity.trigger import Granted, authorise, needs_token
from anyfc.model.access import (
    Anonymous,
    Basic,
    Bearer,
    BearerToken,
    ClaimPass,
    Jwt,
    Lookup,
    Signed,
    User,
)

FOLDER = Path(__file__).parents[2] / "vectors"
NOW = datetime.fromisoformat("2024-01-02T03:04:05Z").timestamp()
KEY = AccessKey(Caller("123456", "test-id"), b"test-secret")
KEYS = Keys([KEY], signing_key=b"k" * 32)
SECRET = b"s" * 32
OCT = {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
LOOKUPS = (
    Lookup(position="header", name="Authorization", prefix="Bearer"),
    Lookup(position="query", name="token"),
    Lookup(position="form", name="token"),
    Lookup(position="cookie", name="AuthCookie"),
)
CLAIMS = tuple(
    ClaimPass(position=one, claim="uid", name="x-uid")
    for one in ("header", "query", "form", "cookie")
)
JWT = Jwt(keys=(OCT,), lookups=LOOKUPS, claims=CLAIMS)
TOKEN = jwt.encode({"uid": 7}, SECRET, "HS256").encode()
BEARER = Bearer(
    (
        BearerToken(name="one", token="1" * 32),
        BearerToken(name="two", token="2" * 32),
        BearerToken(name="off", token="3" * 32, enabled=False),
    )
)
BASIC = Basic((User(name="bob", password="pä:ss"), User(name="eve", password="other")))


class AnyToken:
    """Knows the key of the vectors, with and without a token."""

    def find(self, access_key_id, security_token, now):
        assert access_key_id == "test-id"
        assert security_token in ("", "test-security-token")
        return KEY


def call(access, headers=(), *, method=b"GET", target=b"/", form=None, keys=KEYS, now=NOW, **more):
    return authorise(
        access, method=method, target=target, headers=list(headers), form=form, keys=keys, now=now,
        **more,
    )  # fmt: skip


def refuse(kind, message, access, *headers, **more):
    with pytest.raises(kind) as refused:
        call(access, headers, **more)
    assert refused.value.message == message
    return refused.value


def authorization(value):
    return (b"authorization", value)


def basic(pair):
    return authorization(b"Basic " + base64.b64encode(pair))


def vectors(*names):
    for name in names:
        found = json.loads((FOLDER / name).read_text(encoding="utf-8"))["vectors"]
        yield from (pytest.param(one["input"], one["expected"], id=one["name"]) for one in found)


def test_everybody_may_call_what_is_anonymous():
    assert call(Anonymous()) == Granted()
    assert call(Anonymous(), [authorization(b"Basic x")]) == Granted()


@pytest.mark.parametrize(("sent", "expected"), list(vectors("acs3_http_trigger.json")))
def test_a_signed_call_is_let_in(sent, expected):
    headers = [(name.encode(), value.encode()) for name, value in sent["headers"].items()]
    headers.append(authorization(expected["authorization"].encode()))
    target = sent["requestTarget"].encode()
    granted = call(
        Signed(), headers, method=sent["method"].encode(), target=target, keys=AnyToken()
    )
    assert granted == Granted(caller=KEY.caller)


def test_a_call_with_the_older_signature_is_let_in():
    value = b"FC test-id:FMJydwP3zoGomsi8ePqr76hFp3h7WNe7m5sxrquGjkQ="
    headers = [(b"date", b"Tue, 02 Jan 2024 03:04:05 GMT"), authorization(value)]
    assert call(Signed(), headers) == Granted(caller=KEY.caller)
    with pytest.raises(SignatureNotMatch):
        call(Signed(), headers, method=b"PUT")
    refuse(
        MissingRequiredHeader, "required HTTP header Date was not specified",
        Signed(), authorization(value),
    )  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), list(vectors("fc2_signed_url.json")))
@pytest.mark.parametrize("headers", [[], [authorization(b"Bearer of-the-function")]])
def test_a_signed_address_is_let_in_whatever_it_says_to_the_function(sent, expected, headers):
    target = expected["requestTarget"].encode()
    granted = call(Signed(), headers, target=target, keys=AnyToken(), now=NOW - 1)
    assert granted == Granted(caller=KEY.caller)
    refuse(
        AccessDenied, "the signed URL has expired",
        Signed(), *headers, target=target, keys=AnyToken(),
    )  # fmt: skip


def test_a_wrong_signature_is_not_made_good_by_a_signed_address():
    _, expected = next(vectors("fc2_signed_url.json")).values
    target = expected["requestTarget"].encode()
    headers = [(b"date", b"Tue, 02 Jan 2024 03:04:05 GMT"), authorization(b"FC test-id:x")]
    with pytest.raises(SignatureNotMatch):
        call(Signed(), headers, target=target, keys=AnyToken(), now=NOW - 1)


def test_a_call_signed_with_the_hash_of_its_body_says_which():
    digest = b"0" * 64
    headers = [
        (b"host", b"h"), (b"x-acs-date", b"2024-01-02T03:04:05Z"),
        (b"x-acs-content-sha256", digest),
    ]  # fmt: skip
    value = sign(b"GET", b"/", headers, access_key_id="test-id", access_key_secret="test-secret")
    granted = call(Signed(), [*headers, authorization(value)])
    assert granted == Granted(caller=KEY.caller, content_sha256=digest)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-acs-date", b"2024-01-02T03:04:05Z")],
        [authorization(b" ")],
        [authorization(b"ACS3-HMAC-SHA256 Credential=a,SignedHeaders=b,Signature=c")],
        [authorization(b"Bearer t")],
    ],
)
def test_a_call_without_signature_or_date_is_told_of_the_date(headers):
    refuse(MissingRequiredHeader, "required HTTP header Date was not specified", Signed(), *headers)


def test_a_call_signed_with_an_unknown_key_is_refused():
    value = b"ACS3-HMAC-SHA256 Credential=other,SignedHeaders=x-acs-date,Signature=c"
    headers = [(b"x-acs-date", b"2024-01-02T03:04:05Z"), authorization(value)]
    with pytest.raises(InvalidAccessKeyID):
        call(Signed(), headers)


@pytest.mark.parametrize(
    "sent",
    [
        {"headers": [authorization(b"Bearer " + TOKEN)]},
        {"target": b"/?token=" + TOKEN},
        {"form": b"token=" + TOKEN},
        {"headers": [(b"cookie", b"AuthCookie=" + TOKEN)]},
    ],
)
def test_a_call_with_a_token_is_let_in_and_the_function_is_shown_its_claims(sent):
    granted = call(JWT, **sent)
    assert granted.caller is None
    seen = show(granted.shown, Parts(target=b"/?x-uid=0", headers=[(b"x_uid", b"0")], form=b""))
    assert seen == Parts(
        target=b"/?x-uid=7", headers=[(b"x-uid", b"7"), (b"cookie", b"x-uid=7")], form=b"x-uid=7"
    )


def test_the_first_token_decides():
    for sent in ([authorization(b"Bearer x")], [authorization(b"Bearer x"), authorization(TOKEN)]):
        refuse(AccessDenied, "invalid or expired jwt", JWT, *sent, target=b"/?token=" + TOKEN)


def test_a_call_without_a_token_is_told_that_it_is_missing():
    problem = refuse(Unauthorized, "the jwt token is missing", JWT)
    assert (problem.status, problem.code, problem.challenge) == (401, "AccessDenied", "Bearer")
    refuse(Unauthorized, "the jwt token is missing", JWT, authorization(b"Basic " + TOKEN))


def test_an_expired_token_is_refused():
    token = jwt.encode({"exp": NOW}, SECRET, "HS256").encode()
    problem = refuse(AccessDenied, "invalid or expired jwt", JWT, authorization(b"Bearer " + token))
    assert (problem.status, problem.code) == (403, "AccessDenied")


PUBLIC = Jwt(keys=(OCT,), lookups=LOOKUPS, claims=CLAIMS, public=("/public/*", "/login", "/é"))
GUARDED = Jwt(keys=(OCT,), lookups=LOOKUPS, claims=CLAIMS, guarded=("/admin/*", "/me"))


@pytest.mark.parametrize(
    "path",
    [
        b"/public/",
        b"/public/a/b",
        b"/public/a%20b",
        b"/%70ublic/a",
        b"/public/a..b",
        b"/public/...",
        b"/public/.well-known/",
        b"/login",
        b"/%C3%A9",
    ],
)
def test_a_public_path_needs_no_token(path):
    assert not needs_token(PUBLIC, path)
    assert call(PUBLIC, target=path + b"?a=/secret").caller is None


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/public",
        b"/publicity",
        b"/login/",
        b"/login/a",
        b"/secret",
        b"/PUBLIC/a",
        b"/public/../secret",
        b"/public/%2e%2e/secret",
        b"/public/%2E./secret",
        b"/public/..%2fsecret",
        b"/public/..%5csecret",
        b"/public/..\\secret",
        b"/public/%252e%252e/secret",
        b"/public/%252e%252e%252fsecret",
        b"/public/..;/secret",
        b"/public/..;a=b/secret",
        b"/public//../../secret",
        b"/public/./../secret",
        b"/secret/../public/a",
        b"/secret/..%2fpublic/a",
        b"/secret/%2e%2e/public/a",
        b"//public/a",
        b"//secret/..//public/a",
        b"/public/..",
        b"/public/.",
        b"/public/a;b",
        b"/public/a%3Bb",
        b"/public/100%25",
        b"/public/%zz",
        b"/public/%u002e%u002e/secret",
        b"/public/%c0%ae%c0%ae/secret",
        b"/public/a%00",
        b"/public/a%0a",
        b"/public/a%3F",
        b"/public/a%23",
        b"/public/a#/../secret",
        b"/public/../admin/users#/../../public/x",
        b"/public/../admin/..;/public/x",
        b"/public/../admin/%252e%252e/public/x",
        b"/public/../admin//../public/x",
        b"/public%2Fa",
        b"public/a",
        b"http://host/public/a",
        b"\xff",
    ],
)
def test_a_path_that_could_be_read_as_another_one_needs_a_token(path):
    assert needs_token(PUBLIC, path)
    refuse(Unauthorized, "the jwt token is missing", PUBLIC, target=path)


@pytest.mark.parametrize(
    ("path", "needs"),
    [
        (b"/", False),
        (b"/a", False),
        (b"/a/", False),
        (b"/a%20b", False),
        (b"/mean", False),
        (b"/me/a", False),
        (b"/administrator", False),
        (b"/me", True),
        (b"/me/", True),
        (b"/ME", True),
        (b"/%4de", True),
        (b"/me#", True),
        (b"/me%23", True),
        (b"/me%00", True),
        (b"/Admin/a", True),
        (b"/admin", True),
        (b"/%6de", True),
        (b"/./me", True),
        (b"//me", True),
        (b"/me;x", True),
        (b"/admin/", True),
        (b"/admin/a", True),
        (b"//admin//a", True),
        (b"/a/../admin/a", True),
        (b"/a/%2e%2e/admin/a", True),
        (b"/admin/../a", True),
        (b"/%2561dmin/a", True),
        (b"/a\\..\\admin\\a", True),
        (b"/\\x/admin/users", True),
        (b"//x/admin/users", True),
        (b"/x/../admin//../users", True),
        (b"/x/../admin/users#/../../../y", True),
        (b"/x%2f..%2fadmin/users", True),
        (b"/x%5Cadmin", True),
        (b"http://host/admin/a", True),
        (b"*", True),
    ],
)
def test_where_paths_are_guarded_only_these_need_a_token(path, needs):
    assert needs_token(GUARDED, path) is needs


def test_guarded_paths_are_found_whatever_their_case_in_the_settings():
    access = Jwt(keys=(), lookups=(), guarded=("/Me", "/Straße/*"))
    for path in ("/me", "/ME/", "/STRASSE/", "/straße/a"):
        assert needs_token(access, path.encode())


def test_a_path_that_could_be_read_as_another_one_needs_a_token_even_if_all_are_public():
    access = Jwt(keys=(), lookups=(), public=("*",))
    assert not needs_token(access, b"/a")
    assert needs_token(access, b"//a")


def test_without_paths_every_path_needs_a_token():
    assert needs_token(JWT, b"/")
    assert not needs_token(Jwt(keys=(), lookups=(), public=("*",)), b"/a")
    assert needs_token(Jwt(keys=(), lookups=(), guarded=("/*",)), b"/a")


def test_the_part_of_a_path_that_the_function_does_not_see_is_no_part_of_a_pattern():
    base = b"/2016-08-15/proxy/s/f"
    assert call(PUBLIC, target=base + b"/login", base_path=base)
    refuse(Unauthorized, "the jwt token is missing", PUBLIC, target=base + b"/login")


def test_on_a_public_path_a_client_cannot_pass_off_claims():
    granted = call(PUBLIC, target=b"/login")
    seen = show(
        granted.shown,
        Parts(target=b"/?x-uid=0", headers=[(b"x_uid", b"0"), (b"cookie", b"x-uid=0")], form=b""),
    )
    assert seen == Parts(target=b"/?", headers=[], form=b"")


@pytest.mark.parametrize("value", [b"Bearer " + b"1" * 32, b"bearer  " + b"2" * 32])
def test_each_bearer_token_is_let_in(value):
    assert call(BEARER, [authorization(value)]) == Granted()


def test_a_call_without_a_bearer_token_is_told_so():
    text = "Authorization header is expected but missing"
    for headers in ([], [authorization(b" ")]):
        problem = refuse(Unauthorized, text, BEARER, *headers)
        assert (problem.status, problem.challenge) == (401, "Bearer")


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer " + b"1" * 31,
        b"Bearer " + b"1" * 33,
        b"Bearer " + b"3" * 32,  # not enabled
        b"Bearer\t" + b"1" * 32,
        b"Basic " + b"1" * 32,
        b"1" * 32,
        b"\xff",
    ],
)
def test_other_bearer_tokens_are_refused(value):
    problem = refuse(
        AccessDenied, "access denied due to invalid bearer token", BEARER, authorization(value)
    )
    assert problem.status == 403


def test_an_empty_token_or_user_lets_nobody_in():
    with pytest.raises(AccessDenied):
        call(Bearer((BearerToken(name="", token=""),)), [authorization(b"Bearer ")])
    with pytest.raises(AccessDenied):
        call(Basic((User(name="", password=""),)), [basic(b":")])
    for access in (Bearer(()), Basic(())):
        with pytest.raises(FunctionComputeError):
            call(access, [authorization(b"Bearer x")])


@pytest.mark.parametrize("pair", ["bob:pä:ss".encode(), b"eve:other"])
def test_each_user_is_let_in_with_the_password(pair):
    assert call(BASIC, [basic(pair)]) == Granted()


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([], "authorization require"),
        ([authorization(b"Bearer x")], "Authorization header must start with Basic"),
        ([authorization(b"Ym9i")], "Authorization header must start with Basic"),
    ],
)
def test_a_call_without_name_and_password_makes_a_browser_ask(headers, text):
    problem = refuse(Unauthorized, text, BASIC, *headers)
    assert problem.status == 401
    assert problem.challenge == 'Basic realm="function", charset="UTF-8"'


@pytest.mark.parametrize(
    "header",
    [
        basic(b"bob:other"),
        basic(b"bob:"),
        basic(b"bob"),
        basic(b":other"),
        basic(b"eve:p\xe4:ss"),
        basic(b"nobody:other"),
        basic(b""),
        authorization(b"Basic"),
        authorization(b"Basic !"),
        authorization(b"Basic ZXZlOm90aGVy!"),
        authorization(b"Basic \xff"),
    ],
)
def test_another_name_or_password_is_refused(header):
    text = "access denied due to invalid user name or password"
    assert refuse(AccessDenied, text, BASIC, header).status == 403


ACCESSES = [Signed(), JWT, GUARDED, BEARER, BASIC]
TEXT = st.binary(max_size=40)
SCHEMES = [
    b"ACS3-HMAC-SHA256 Credential=test-id,SignedHeaders=x-acs-date,Signature=x",
    b"FC test-id:x",
    b"Bearer ",
    b"Basic ",
]
VALUES = st.builds(bytes.__add__, st.sampled_from([b"", *SCHEMES]), TEXT)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"cookie", b"date", b"x-acs-date"]) | TEXT,
        VALUES | st.sampled_from([b"2024-01-02T03:04:05Z", b"Tue, 02 Jan 2024 03:04:05 GMT"]),
    ),
    max_size=5,
)
TARGETS = st.builds(
    bytes.__add__, st.sampled_from([b"", b"/?token=", b"/?x-fc-signature=x&", b"/me?"]), TEXT
)


@pytest.mark.parametrize("access", ACCESSES, ids=["signed", "jwt", "guarded", "bearer", "basic"])
@given(method=TEXT, target=TARGETS, headers=HEADERS, form=st.none() | TEXT)
def test_random_bytes_are_refused_with_a_documented_error(access, method, target, headers, form):
    sent = {"method": method, "target": target, "form": form}
    if access is GUARDED and not needs_token(access, target.partition(b"?")[0]):
        assert call(access, headers, **sent).caller is None
        return
    with pytest.raises(FunctionComputeError) as refused:
        call(access, headers, **sent)
    assert refused.value.status in (400, 401, 403)


@given(position=st.integers(0, 10**6), noise=TEXT)
def test_damage_to_good_credentials_raises_nothing_but_a_documented_error(position, noise):
    for access, (name, value) in (
        (JWT, authorization(b"Bearer " + TOKEN)),
        (BEARER, authorization(b"Bearer " + b"1" * 32)),
        (BASIC, basic(b"eve:other")),
    ):
        cut = position % (len(value) + 1)
        with suppress(FunctionComputeError):
            call(access, [(name, value[:cut] + noise + value[cut + len(noise) :])])
