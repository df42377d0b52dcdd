from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.errors import InvalidArgument
from anyfc.identity.claims import Parts, find_token, hide, needs_form, pass_claims, show
from anyfc.model.access import ClaimPass, Jwt, Lookup

POSITIONS = ("header", "query", "form", "cookie")
FORM_TYPE = (b"content-type", b"application/x-www-form-urlencoded")


def parts(target=b"/", headers=(), form=None):
    return Parts(target=target, headers=list(headers), form=form)


def find(position, name, sent, prefix=""):
    return find_token([Lookup(position=position, name=name, prefix=prefix)], sent)


def shown(position, value, sent, name="uid"):
    one = ClaimPass(position=position, claim="c", name=name)
    return show(pass_claims([one], {"c": value}), sent)


@pytest.mark.parametrize(
    ("position", "sent"),
    [
        ("header", parts(headers=[(b"x-token", b" t ")])),
        ("query", parts(b"/?a=1&X-Token=t&X-Token=u")),
        ("query", parts(b"/?X%2DToken=%74")),
        ("form", parts(form=b"a=1&X-Token=t")),
        ("cookie", parts(headers=[(b"cookie", b"a=1; X-Token=t; b=2")])),
        ("cookie", parts(headers=[(b"cookie", b"a=1"), (b"cookie", b'X-Token="t"')])),
    ],
)
def test_a_token_is_found_at_its_place(position, sent):
    assert find(position, "X-Token", sent) == b"t"
    for other in POSITIONS:
        if other != position:
            assert find(other, "X-Token", sent) == b""


def test_places_are_tried_in_their_order():
    lookups = [Lookup(position="query", name="t"), Lookup(position="cookie", name="t")]
    sent = parts(b"/?t=1", [(b"cookie", b"t=2")])
    assert find_token(lookups, sent) == b"1"
    assert find_token(lookups[::-1], sent) == b"2"
    assert find_token(lookups, parts(b"/?t=", [(b"cookie", b"t=2")])) == b"2"


@pytest.mark.parametrize(
    ("sent", "token"),
    [
        (b"Bearer t", b"t"),
        (b"bearer  t ", b"t"),
        (b"Bearert", b"t"),
        (b"Bearer", b""),
        (b"Bearer ", b""),
        (b"Basic t", b""),
        (b"t", b""),
    ],
)
def test_a_prefix_is_taken_off_and_must_be_there(sent, token):
    assert find("header", "Authorization", parts(headers=[(b"authorization", sent)]), "Bearer") == (
        token
    )


@pytest.mark.parametrize(
    ("position", "sent", "seen"),
    [
        ("header", parts(), parts(headers=[(b"uid", b"7")])),
        ("query", parts(b"/a"), parts(b"/a?uid=7")),
        ("query", parts(b"/a?b=%20"), parts(b"/a?b=%20&uid=7")),
        ("form", parts(form=b""), parts(form=b"uid=7")),
        ("form", parts(form=b"b=+"), parts(form=b"b=+&uid=7")),
        ("form", parts(), parts()),
        ("cookie", parts(), parts(headers=[(b"cookie", b"uid=7")])),
        (
            "cookie",
            parts(headers=[(b"cookie", b"a=1"), (b"host", b"h"), (b"cookie", b"b=2")]),
            parts(headers=[(b"host", b"h"), (b"cookie", b"a=1; b=2; uid=7")]),
        ),
    ],
)
def test_a_claim_is_put_at_its_place(position, sent, seen):
    assert shown(position, "7", sent) == seen


FORGED = [
    ("header", parts(headers=[(b"uid", b"evil"), (b"host", b"h"), (b"uid", b"evil")]), "uid"),
    ("header", parts(headers=[(b"x_uid", b"evil"), (b"host", b"h")]), "X-Uid"),
    ("header", parts(headers=[(b"x-uid", b"evil"), (b"host", b"h")]), "X_UID"),
    ("query", parts(b"/?uid=evil&a=1&uid=evil"), "uid"),
    ("query", parts(b"/?%75id=evil&a=1"), "uid"),
    ("query", parts(b"/?uid&a=1"), "uid"),
    ("query", parts(b"/?u+id=evil&u%20id=evil&a=1"), "u id"),
    ("query", parts(b"/?uid[]=evil&uid[x]=evil&uid%5B%5D=evil&a=1"), "uid"),
    ("form", parts(form=b"uid=evil&a=1&%75id=evil&uid[]=evil"), "uid"),
    ("cookie", parts(headers=[(b"host", b"h"), (b"cookie", b"a=1; uid=evil;uid=evil")]), "uid"),
    ("cookie", parts(headers=[(b"host", b"h"), (b"cookie", b"a=1;%75id=evil; uid =evil")]), "uid"),
    ("cookie", parts(headers=[(b"cookie", b"uid=evil"), (b"host", b"h")]), "uid"),
]


