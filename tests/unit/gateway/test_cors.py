"""What browsers are told about calls from pages of other origins."""

import pytest

from anyfc.gateway.cors import answer_preflight, cors_headers, is_preflight
from anyfc.model.access import Cors

ORIGIN = b"https://a.example"
ALLOWED = (b"Access-Control-Allow-Origin", ORIGIN)
CREDENTIALS = (b"Access-Control-Allow-Credentials", b"true")
EXPOSED = (b"Access-Control-Expose-Headers", b"Date,x-fc-request-id")
VARY = (b"Vary", b"Origin")
GET = ("GET",)


def preflight(origin=ORIGIN, method=b"PUT", names=None):
    fields = {b"origin": origin, b"access-control-request-method": method}
    if names is not None:
        fields[b"access-control-request-headers"] = names
    return fields


def make_cors(**settings):
    usual = {"origins": ("https://a.example",), "methods": ("get", "put"), "headers": ("x-one",)}
    return Cors(**(usual | settings))


def answered(cors, fields, methods=GET):
    response = answer_preflight(cors, fields, methods)
    assert response is not None
    assert response.body == b""
    return response.status, {name.decode().lower(): value for name, value in response.headers}


# --- without settings: responses -----------------------------------------------------------------


def test_a_call_without_an_origin_gets_no_headers():
    assert cors_headers(None, None, []) == []
    assert cors_headers(None, b"", []) == []


def test_every_origin_is_let_in_when_nothing_else_is_said():
    assert cors_headers(None, ORIGIN, []) == [ALLOWED, CREDENTIALS, EXPOSED, VARY]


@pytest.mark.parametrize("name", [b"Access-Control-Allow-Origin", b"access-control-allow-ORIGIN"])
def test_an_origin_that_the_function_chooses_counts(name):
    assert cors_headers(None, ORIGIN, [(name, b"https://b.example")]) == []


def test_each_value_of_the_function_counts():
    returned = [
        (b"access-control-allow-credentials", b"false"),
        (b"Access-Control-Expose-Headers", b"X-Mine"),
        (b"Access-Control-Allow-Methods", b"GET"),
    ]
    assert cors_headers(None, ORIGIN, returned) == [ALLOWED, VARY]


@pytest.mark.parametrize(
    ("vary", "added"),
    [
        (b"Accept-Encoding", [VARY]),
        (b"Accept-Encoding, origin", []),
        (b"*", []),
        (b"X-Origin", [VARY]),
    ],
)
def test_caches_are_told_once_that_the_answer_depends_on_the_origin(vary, added):
    headers = cors_headers(None, ORIGIN, [(b"vary", vary)])
    assert [header for header in headers if header[0] == b"Vary"] == added


# --- without settings: preflights ----------------------------------------------------------------


def test_a_preflight_is_answered_with_what_it_asks_for():
    status, headers = answered(None, preflight(names=b"x-a, x-b"))
    assert status == 200
    assert headers == {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-credentials": b"true",
        "access-control-allow-methods": b"PUT",
        "access-control-allow-headers": b"x-a, x-b",
        "access-control-max-age": b"3600",
        "vary": b"Origin",
    }


def test_a_preflight_that_names_no_headers_is_told_none():
    assert "access-control-allow-headers" not in answered(None, preflight())[1]


@pytest.mark.parametrize("methods", [("GET", "OPTIONS"), ()])
def test_a_function_that_takes_options_answers_preflights_itself(methods):
    assert answer_preflight(None, preflight(), methods) is None


@pytest.mark.parametrize("missing", [b"origin", b"access-control-request-method"])
def test_a_preflight_is_options_with_an_origin_and_a_method(missing):
    fields = preflight()
    assert is_preflight(b"OPTIONS", fields)
    assert not is_preflight(b"GET", fields)
    assert not is_preflight(b"OPTIONS", {**fields, missing: b""})
    del fields[missing]
    assert not is_preflight(b"OPTIONS", fields)


# --- with settings: preflights -------------------------------------------------------------------


def test_a_permitted_preflight_is_answered_with_the_settings():
    cors = make_cors(credentials=True, max_age_s=60, headers=("x-one", "x-two"))
    status, headers = answered(cors, preflight(names=b"X-Two,x-one"))
    assert status == 204
    assert headers == {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-credentials": b"true",
        "access-control-allow-methods": b"GET,PUT",
        "access-control-allow-headers": b"x-one,x-two",
        "access-control-max-age": b"60",
        "vary": b"Origin",
    }


