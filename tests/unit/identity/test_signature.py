import hashlib
import hmac
import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anyfc.errors import (
    AccessDenied,
    FunctionComputeError,
    InvalidAccessKeyID,
    MissingRequiredHeader,
    SignatureNotMatch,
)
from anyfc.identity.key import AccessKey, Caller, Keys
from anyfc.identity.signature import (
    EMPTY_SHA256,
    canonical_query,
    check_body,
    format_date,
    sign,
    verify,
    verify_call,
)

FOLDER = Path(__file__).parents[2] / "vectors"


def vectors(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))["vectors"]


VECTORS = vectors("acs3_control_api.json") + vectors("acs3_fc_open_2021.json")
CALLS = vectors("acs3_http_trigger.json")
DATE = "2024-01-02T03:04:05Z"
NOW = datetime.fromisoformat(DATE).timestamp()
ACCOUNT = "123456"
KEY = AccessKey(Caller(ACCOUNT, "test-id"), b"test-secret")
KEYS = Keys([KEY], signing_key=b"k" * 32)
SIGNED = [
    (b"host", b"127.0.0.1:9000"),
    (b"x-acs-date", DATE.encode()),
    (b"x-acs-content-sha256", EMPTY_SHA256.encode()),
    (b"x-fc-log-type", b"Tail"),
]
TARGET = b"/2023-03-30/functions/f/invocations?qualifier=LATEST&b=x"


class OneTemporaryKey:
    """Knows the key of the vectors, with the token of the one vector that has a token."""

    def find(self, access_key_id, security_token, now):
        assert (access_key_id, security_token) in (
            ("test-id", ""),
            ("test-id", "test-security-token"),
        )
        return KEY


def signed(headers, method=b"POST", target=TARGET, key_id="test-id", secret="test-secret"):
    value = sign(method, target, headers, access_key_id=key_id, access_key_secret=secret)
    return [*headers, (b"authorization", value)]


def check(headers, method=b"POST", target=TARGET, keys=KEYS, now=NOW):
    return verify(method, target, headers, keys=keys, now=now)


def with_header(headers, name, value):
    return [(n, value if n == name else v) for n, v in headers]


def without_header(headers, name):
    return [(n, v) for n, v in headers if n != name]


def as_list(headers):
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_request_of_the_official_client_is_accepted(vector):
    sent, expected = vector["input"], vector["expected"]
    head = as_list({**sent["headers"], "authorization": expected["authorization"]})
    # What HTTP libraries add after signing.
    head += [(b"connection", b"keep-alive"), (b"accept-encoding", b"gzip")]
    caller = verify(
        sent["method"].encode(),
        sent["requestTarget"].encode(),
        head,
        keys=OneTemporaryKey(),
        now=NOW,
    )
    assert caller == KEY.caller
    claimed = sent["headers"]["x-acs-content-sha256"].encode()
    check_body(claimed, hashlib.sha256(sent["bodyUtf8"].encode()).digest())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_signing_gives_what_the_official_client_gives(vector):
    sent, expected = vector["input"], vector["expected"]
    value = sign(
        sent["method"].encode(),
        sent["requestTarget"].encode(),
        as_list(sent["headers"]),
        access_key_id=sent["accessKeyId"],
        access_key_secret=sent["accessKeySecret"],
    )
    assert value.decode() == expected["authorization"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_canonical_query_is_that_of_the_official_client(vector):
    query = vector["input"]["requestTarget"].partition("?")[2]
    assert canonical_query(query.encode()).decode() == vector["expected"]["canonicalQuery"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", b""),
        (b"a=1", b"a=1"),
        (b"a", b"a="),
        (b"a=", b"a="),
        (b"b=1&a=2", b"a=2&b=1"),
        (b"a=x+y", b"a=x%20y"),
        (b"a=x%20y", b"a=x%20y"),
        (b"a=%2f*~", b"a=%2F%2A~"),
        (b"a=%ff", b"a=%FF"),
        (b"a=%zz", b"a=%25zz"),
        (b"a=2&a=1", b"a=1&a=2"),
        (b"&&a=1&", b"a=1"),
        (b"%61=1", b"a=1"),
        (b"a=b=c", b"a=b%3Dc"),
    ],
)
def test_every_spelling_of_a_query_has_one_canonical_form(query, expected):
    assert canonical_query(query) == expected


