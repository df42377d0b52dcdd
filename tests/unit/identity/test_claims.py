from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.errors import InvalidArgument
from anyfc.identity.claims import (
    FORM_BYTES,
    FORM_FIELDS,
    Parts,
    check_form,
    find_token,
    hide,
    needs_form,
    pass_claims,
    show,
)
from anyfc.identity.names import decode
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
            parts(headers=[(b"host", b"h"), (b"cookie", b"uid=7; a=1; b=2")]),
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
    # PHP reads what is neither letter nor digit as an underscore, and names up to a NUL.
    ("header", parts(headers=[(b"x.uid", b"evil"), (b"X!UID", b"evil"), (b"host", b"h")]), "x-uid"),
    ("query", parts(b"/?u.id=evil&u%5bid=evil&u+id=evil&%20u_id=evil&a=1"), "u_id"),
    ("query", parts(b"/?%20uid=evil&+uid=evil&UID=evil&uid%00x=evil&a=1"), "uid"),
    ("cookie", parts(headers=[(b"cookie", b"a=1; u.id=evil; u_id[]=evil; u id=evil")]), "u_id"),
    # Express reads what is in brackets, other servers what is behind a question mark.
    ("query", parts(b"/?[uid]=evil&%5Buid%5D=evil&[uid][]=evil&a=1"), "uid"),
    ("query", parts(b"/??uid=evil&a=1"), "uid"),
    ("form", parts(form=b"[uid]=evil&+uid=evil&a=1"), "uid"),
    # To some servers `;` stands between parameters.
    ("query", parts(b"/?a=1;uid=evil;%75id=evil&uid=evil;b=2"), "uid"),
    ("form", parts(form=b"a=1;uid=evil; uid=evil"), "uid"),
    # Python's cookies begin behind spaces, others' behind commas.
    ("cookie", parts(headers=[(b"cookie", b"a=1 uid=evil")]), "uid"),
    ("cookie", parts(headers=[(b"cookie", b"a=1 uid = evil")]), "uid"),
    ("cookie", parts(headers=[(b"cookie", b"a=1,uid=evil, uid[x]=evil; \xa0uid\xa0=evil")]), "uid"),
    # As far as names are looked at, what is before them does not count.
    ("form", parts(form=b"a=1&" + b"%20[" * 1000 + b"%75%69%64%5b=evil"), "uid"),
    ("form", parts(form=b"a=1&uid[" + b"x" * 1000 + b"]=evil"), "uid"),
    ("query", parts(b"/?user[id]=evil&user%5Bid%5D=evil&user[id][]=evil&a=1"), "user[id]"),
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


@pytest.mark.parametrize(
    ("position", "sent"),
    [
        ("header", parts(headers=[(b"xuid", b"1"), (b"x-uid-2", b"2"), (b"uid", b"3")])),
        ("query", parts(b"/?uid=1&x-uidx=2&a[x-uid]=3&a=x-uid=4;b;;&&c")),
        ("form", parts(form=b"uid=1&x-uidx=2&a[x-uid]=3&a=%3bx-uid%3d4&b;;&&c")),
        ("cookie", parts(headers=[(b"cookie", b"a=x-uid=1;; b=say x-uid;c; d=e f=g,h=i")])),
    ],
)
def test_what_is_not_of_the_claim_stays_as_it_was_sent(position, sent):
    passes = [ClaimPass(position=position, claim="c", name="X-Uid")]
    assert show(hide(passes), sent) == sent


def test_of_a_cookie_only_what_is_of_the_claim_is_cut():
    sent = parts(headers=[(b"cookie", b'a="1 uid=2;b=3;  c=4 5,uid = 6 ; uid=7 d=8;e=9')])
    seen = show(hide([ClaimPass(position="cookie", claim="c", name="uid")]), sent)
    assert seen.headers == [(b"cookie", b'a="1;b=3;  c=4 5;e=9')]


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