def test_a_permitted_preflight_is_not_for_the_function_even_if_it_takes_options():
    assert answered(make_cors(), preflight(), ("OPTIONS",))[0] == 204


@pytest.mark.parametrize(
    "fields",
    [
        preflight(origin=b"https://b.example"),
        preflight(origin=b"https://a.example.evil.example"),
        preflight(origin=b"http://a.example"),
        preflight(origin=b"null"),
        preflight(method=b"DELETE"),
        preflight(names=b"x-one, x-other"),
    ],
)
def test_a_preflight_that_is_not_permitted_is_for_the_function(fields):
    assert answer_preflight(make_cors(), fields, GET) is None


@pytest.mark.parametrize("names", [None, b"", b"x-one", b" X-One , "])
def test_names_of_headers_are_the_same_in_any_case(names):
    assert answered(make_cors(), preflight(names=names))[0] == 204


def test_any_origin_is_told_so_and_no_cache_needs_to_tell_them_apart():
    _, headers = answered(make_cors(origins=("*",)), preflight())
    assert headers["access-control-allow-origin"] == b"*"
    assert "access-control-allow-credentials" not in headers
    assert "vary" not in headers


@pytest.mark.parametrize(
    ("origin", "permitted"),
    [(b"https://any.example", True), (b"HTTPS://A.example", True), (b"http://any.example", False)],
)
def test_an_origin_may_be_permitted_by_its_scheme(origin, permitted):
    response = answer_preflight(make_cors(origins=("https://*",)), preflight(origin=origin), GET)
    assert (response is not None) is permitted
    if response is not None:
        assert (b"Access-Control-Allow-Origin", origin) in response.headers


@pytest.mark.parametrize(
    ("permitted", "origin"),
    [
        ("https://a.example*", b"https://a.example.evil.example"),
        ("https://*.example", b"https://a.example"),
        ("https*", b"https://a.example"),
        ("ftp://*", b"ftp://a.example"),
    ],
)
def test_a_star_elsewhere_than_behind_the_scheme_permits_nothing(permitted, origin):
    cors = make_cors(origins=(permitted,), credentials=True)
    assert answer_preflight(cors, preflight(origin=origin), GET) is None
    assert cors_headers(cors, origin, []) == [VARY]


def test_any_header_and_any_method_may_be_permitted():
    cors = make_cors(headers=("*",), methods=("*",))
    _, headers = answered(cors, preflight(method=b"PATCH", names=b"x-anything"))
    assert headers["access-control-allow-headers"] == b"x-anything"
    assert headers["access-control-allow-methods"] == b"PATCH"


def test_without_methods_of_their_own_the_settings_permit_those_of_the_trigger():
    cors = make_cors(methods=())
    _, headers = answered(cors, preflight(), ("GET", "PUT"))
    assert headers["access-control-allow-methods"] == b"GET,PUT"
    assert answer_preflight(cors, preflight(), GET) is None
    assert answered(cors, preflight(method=b"PATCH"), ())[0] == 204


# --- with settings: responses --------------------------------------------------------------------


def test_a_permitted_origin_gets_what_is_set():
    cors = make_cors(credentials=True, exposed_headers=("x-a", "x-b"))
    exposed = (b"Access-Control-Expose-Headers", b"x-a,x-b")
    assert cors_headers(cors, ORIGIN, []) == [ALLOWED, CREDENTIALS, exposed, VARY]


def test_credentials_are_not_permitted_unless_set():
    assert cors_headers(make_cors(), ORIGIN, []) == [ALLOWED, VARY]


@pytest.mark.parametrize("origin", [b"https://b.example", None])
def test_other_origins_and_none_get_an_answer_that_caches_keep_apart(origin):
    assert cors_headers(make_cors(), origin, []) == [VARY]


def test_any_origin_gets_a_star():
    cors = make_cors(origins=("*", "https://a.example"))
    assert cors_headers(cors, ORIGIN, []) == [(b"Access-Control-Allow-Origin", b"*")]
    assert cors_headers(cors, None, []) == []


def test_the_functions_own_values_count_more_than_the_settings():
    returned = [(b"Access-Control-Allow-Origin", b"*")]
    assert cors_headers(make_cors(credentials=True), ORIGIN, returned) == []