@pytest.mark.parametrize("key", [b"a%3D1%26b", b"a%26b", b"a%0Ab"])
def test_a_parameter_name_that_reads_as_several_parameters_is_refused(key):
    with pytest.raises(SignatureNotMatch):
        canonical_query(key + b"=2")


@pytest.mark.parametrize("name", ["Authorization", "x-acs-date", "x-acs-content-sha256"])
def test_a_missing_header_is_named(name):
    head = without_header(signed(SIGNED), name.lower().encode())
    with pytest.raises(MissingRequiredHeader, match=f"required HTTP header {name} was not"):
        check(head)


def test_an_unknown_key_is_named():
    with pytest.raises(InvalidAccessKeyID, match="invalid access key ID 'other'"):
        check(signed(SIGNED, key_id="other"))


def test_a_wrong_secret_does_not_match():
    with pytest.raises(SignatureNotMatch):
        check(signed(SIGNED, secret="other"))


@pytest.mark.parametrize(
    "change",
    [
        {"method": b"PUT"},
        {"target": TARGET.replace(b"/f/", b"/g/")},
        {"target": TARGET.replace(b"LATEST", b"1")},
        {"target": TARGET + b"&c=1"},
    ],
)
def test_a_changed_request_line_does_not_match(change):
    with pytest.raises(SignatureNotMatch):
        check(signed(SIGNED), **change)


def test_a_changed_signed_header_does_not_match():
    with pytest.raises(SignatureNotMatch):
        check(with_header(signed(SIGNED), b"x-fc-log-type", b"None"))


def test_the_path_is_signed_as_it_stands_on_the_request_line():
    with pytest.raises(SignatureNotMatch):
        check(signed(SIGNED, target=b"/layerarn/a%2Fb"), target=b"/layerarn/a/b")


def test_another_spelling_of_the_same_query_matches():
    head = signed(SIGNED, target=b"/f?prefix=a+b&limit=2")
    assert check(head, target=b"/f?limit=2&prefix=a%20b") == KEY.caller


def test_headers_that_are_not_signed_do_not_matter():
    assert check([*signed(SIGNED), (b"accept", b"*/*")]) == KEY.caller


def test_values_of_a_repeated_header_are_sorted_and_joined():
    one = signed([*SIGNED, (b"x-acs-note", b"a,b")])
    several = [*without_header(one, b"x-acs-note"), (b"x-acs-note", b"b"), (b"x-acs-note", b" a ")]
    assert check(several) == KEY.caller


def test_space_around_values_and_after_commas_is_tolerated():
    head = [(name, b" " + value + b" ") for name, value in signed(SIGNED)]
    value = dict(head)[b"authorization"].replace(b",", b", ")
    assert check(with_header(head, b"authorization", value)) == KEY.caller


@pytest.mark.parametrize("name", [b"host", b"x-acs-date", b"x-acs-content-sha256"])
def test_a_header_that_must_be_signed_is_named(name):
    head = signed([*SIGNED])
    value = dict(head)[b"authorization"]
    shorter = value.replace(name + b";", b"", 1)
    assert shorter != value
    with pytest.raises(AccessDenied, match=f"header {name.decode()} must be signed"):
        check(with_header(head, b"authorization", shorter))


def test_a_header_that_is_listed_but_not_sent_is_named():
    head = without_header(signed(SIGNED), b"x-fc-log-type")
    with pytest.raises(AccessDenied, match="x-fc-log-type is listed as signed but was not sent"):
        check(head)


@pytest.mark.parametrize("offset_s", [-900, -1, 0, 1, 900])
def test_clocks_may_differ_by_15_minutes(offset_s):
    assert check(signed(SIGNED), now=NOW + offset_s) == KEY.caller


