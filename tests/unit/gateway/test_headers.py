"""The headers of HTTP calls, on their way to a function's server and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.errors import ApkDownloadForbidden, BadResponse, ExternalRedirectForbidden
from anyfc.gateway.headers import (
    check_default_domain,
    forwarded_request_headers,
    returned_response_headers,
)

ATTACHMENT = (b"Content-Disposition", b"attachment")


def forward(*headers, **settings):
    return forwarded_request_headers(headers, **({"peer": "10.0.0.1"} | settings))


def forwarded(*headers, **settings):
    """What is forwarded, without what is always added."""
    added = (b"x-forwarded-for", b"x-forwarded-proto")
    return [header for header in forward(*headers, **settings) if header[0] not in added]


def give_back(*headers, **settings):
    return returned_response_headers(headers, **settings)[0]


# --- to the server -------------------------------------------------------------------------------


def test_headers_reach_the_server_as_they_came_and_in_their_order():
    sent = (
        (b"host", b"f.example.com:9000"),
        (b"b", b"1"),
        (b"a", b"\xff"),
        (b"b", b"2"),
        (b"authorization", b"Bearer t"),
        (b"cookie", b"c=1"),
    )
    assert forwarded(*sent) == list(sent)


@pytest.mark.parametrize(
    "name",
    [b"accept-encoding", b"te", b"proxy-authorization", b"x-fcx", b"x-f", b"origin"],
)
def test_what_the_cloud_passes_on_since_2022_reaches_the_server(name):
    assert forwarded((name, b"v")) == [(name, b"v")]


@pytest.mark.parametrize(
    "name",
    [
        b"connection", b"keep-alive", b"x-fc-foo", b"x-fc-request-id", b"x-fc-invocation-type",
        b"x-fc-", b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"trailer",
        b"proxy-connection",
    ],
)  # fmt: skip
def test_what_is_the_connections_own_or_the_platforms_does_not_reach_the_server(name):
    assert forwarded((name, b"v"), (b"a", b"1")) == [(b"a", b"1")]


@pytest.mark.parametrize(
    "name",
    [
        b"x_fc_control_path", b"x-fc_request-id", b"x_fc-", b"x_forwarded_for",
        b"x-forwarded_proto",
    ],
)  # fmt: skip
def test_what_servers_may_take_for_the_platforms_word_does_not_reach_them(name):
    assert forward((name, b"v")) == forward()


@pytest.mark.parametrize("name", [b"x_fcx", b"_x-fc-a", b"a_b", b"x_forwarded", b"x_fc"])
def test_other_names_with_an_underscore_reach_the_server(name):
    assert forwarded((name, b"v")) == [(name, b"v")]


def test_the_peer_is_the_end_of_the_chain():
    assert (b"x-forwarded-for", b"10.0.0.1") in forward()
    chain = forward((b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), (b"x-forwarded-for", b"3.3.3.3"))
    assert [value for name, value in chain if name == b"x-forwarded-for"] == [
        b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1"
    ]


def test_a_peer_without_an_address_is_not_in_the_chain():
    assert b"x-forwarded-for" not in dict(forward(peer=""))


def test_the_protocol_is_said_once_and_a_proxy_in_front_knows_it_better():
    assert (b"x-forwarded-proto", b"https") in forward(scheme=b"https")
    said = [pair for pair in forward((b"x-forwarded-proto", b"https")) if b"proto" in pair[0]]
    assert said == [(b"x-forwarded-proto", b"https")]


# --- to the client -------------------------------------------------------------------------------


def test_headers_reach_the_client_as_the_server_spelt_them():
    sent = (
        (b"Content-Type", b"text/html"),
        (b"set-cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"CONTENT-encoding", b"gzip"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Function-Name", b"f"),
    )
    assert give_back(*sent) == list(sent)


@pytest.mark.parametrize(
    "name",
    [
        b"Server", b"date", b"X-Fc-Foo", b"x-fc-status", b"Connection", b"Keep-Alive",
        b"CONTENT-LENGTH", b"Transfer-Encoding", b"Upgrade", b"Trailer", b"Proxy-Connection",
    ],
)  # fmt: skip
def test_a_reserved_header_does_not_reach_the_client(name):
    assert give_back((name, b"v"), (b"A", b"1")) == [(b"A", b"1")]


@pytest.mark.parametrize(
    ("said", "failed"), [(b"404", True), (b" 404 ", True), (b"200", False), (b"", False)]
)
def test_a_server_says_with_x_fc_status_whether_it_failed(said, failed):
    assert returned_response_headers([(b"X-FC-Status", said), (b"A", b"1")])[1] is failed


def test_a_server_that_says_nothing_has_not_failed():
    assert returned_response_headers([(b"A", b"404")])[1] is False


def test_a_server_may_name_a_file_but_the_bare_attachment_is_the_platforms():
    named = (b"Content-Disposition", b'attachment; filename="a.txt"')
    assert give_back(named) == [named]
    assert give_back((b"content-disposition", b"inline")) == [(b"content-disposition", b"inline")]
    assert give_back((b"content-disposition", b" Attachment")) == []


@pytest.mark.parametrize(
    "headers", [(), ((b"content-disposition", b"inline"),), (ATTACHMENT, ATTACHMENT)]
)
def test_in_strict_mode_every_answer_is_an_attachment(headers):
    assert give_back(*headers, attachment=True) == [ATTACHMENT]


def test_headers_of_8_kib_are_returned_and_larger_ones_are_a_bad_response():
    half = (b"A", b"x" * 4095)
    assert len(give_back(half, half)) == 2
    with pytest.raises(BadResponse, match="8193 bytes"):
        give_back(half, half, (b"", b"x"))


def test_what_is_dropped_or_added_does_not_count():
    full = (b"A", b"x" * 8191)
    assert give_back(full, (b"X-Fc-Foo", b"x"), (b"Date", b"x"), attachment=True) == [
        full,
        ATTACHMENT,
    ]


NAMES = st.sampled_from([b"Server", b"DATE", b"x-Fc-a", b"a", b"Content-Disposition"])


@given(st.lists(st.tuples(st.binary(max_size=9) | NAMES, st.binary(max_size=9))), st.booleans())
def test_returned_headers_are_some_of_those_sent_in_their_order(headers, attachment):
    kept = give_back(*headers, attachment=attachment)
    if attachment:
        assert kept.pop() == ATTACHMENT
    rest = iter(headers)
    assert all(header in rest for header in kept)
    assert not any(name.lower().startswith((b"x-fc-", b"server", b"date")) for name, _ in kept)


# --- default domains -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_default_domain_does_not_redirect(status):
    with pytest.raises(ExternalRedirectForbidden):
        check_default_domain(status, [])


def test_a_default_domain_does_not_serve_android_packages():
    kind = b"Application/vnd.android.package-archive; x=y"
    with pytest.raises(ApkDownloadForbidden):
        check_default_domain(200, [(b"A", b"1"), (b"content-TYPE", kind)])


@pytest.mark.parametrize("status", [200, 304, 404, 500])
def test_a_default_domain_serves_the_rest(status):
    check_default_domain(status, [(b"Content-Type", b"text/html")])
