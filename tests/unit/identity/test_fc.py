import base64
import hmac
import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.errors import (
    AccessDenied,
    FunctionComputeError,
    InvalidAccessKeyID,
    MissingRequiredHeader,
    SignatureNotMatch,
)
from anyfc.identity.fc import is_signed_address, verify_fc, verify_fc_address, verify_fc_call
from anyfc.identity.key import AccessKey, Caller, Keys
from anyfc.identity.signature import format_date

FOLDER = Path(__file__).parents[2] / "vectors"
DATE = b"Tue, 02 Jan 2024 03:04:05 GMT"
NOW = datetime.fromisoformat("2024-01-02T03:04:05Z").timestamp()
BEFORE = NOW - 1  # the addresses here expire at NOW
KEY = AccessKey(Caller("123456", "test-id"), b"test-secret")
KEYS = Keys([KEY], signing_key=b"k" * 32)


class AnyToken:
    """Knows the key of the vectors, with and without a token."""

    def find(self, access_key_id, security_token, now):
        assert access_key_id == "test-id"
        assert security_token in ("", "test-security-token")
        return KEY


def vectors(name):
    found = json.loads((FOLDER / name).read_text(encoding="utf-8"))["vectors"]
    return [pytest.param(one["input"], one["expected"], id=one["name"]) for one in found]


def as_list(headers):
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def mac(text, secret=b"test-secret"):
    return base64.b64encode(hmac.digest(secret, text, "sha256"))


def head(resource, method=b"GET", date=DATE, key_id=b"test-id"):
    """The headers of a request for which `resource` was signed."""
    signature = mac(b"%b\n\n\n%b\n%b" % (method, date, resource))
    return [(b"date", date), (b"authorization", b"FC %b:%b" % (key_id, signature))]


def address(path, query, written, expires=b"1704164645"):
    """A signed address; `written` are the lines of its query as they are signed."""
    own = b"x-fc-access-key-id=test-id&x-fc-expires=" + expires
    signature = mac(b"GET\n\n\n%b\n%b\n%b" % (expires, path, b"\n".join(sorted(written))))
    return b"%b?%b&%b&x-fc-signature=%b" % (path, query, own, quote(signature, "").encode())


OWN_LINES = [b"x-fc-access-key-id=test-id", b"x-fc-expires=1704164645"]


@pytest.mark.parametrize(("sent", "expected"), vectors("fc2_authorization.json"))
def test_a_request_of_the_older_client_is_accepted(sent, expected):
    headers = as_list({**sent["headers"], "authorization": expected["authorization"]})
    caller = verify_fc(
        sent["method"].encode(),
        sent["requestTarget"].encode(),
        [*headers, (b"user-agent", b"aliyun-fc-sdk"), (b"content-length", b"0")],
        keys=AnyToken(),
        now=NOW,
    )
    assert caller == KEY.caller


@pytest.mark.parametrize("encoded", [True, False], ids=["encoded", "as a form"])
@pytest.mark.parametrize(("sent", "expected"), vectors("fc2_trigger_domain.json"))
def test_a_call_of_the_client_for_domains_is_accepted(sent, expected, encoded):
    query = quote(sent["unescapedQuery"], safe="=&")
    target = quote(sent["unescapedPath"]) + "?" * bool(query)
    target += query if encoded else query.replace("%20", "+")
    headers = as_list({**sent["headers"], "authorization": expected["authorization"]})
    method = sent["method"].encode()
    caller = verify_fc_call(method, target.encode(), headers, keys=AnyToken(), now=NOW)
    assert caller == KEY.caller


@pytest.mark.parametrize(("sent", "expected"), vectors("fc2_signed_url.json"))
def test_a_signed_address_is_accepted_until_it_expires(sent, expected):
    target = expected["requestTarget"].encode()
    assert is_signed_address(target)
    for now in (0, sent["expires"] - 1):
        caller = verify_fc_address(b"GET", target, [], keys=AnyToken(), now=now)
        assert caller == KEY.caller
    with pytest.raises(AccessDenied, match="the signed URL has expired"):
        verify_fc_address(b"GET", target, [], keys=AnyToken(), now=sent["expires"])


def test_the_query_of_an_api_request_is_not_signed():
    signed = head(b"/2016-08-15/services")
    target = b"/2016-08-15/services?limit=9"
    assert verify_fc(b"GET", target, signed, keys=KEYS, now=NOW) == KEY.caller