@pytest.mark.parametrize("offset_s", [-901, 901, 1e9])
def test_a_larger_difference_of_clocks_is_refused_with_both_times(offset_s):
    with pytest.raises(AccessDenied) as refused:
        check(signed(SIGNED), now=NOW + offset_s)
    assert refused.value.message == (
        f"the difference between the request time '{DATE}' and the current time "
        f"'{format_date(NOW + offset_s)}' is too large"
    )


@pytest.mark.parametrize(
    "date",
    [
        "2024-01-02 03:04:05Z",
        "2024-01-02T03:04:05",
        "2024-01-02T03:04:05.000Z",
        "2024-01-02T03:04:05+00:00",
        "20240102T030405Z",
        "2024-13-02T03:04:05Z",
        "Tue, 02 Jan 2024 03:04:05 GMT",
        "now",
        "é",
    ],
)
def test_a_date_of_another_form_is_refused(date):
    head = signed(with_header(SIGNED, b"x-acs-date", date.encode()))
    with pytest.raises(AccessDenied, match="x-acs-date must read"):
        check(head)


@pytest.mark.parametrize("claim", [b"UNSIGNED-PAYLOAD", EMPTY_SHA256.upper().encode(), b"0"])
def test_a_claim_that_is_no_hash_of_the_body_is_refused(claim):
    with pytest.raises(AccessDenied, match="x-acs-content-sha256 must be the SHA-256"):
        check(signed(with_header(SIGNED, b"x-acs-content-sha256", claim)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"FC id:abc", "algorithm 'FC' is not supported"),
        (b"ACS3-HMAC-SM3 Credential=a,SignedHeaders=b,Signature=c", "'ACS3-HMAC-SM3' is not"),
        (b"Bearer x", "algorithm 'Bearer' is not supported"),
        (b"ACS3-HMAC-SHA256", "Authorization must read"),
        (b"ACS3-HMAC-SHA256 Credential=a,SignedHeaders=b", "Authorization must read"),
        (b"ACS3-HMAC-SHA256 Credential=,SignedHeaders=b,Signature=c", "Authorization must read"),
        (b"ACS3-HMAC-SHA256 Credential=a;SignedHeaders=b;Signature=c", "Authorization must read"),
    ],
)
def test_an_authorization_of_another_form_is_refused(value, message):
    with pytest.raises(AccessDenied, match=message):
        check([*SIGNED, (b"authorization", value)])


def test_the_token_of_a_role_must_be_signed():
    credentials = KEYS.derive("acs:ram::1:role/r", ACCOUNT, NOW)
    pair = (credentials.access_key_id, credentials.access_key_secret)
    token = (b"x-acs-security-token", credentials.security_token.encode())
    caller = check(signed([*SIGNED, token], key_id=pair[0], secret=pair[1]))
    assert caller == Caller(ACCOUNT, credentials.access_key_id, "acs:ram::1:role/r")
    with pytest.raises(AccessDenied, match="x-acs-security-token must be signed"):
        check([*signed(SIGNED, key_id=pair[0], secret=pair[1]), token])


def test_a_body_other_than_the_claimed_one_does_not_match():
    claimed = hashlib.sha256(b"one").hexdigest().encode()
    check_body(claimed, hashlib.sha256(b"one").digest())
    with pytest.raises(SignatureNotMatch):
        check_body(claimed, hashlib.sha256(b"two").digest())


def call_head(method=b"GET", target=b"/", date=DATE, token=b"", send_token=True):
    """The headers of a call to a trigger, signed as the documentation's sample does it."""
    path, _, query = target.partition(b"?")
    names = b"x-acs-date;x-acs-security-token"
    text = b"%b\n%b\n%b\nx-acs-date:%b\nx-acs-security-token:%b\n\n%b\n" % (
        method, path, query, date.encode(), token, names,
    )  # fmt: skip
    content = b"ACS3-HMAC-SHA256\n" + hashlib.sha256(text).hexdigest().encode()
    signature = hmac.digest(b"test-secret", content, "sha256").hex().encode()
    value = b"ACS3-HMAC-SHA256 Credential=test-id,SignedHeaders=%b,Signature=%b"
    head = [(b"x-acs-date", date.encode()), (b"authorization", value % (names, signature))]
    return [*head, (b"x-acs-security-token", token)] if send_token else head