@pytest.mark.parametrize(("position", "sent", "name"), FORGED)
def test_what_a_client_sends_at_the_place_of_a_claim_is_taken_away(position, sent, name):
    seen = shown(position, "7", sent, name)
    assert b"evil" not in repr(seen).encode()
    assert b"7" in repr(seen).encode()
    kept = (
        b"a=1" in seen.target,
        b"a=1" in (seen.form or b""),
        any(b"a=1" in value for _, value in seen.headers),
        (b"host", b"h") in seen.headers,
    )
    assert any(kept)


@pytest.mark.parametrize(("position", "sent", "name"), FORGED)
@pytest.mark.parametrize("claims", [None, {}, {"c": None}], ids=["no token", "no claim", "null"])
def test_it_is_taken_away_also_when_there_is_no_claim_to_put_there(position, sent, name, claims):
    passes = [ClaimPass(position=position, claim="c", name=name)]
    what = hide(passes) if claims is None else pass_claims(passes, claims)
    assert b"evil" not in repr(show(what, sent)).encode()


def test_two_claims_may_have_the_same_name_at_two_positions():
    passes = [ClaimPass(position=one, claim=one, name="uid") for one in ("header", "query")]
    seen = show(pass_claims(passes, {"header": "1", "query": "2"}), parts(b"/?uid=0"))
    assert seen == parts(b"/?uid=2", [(b"uid", b"1")])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, b"7"),
        (True, b"true"),
        (1.5, b"1.5"),
        (["a", "b"], b'["a","b"]'),
        ({"a": 1}, b'{"a":1}'),
        ("", b""),
        ("é", "é".encode()),
        ("a\r\nhost: evil\0", b"a  host: evil "),
    ],
)
def test_a_claim_becomes_one_header_line(value, text):
    assert shown("header", value, parts()).headers == [(b"uid", text)]


@pytest.mark.parametrize("value", ["a b", "a&b=c", "a;b, c", "é", "%41", 'q"q', "a\r\nb", "a\\b"])
def test_a_claim_stays_one_value_in_query_form_and_cookie(value):
    target = shown("query", value, parts(b"/?a=1")).target.decode()
    assert parse_qsl(target[2:]) == [("a", "1"), ("uid", value)]
    form = shown("form", value, parts(form=b"")).form.decode()
    assert parse_qsl(form) == [("uid", value)]
    cookie = dict(shown("cookie", value, parts()).headers)[b"cookie"]
    assert not set(cookie) & set(b' \r\n;,"\\')
    assert parse_qsl(cookie.replace(b"+", b"%2B").decode()) == [("uid", value)] or "&" in value


def jwt(*, claim="header", lookup="header"):
    return Jwt(
        keys=(),
        lookups=(Lookup(position=lookup, name="t"),),
        claims=(ClaimPass(position=claim, claim="c", name="n"),),
    )


@pytest.mark.parametrize("kind", [FORM_TYPE[1], FORM_TYPE[1].upper() + b" ; charset=utf-8"])
def test_a_form_is_needed_when_it_is_looked_into_or_changed(kind):
    headers = [(b"content-type", kind)]
    assert not needs_form(jwt(), headers)
    assert needs_form(jwt(claim="form"), headers)
    assert needs_form(jwt(lookup="form"), headers)
    for other in ([], [(b"content-type", b"application/json")]):
        assert not needs_form(jwt(claim="form", lookup="form"), other)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"multipart/form-data; boundary=x")],
        [FORM_TYPE, (b"content-type", b"Multipart/Form-Data")],
        [(b"content-type", b"text/plain"), FORM_TYPE],
    ],
)
def test_fields_that_are_not_seen_here_are_refused_where_claims_are_passed_as_fields(headers):
    with pytest.raises(InvalidArgument, match="application/x-www-form-urlencoded"):
        needs_form(jwt(claim="form"), headers)
    needs_form(jwt(lookup="form"), headers)


TEXT = st.binary(max_size=30)
PIECES = st.lists(st.sampled_from([b"uid", b"%75id", b"=", b"&", b";", b" ", b"+", b"["]) | TEXT)


@given(position=st.sampled_from(POSITIONS), pieces=PIECES, value=st.text(max_size=20))
def test_the_function_sees_the_claim_and_nothing_else_under_its_name(position, pieces, value):
    noise = b"".join(pieces)
    sent = parts(b"/?" + noise, [(b"cookie", noise), (b"uid", noise)], noise)
    seen = shown(position, value, sent)
    lookup = [Lookup(position=position, name="uid")]
    bare = show(hide([ClaimPass(position=position, claim="c", name="uid")]), sent)
    assert find_token(lookup, bare) == b""
    if position in ("query", "form"):
        assert find_token(lookup, seen) == value.encode().strip()