@pytest.mark.parametrize(
    "resource",
    [b"/\na=1\nb=2 3", b"/\nb=2 3\na=1"],
    ids=["sorted", "in the order of the address"],
)
def test_the_query_of_a_call_is_signed_in_either_order(resource):
    target = b"/?b=2+3&a=1"
    assert verify_fc_call(b"GET", target, head(resource), keys=KEYS, now=NOW) == KEY.caller


@pytest.mark.parametrize("resource", [b"/\na=1&b", b"/\na=1\nb"])
def test_a_query_may_be_taken_apart_before_or_after_it_is_decoded(resource):
    target = b"/?a=1%26b"
    assert verify_fc_call(b"GET", target, head(resource), keys=KEYS, now=NOW) == KEY.caller


@pytest.mark.parametrize(
    ("target", "resource"),
    [
        (b"/b", b"/a\n"),
        (b"/a", b"/a"),
        (b"/a?b=2", b"/a\nb=1"),
        (b"/a?b=1", b"/a\n"),
        (b"/a%0Ab=1?c=2", b"/a\nb=1\nc=2"),
        (b"/a?b=1%0Ac=2", b"/a\nb=1\nc=2"),
        (b"/a?b%3D1", b"/a\nb=1"),
        # No client that keeps the order decodes a query behind its taking apart.
        (b"/a?c=2&b=1%26a", b"/a\nc=2\nb=1&a"),
    ],
)
def test_a_call_to_another_address_does_not_match(target, resource):
    with pytest.raises(SignatureNotMatch):
        verify_fc_call(b"GET", target, head(resource), keys=KEYS, now=NOW)


@pytest.mark.parametrize("look", [verify_fc, verify_fc_call])
def test_what_is_signed_cannot_be_changed(look):
    target = b"/2016-08-15/proxy/s/f/"
    good = head(target + b"\n")
    assert look(b"GET", target, good, keys=KEYS, now=NOW) == KEY.caller
    for method, more in (
        (b"PUT", []),
        (b"GET", [(b"content-type", b"text/plain")]),
        (b"GET", [(b"content-md5", b"x")]),
        (b"GET", [(b"x-fc-log-type", b"Tail")]),
    ):
        with pytest.raises(SignatureNotMatch):
            look(method, target, [*good, *more], keys=KEYS, now=NOW)


def test_a_request_without_a_signature_or_a_date_is_told_so():
    for name, missing in ((b"authorization", "Authorization"), (b"date", "Date")):
        sent = [header for header in head(b"/") if header[0] != name]
        with pytest.raises(MissingRequiredHeader, match=f"header {missing} was not specified"):
            verify_fc(b"GET", b"/", sent, keys=KEYS, now=NOW)


def test_an_unknown_key_is_named():
    with pytest.raises(InvalidAccessKeyID, match="'other'"):
        verify_fc(b"GET", b"/", head(b"/", key_id=b"other"), keys=KEYS, now=NOW)


@pytest.mark.parametrize("value", [b"FC", b"FC x", b"FC :", b"FC id:", b"FC :x", b"Bearer a:b"])
def test_an_authorization_of_another_form_is_refused(value):
    sent = [(b"date", DATE), (b"authorization", value)]
    with pytest.raises(AccessDenied, match="the header Authorization must read 'FC "):
        verify_fc(b"GET", b"/", sent, keys=KEYS, now=NOW)


@pytest.mark.parametrize("offset_s", [-900, 0, 900])
def test_clocks_may_differ_by_15_minutes(offset_s):
    assert verify_fc(b"GET", b"/", head(b"/"), keys=KEYS, now=NOW + offset_s) == KEY.caller


@pytest.mark.parametrize("offset_s", [-901, 901])
def test_a_larger_difference_of_clocks_is_refused_with_both_times(offset_s):
    with pytest.raises(AccessDenied) as refused:
        verify_fc(b"GET", b"/", head(b"/"), keys=KEYS, now=NOW + offset_s)
    assert refused.value.message == (
        f"the difference between the request time '{DATE.decode()}' and the current time "
        f"'{format_date(NOW + offset_s)}' is too large"
    )


@pytest.mark.parametrize(
    "date",
    [
        b"2024-01-02T03:04:05Z",
        b"Tue, 02 Jan 2024 03:04:05",
        b"Tue, 02 Jan 2024 03:04:05 +0000",
        b"Tue, 31 Feb 2024 03:04:05 GMT",
        b"Tue, 02 Jab 2024 03:04:05 GMT",
        b"Tue, 02 Jan 0000 03:04:05 GMT",
        b"\xff",
    ],
)
def test_a_date_of_another_form_is_refused(date):
    with pytest.raises(AccessDenied, match="the header Date must read"):
        verify_fc(b"GET", b"/", head(b"/", date=date), keys=KEYS, now=NOW)