def check_call(headers, target=b"/", method=b"GET", keys=KEYS, now=NOW):
    return verify_call(method, target, headers, keys=keys, now=now)


@pytest.mark.parametrize("vector", CALLS, ids=lambda vector: vector["name"])
def test_a_call_that_is_signed_as_documented_is_accepted(vector):
    sent, expected = vector["input"], vector["expected"]
    head = as_list({**sent["headers"], "authorization": expected["authorization"]})
    call = verify_call(
        sent["method"].encode(),
        sent["requestTarget"].encode(),
        [*head, (b"host", b"f.cn-test.fcapp.run")],
        keys=OneTemporaryKey(),
        now=NOW,
    )
    assert call == (KEY.caller, b"")


def test_an_empty_security_token_is_signed_also_when_it_is_not_sent():
    assert check_call(call_head(send_token=False)).caller == KEY.caller


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (b"/a%20b/%C3%A9", b"/a%20b/%C3%A9"),
        (b"/a%20b/%C3%A9", b"/a b/\xc3\xa9"),
        (b"/a$b%20", b"/a$b%20"),
        (b"/a$b%20", b"/a%24b%20"),
        (b"/a$b%20", b"/a%24b "),
        (b"?a=1", b"/?a=1"),
        (b"/?b=2+3&a=1", b"/?a=1&b=2%203"),
        (b"/?a=2&a=1", b"/?a=1&a=2"),
        (b"/?a=2&a=1", b"/?a=2"),
        (b"/?%C3%A9=1", b"/?\xc3\xa9=1"),
        (b"/?%c3%a9=1", b"/?%C3%A9=1"),
        (b"/?a%26b=1", b"/?a%26b=1"),
    ],
)
def test_clients_sign_path_and_query_of_a_call_in_several_spellings(target, written):
    assert check_call(call_head(target=written), target).caller == KEY.caller


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (b"/b", b"/a"),
        (b"/a?b=1", b"/a"),
        (b"/a?a=1&a=2", b"/a?a=2"),
        (b"/a%2520b", b"/a b"),
        (b"/a%0Ab=1", b"/a\nb=1"),
        (b"/?a%26b=1", b"/?a&b=1"),
    ],
)
def test_a_call_to_another_address_does_not_match(target, written):
    with pytest.raises(SignatureNotMatch):
        check_call(call_head(target=written), target)


def test_a_call_may_be_signed_like_a_request_to_the_api_with_the_hash_of_its_body():
    call = check_call(signed(SIGNED), TARGET, b"POST")
    assert call == (KEY.caller, EMPTY_SHA256.encode())
    other = with_header(signed(SIGNED), b"x-acs-content-sha256", b"0" * 64)
    with pytest.raises(SignatureNotMatch):
        check_call(other, TARGET, b"POST")


def test_a_call_without_a_date_is_told_so_by_the_documented_name():
    with pytest.raises(MissingRequiredHeader, match="required HTTP header Date was not specified"):
        check_call(without_header(call_head(), b"x-acs-date"))


def test_the_date_of_a_call_must_be_signed():
    head = call_head()
    value = dict(head)[b"authorization"].replace(b"x-acs-date;", b"")
    with pytest.raises(AccessDenied, match="x-acs-date must be signed"):
        check_call(with_header(head, b"authorization", value))


def test_a_security_token_of_a_call_must_be_signed():
    head = call_head(token=b"t", send_token=False)
    value = dict(head)[b"authorization"].replace(b";x-acs-security-token", b"")
    head = with_header(head, b"authorization", value)
    with pytest.raises(AccessDenied, match="x-acs-security-token must be signed"):
        check_call([*head, (b"x-acs-security-token", b"t")])