def of_type(value, *more):
    return [(b"content-type", value), *more]


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (of_type(b"multipart/form-data; boundary=x"), "as application/x-www-form-urlencoded"),
        (of_type(b"Multipart/Form-Data ;boundary=x"), "as application/x-www-form-urlencoded"),
        (of_type(b"multipart/mixed; boundary=x"), "as application/x-www-form-urlencoded"),
        (of_type(b"text/plain", FORM_TYPE), "with one Content-Type"),
        ([FORM_TYPE, (b"content_type", b"multipart/form-data")], "with one Content-Type"),
        ([(b"content_type", b"text/plain")], "with one Content-Type"),
        ([(b"content-length", b"5")], "with one Content-Type"),
        ([(b"transfer-encoding", b"chunked")], "with one Content-Type"),
        (of_type(b""), "with a Content-Type of the form type/subtype"),
        (of_type(b"form"), "with a Content-Type of the form type/subtype"),
        (
            of_type(b"application/x-www-form-urlencoded,x"),
            "with a Content-Type of the form type/subtype",
        ),
        (
            of_type(b"application/x-www-form-urlencoded x"),
            "with a Content-Type of the form type/subtype",
        ),
        (
            of_type(b"application/x-www-form-urlencoded\tx"),
            "with a Content-Type of the form type/subtype",
        ),
        (
            of_type(b"multipart/form-data,; boundary=b"),
            "with a Content-Type of the form type/subtype",
        ),
        (
            of_type(b"multipart/form-data , boundary=b"),
            "with a Content-Type of the form type/subtype",
        ),
        (of_type(FORM_TYPE[1] + b";charset=utf-16"), "in UTF-8"),
        (of_type(FORM_TYPE[1] + b"; charset=utf-8; charset=utf-7"), "in UTF-8"),
        (of_type(FORM_TYPE[1] + b"; charset*=utf-8''utf-16"), "in UTF-8"),
        ([FORM_TYPE, (b"content-encoding", b"deflate")], "without a Content-Encoding"),
        ([FORM_TYPE, (b"content-encoding", b"identity, gzip")], "without a Content-Encoding"),
        ([FORM_TYPE, (b"content_encoding", b"GZIP")], "without a Content-Encoding"),
    ],
)
def test_fields_that_are_not_seen_here_are_refused_where_claims_are_passed_as_fields(
    headers, wanted
):
    with pytest.raises(InvalidArgument, match=f"must be sent {wanted} here"):
        needs_form(jwt(claim="form"), headers)
    needs_form(jwt(lookup="form"), headers)


@pytest.mark.parametrize(
    ("headers", "needed"),
    [
        ([], False),
        ([(b"content-length", b"0")], False),
        (of_type(b"application/vnd.a+json; charset=utf-16"), False),
        (of_type(b"text/plain ; a=b, c"), False),
        (of_type(FORM_TYPE[1] + b";"), True),
        (of_type(FORM_TYPE[1] + b'; charset="UTF-8";'), True),
        (of_type(FORM_TYPE[1] + b";charset=iso-8859-1"), True),
        ([FORM_TYPE, (b"content-encoding", b"Identity")], True),
    ],
)
def test_bodies_that_every_server_reads_alike_are_let_through(headers, needed):
    assert needs_form(jwt(claim="form"), headers) is needed


def test_a_form_has_no_more_fields_than_are_looked_into():
    for mark in (b"&", b";"):
        check_form(mark.join([b"a"] * FORM_FIELDS))
        with pytest.raises(InvalidArgument, match=f"more than {FORM_FIELDS} fields"):
            check_form(mark.join([b"a"] * (FORM_FIELDS + 1)))


def test_of_the_largest_form_only_what_could_be_meant_is_decoded(monkeypatch):
    decoded = 0

    def count(text):
        nonlocal decoded
        decoded += len(text)
        return decode(text)

    monkeypatch.setattr("anyfc.identity.claims.decode", count)
    monkeypatch.setattr("anyfc.identity.names.decode", count)
    for form in (
        b"&".join([b"%41" * 370] * FORM_FIELDS),
        b"%20" * (FORM_BYTES // 3),
        b"uid=" + b"%41" * (FORM_BYTES // 3),
        b"a=" + b"%41" * (FORM_BYTES // 3),
    ):
        decoded = 0
        find("form", "uid", parts(form=form[:FORM_BYTES]))
        shown("form", "7", parts(form=form[:FORM_BYTES]))
        assert decoded <= 64 * 1024


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