def test_a_request_with_the_credentials_of_a_role_is_the_roles():
    credentials = KEYS.derive("acs:ram::1:role/r", "123456", NOW)
    token = credentials.security_token.encode()
    text = b"GET\n\n\n%b\nx-fc-security-token:%b\n/" % (DATE, token)
    value = mac(text, credentials.access_key_secret.encode())
    value = b"FC %b:%b" % (credentials.access_key_id.encode(), value)
    sent = [(b"date", DATE), (b"authorization", value), (b"x-fc-security-token", token)]
    assert verify_fc(b"GET", b"/", sent, keys=KEYS, now=NOW).role == "acs:ram::1:role/r"
    with pytest.raises(AccessDenied, match="its security token is missing"):
        verify_fc(b"GET", b"/", sent[:2], keys=KEYS, now=NOW)


def test_an_address_without_a_signature_is_none():
    assert not is_signed_address(b"/")
    assert not is_signed_address(b"/x-fc-signature?a=x-fc-signature")
    with pytest.raises(FunctionComputeError):
        verify_fc_address(b"GET", b"/", [], keys=KEYS, now=BEFORE)


@pytest.mark.parametrize(
    "change",
    [
        lambda target: target.replace(b"name=bob", b"name=eve"),
        lambda target: target.replace(b"name=bob&", b""),
        lambda target: target.replace(b"name=bob", b"name%3Dbob"),
        lambda target: target.replace(b"name=bob&", b"name=bob%0A"),
        lambda target: target.replace(b"/hello", b"/other"),
        lambda target: target + b"&more=1",
        lambda target: target + b"&x-fc-signature=x",
        lambda target: target + b"&x-fc-expires=1704164645",
        lambda target: target.replace(b"1704164645", b"1804164645"),
    ],
)
def test_a_changed_address_does_not_match(change):
    target = address(b"/hello", b"name=bob", [b"name=bob", *OWN_LINES])
    assert verify_fc_address(b"GET", target, [], keys=KEYS, now=BEFORE) == KEY.caller
    with pytest.raises(SignatureNotMatch):
        verify_fc_address(b"GET", change(target), [], keys=KEYS, now=BEFORE)


def test_an_address_is_signed_for_one_method():
    target = address(b"/", b"a=1", [b"a=1", *OWN_LINES])
    with pytest.raises(SignatureNotMatch):
        verify_fc_address(b"POST", target, [], keys=KEYS, now=BEFORE)


@pytest.mark.parametrize("expires", [b"", b"soon", b"-1", b"1" * 13, b"1e9"])
def test_an_address_that_does_not_say_when_it_expires_is_refused(expires):
    target = address(b"/", b"a=1", [b"a=1"], expires)
    with pytest.raises(AccessDenied, match="x-fc-expires must be"):
        verify_fc_address(b"GET", target, [], keys=KEYS, now=BEFORE)


TEXT = st.binary(max_size=40)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"date", b"x-fc-security-token"]) | TEXT,
        st.sampled_from([b"FC test-id:x", b"FC STS.x:x", DATE]) | TEXT,
    ),
    max_size=6,
)
QUERY = st.lists(
    st.sampled_from(
        [b"x-fc-access-key-id=test-id", b"x-fc-expires=1704164645", b"x-fc-signature=x"]
    )
    | TEXT,
    max_size=6,
)


@given(method=TEXT, path=TEXT, query=QUERY, headers=HEADERS)
def test_random_bytes_are_refused_with_a_documented_error(method, path, query, headers):
    target = path + b"?" + b"&".join(query)
    for look in (verify_fc, verify_fc_call, verify_fc_address):
        with pytest.raises(FunctionComputeError) as refused:
            look(method, target, headers, keys=KEYS, now=BEFORE)
        assert refused.value.status < 500


@given(position=st.integers(0, 10**6), noise=TEXT)
def test_damage_to_a_signed_address_raises_nothing_but_a_documented_error(position, noise):
    target = address(b"/hello", b"name=bob", [b"name=bob", *OWN_LINES])
    cut = position % (len(target) + 1)
    with suppress(FunctionComputeError):
        damaged = target[:cut] + noise + target[cut + len(noise) :]
        verify_fc_address(b"GET", damaged, [], keys=KEYS, now=BEFORE)