def test_a_call_with_the_credentials_of_a_role_is_the_roles():
    credentials = KEYS.derive("acs:ram::1:role/r", ACCOUNT, NOW)
    head = signed(
        [*SIGNED, (b"x-acs-security-token", credentials.security_token.encode())],
        key_id=credentials.access_key_id,
        secret=credentials.access_key_secret,
    )
    assert check_call(head, TARGET, b"POST").caller.role == "acs:ram::1:role/r"


@pytest.mark.parametrize("date", [DATE, "2024-01-02T03:04:05.678Z"])
def test_a_call_whose_time_is_too_far_is_told_both_times(date):
    with pytest.raises(AccessDenied) as refused:
        check_call(call_head(date=date), now=NOW + 901)
    assert refused.value.message == (
        f"the difference between the request time '{date}' and the current time "
        f"'{format_date(NOW + 901)}' is too large"
    )


def test_a_signature_for_a_call_does_not_open_the_api():
    with pytest.raises(FunctionComputeError) as refused:
        check([*call_head(target=TARGET), (b"x-acs-content-sha256", EMPTY_SHA256.encode())])
    assert refused.value.status == 403


TEXT = st.binary(max_size=40)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"authorization", b"x-acs-date", b"x-acs-content-sha256", b"x-acs-security-token"]
        )
        | TEXT,
        st.sampled_from(
            [b"ACS3-HMAC-SHA256 Credential=test-id,SignedHeaders=host;\xff,Signature=x"]
            + [value for _, value in SIGNED]
        )
        | TEXT,
    ),
    max_size=6,
)


@given(method=TEXT, target=TEXT, headers=HEADERS)
@example(method=b"GET", target=b"/", headers=[(b"authorization", b" ")])
def test_random_bytes_are_refused_with_a_documented_error(method, target, headers):
    for look in (check, check_call):
        with pytest.raises(FunctionComputeError) as refused:
            look(headers, method=method, target=target)
        assert refused.value.status < 500


@given(position=st.integers(0, 10**6), noise=TEXT)
def test_damage_to_a_good_request_raises_nothing_but_a_documented_error(position, noise):
    head = signed(SIGNED)
    index = position % len(head)
    name, value = head[index]
    cut = position % (len(value) + 1)
    head[index] = (name, value[:cut] + noise + value[cut + len(noise) :])
    for look in (check, check_call):
        with suppress(FunctionComputeError):
            look(head)


NAME = st.from_regex(rb"[a-z][a-z0-9-]{0,20}", fullmatch=True)
VALUE = st.from_regex(rb"[\x20-\x2b\x2d-\x7e\x80-\xff]{0,40}", fullmatch=True)
WORD = st.from_regex(rb"[A-Za-z0-9._~%+*-]{0,10}", fullmatch=True)


@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"]),
    path=st.from_regex(rb"/[!-><-~]{0,40}", fullmatch=True).filter(lambda path: b"?" not in path),
    query=st.lists(st.tuples(NAME, WORD), max_size=4),
    more=st.lists(st.tuples(NAME.map(lambda name: b"x-own-" + name), VALUE), max_size=4),
    secret=st.text(max_size=30),
)
def test_what_is_signed_is_accepted(method, path, query, more, secret):
    target = path + b"?" + b"&".join(key + b"=" + value for key, value in query)
    head = signed([*SIGNED, *more], method, target, secret=secret)
    keys = Keys([AccessKey(KEY.caller, secret.encode())], signing_key=b"k")
    assert check(head, method, target, keys) == KEY.caller


@given(data=st.data())
def test_one_flipped_bit_in_a_signed_part_is_refused(data):
    parts = [b"POST", TARGET, *[value for _, value in signed(SIGNED)]]
    names = [name for name, _ in signed(SIGNED)]
    index = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 8 * len(parts[index]) - 1))
    damaged = bytearray(parts[index])
    damaged[bit // 8] ^= 1 << bit % 8
    parts[index] = bytes(damaged)
    with pytest.raises(FunctionComputeError):
        check(list(zip(names, parts[2:], strict=True)), parts[0], parts[1])
