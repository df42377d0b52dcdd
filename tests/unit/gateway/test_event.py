"""HTTP for handlers: from a request to an event, and from a result to a response."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.errors import BadResponse
from anyfc.gateway.event import FAILED, BadResult, HttpResult, build_event, read_result

ID = "1-65d71219-15d63510-fecf237c590c"
NOW = 1693896071.895
JSON_TYPE = (b"Content-Type", b"application/json")
TYPE = b"content-type"


def event(*headers: tuple[bytes, bytes], **settings: Any) -> Any:
    usual: dict[str, Any] = {
        "method": b"GET",
        "path": b"/",
        "query": b"",
        "body": b"",
        "peer": "11.11.11.1",
        "request_id": ID,
        "account_id": "123456",
        "host": b"demo-abc.cn-hangzhou.fcapp.localhost:9000",
        "protocol": "HTTP/1.1",
        "now": NOW,
    }
    return json.loads(build_event(headers=headers, **(usual | settings)))


def result(value: Any) -> HttpResult:
    return read_result(json.dumps(value).encode())


def header(answer: HttpResult, name: bytes) -> list[bytes]:
    return [value for each, value in answer.headers if each.lower() == name.lower()]


# --- events --------------------------------------------------------------------------------------


def test_an_event_has_every_field_and_no_other():
    assert event(
        (b"host", b"demo-abc.cn-hangzhou.fcapp.localhost:9000"),
        (b"user-agent", b"curl/8"),
        (TYPE, b"text/plain"),
        method=b"POST",
        path=b"/example",
        query=b"p1=v1",
        body=b"Hello FC!",
    ) == {
        "version": "v1",
        "rawPath": "/example",
        "body": "Hello FC!",
        "isBase64Encoded": False,
        "headers": {
            "Host": "demo-abc.cn-hangzhou.fcapp.localhost:9000",
            "User-Agent": "curl/8",
            "Content-Type": "text/plain",
        },
        "queryParameters": {"p1": "v1"},
        "requestContext": {
            "accountId": "123456",
            "domainName": "demo-abc.cn-hangzhou.fcapp.localhost",
            "domainPrefix": "demo-abc",
            "requestId": ID,
            "time": "2023-09-05T06:41:11Z",
            "timeEpoch": "1693896071895",
            "http": {
                "method": "POST",
                "path": "/example",
                "protocol": "HTTP/1.1",
                "sourceIp": "11.11.11.1",
                "userAgent": "curl/8",
            },
        },
    }


def test_a_get_without_a_body_has_an_empty_one_that_counts_as_base64():
    seen = event(query=b"parameter1=value1&parameter2=value2")
    assert seen["version"] == "v1"
    assert seen["rawPath"] == "/"
    assert seen["queryParameters"] == {"parameter1": "value1", "parameter2": "value2"}
    assert seen["body"] == ""
    assert seen["isBase64Encoded"] is True
    assert seen["requestContext"]["http"]["method"] == "GET"
    assert seen["requestContext"]["http"]["userAgent"] == ""


@pytest.mark.parametrize(
    "kind",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b"Application/JSON",
        b"text/plain",
        b"text/html;charset=utf-8",
        b"application/ld+json",
        b"application/xhtml+xml",
        b"application/xml",
        b"application/atom+xml",
        b"application/javascript",
    ],
)
def test_the_body_of_a_text_type_is_text(kind: bytes):
    seen = event((TYPE, kind), method=b"POST", body='{"message": "你好"}'.encode())
    assert seen["isBase64Encoded"] is False
    assert seen["body"] == '{"message": "你好"}'


@pytest.mark.parametrize(
    "kind",
    [
        b"image/png",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"application/octet-stream",
        b"application/jsonp",
        b"texts/plain",
        b"",
    ],
)
def test_the_body_of_any_other_type_is_base64(kind: bytes):
    seen = event((TYPE, kind), method=b"POST", body=b"a=1\xff")
    assert seen["isBase64Encoded"] is True
    assert b64decode(seen["body"]) == b"a=1\xff"


def test_a_text_that_is_not_utf_8_is_base64_and_loses_nothing():
    seen = event((TYPE, b"text/plain; charset=gbk"), body="你好".encode("gbk"))
    assert seen["isBase64Encoded"] is True
    assert b64decode(seen["body"]).decode("gbk") == "你好"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"x-custom-key", "X-Custom-Key"),
        (b"accept-encoding", "Accept-Encoding"),
        (b"etag", "Etag"),
        (b"x_under-2nd", "X_under-2nd"),
        (b"x--y-", "X--Y-"),
    ],
)
def test_names_of_headers_are_canonical(sent: bytes, shown: str):
    assert event((sent, b"v"))["headers"] == {shown: "v"}


def test_repeated_headers_and_parameters_are_joined_with_commas():
    seen = event((b"a", b"1"), (b"b", b"x"), (b"a", b"2"), query=b"k=1&j=&k=2&&l")
    assert seen["headers"] == {"A": "1,2", "B": "x"}
    assert seen["queryParameters"] == {"k": "1,2", "j": "", "l": ""}


def test_parameters_are_decoded():
    seen = event(query=b"a%20b=c%26d+e&%E4%BD%A0=%E5%A5%BD&plus=%2B&eq=a=b")
    assert seen["queryParameters"] == {"a b": "c&d e", "你": "好", "plus": "+", "eq": "a=b"}


def test_the_path_is_there_encoded_and_decoded():
    seen = event(path=b"/a%20b/c+d")
    assert seen["rawPath"] == "/a%20b/c+d"
    assert seen["requestContext"]["http"]["path"] == "/a b/c+d"


def test_what_the_platform_says_and_what_is_the_connections_own_is_not_shown():
    seen = event(
        (b"connection", b"close"),
        (b"keep-alive", b"x"),
        (b"x-fc-foo", b"1"),
        (b"x-fc-invocation-type", b"Async"),
        (b"authorization", b"Bearer t"),
    )
    assert seen["headers"] == {"Authorization": "Bearer t"}


def test_the_chain_of_proxies_is_shown_as_it_came_and_the_source_is_the_last_of_them():
    seen = event((b"x-forwarded-for", b"1.2.3.4"), peer="10.0.0.1")
    assert seen["headers"]["X-Forwarded-For"] == "1.2.3.4"
    assert seen["requestContext"]["http"]["sourceIp"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("host", "domain", "prefix"),
    [
        (b"a.example.com", "a.example.com", "a"),
        (b"localhost:9000", "localhost", "localhost"),
        (b"[::1]:9000", "[::1]", "[::1]"),
        (b"", "", ""),
    ],
)
def test_the_domain_is_the_host_without_its_port(host: bytes, domain: str, prefix: str):
    context = event(host=host)["requestContext"]
    assert (context["domainName"], context["domainPrefix"]) == (domain, prefix)


def test_what_is_not_utf_8_is_replaced():
    seen = event((b"x", b"a\xff"), path=b"/%ff", query=b"q=%ff\xfe")
    assert seen["headers"] == {"X": "a\ufffd"}
    assert seen["requestContext"]["http"]["path"] == "/\ufffd"
    assert seen["queryParameters"] == {"q": "\ufffd\ufffd"}


@given(
    method=st.binary(),
    path=st.binary(),
    query=st.binary() | st.text("&=%+ab1").map(str.encode),
    headers=st.lists(st.tuples(st.binary() | st.just(TYPE), st.binary() | st.just(b"text/x"))),
    body=st.binary() | st.text().map(str.encode),
    host=st.binary(),
    now=st.floats(0, 4e9),
)
def test_an_event_is_json_whatever_the_client_sends_and_its_body_is_whole(body, headers, **parts):
    seen = event(*headers, body=body, **parts)
    text = seen["body"]
    assert (b64decode(text) if seen["isBase64Encoded"] else text.encode()) == body


# --- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"Hello World!",
        b'{"message": "Hello World!"}',
        b"",
        b"5",
        b"null",
        b'"text"',
        b"[1, 2]",
        b"\xff\x00",
        b"statusCode",
        b'{"statusCode": 201',
        b'[{"statusCode": 201}]',
        b'"statusCode"',
        b'"[\\"statusCode\\"]"',
        b'"{\\"statusCode\\": 201"',
        b'{"\\u0061": 1}',
        b'{"statuscode": 201, "b": "statusCode"}',
        b'{"statusCode": 200, "body": {"x": NaN}}',
        b'{"statusCode": 200, "body": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_not_structured_is_a_body_of_json_as_it_is(body: bytes):
    assert read_result(body) == HttpResult(status=200, headers=(JSON_TYPE,), body=body)


def test_a_structured_result_sets_status_headers_and_body():
    answer = result(
        {
            "statusCode": 201,
            "headers": {"Content-Type": "application/json", "X-Demo": "v1"},
            "body": {"greeting": "hi"},
            "isBase64Encoded": False,
        }
    )
    assert answer.status == 201
    assert answer.headers == (JSON_TYPE, (b"X-Demo", b"v1"))
    assert answer.body == b'{"greeting":"hi"}'


def test_a_result_may_begin_with_space():
    assert read_result(b' \n{"statusCode": 404}').status == 404


def test_a_name_may_be_written_with_escapes():
    assert read_result(b'{"\\u0073tatusCode": 404}').status == 404


def test_a_text_that_holds_a_structured_result_is_one():
    inner = {"statusCode": 404, "body": "gone", "headers": {"A": "ü"}}
    assert result(json.dumps(inner)) == result(inner)
    assert read_result(b" " + json.dumps(json.dumps(inner)).encode()) == result(inner)


@pytest.mark.parametrize("status", [200, "200", " 200 ", 200.0])
def test_a_status_may_be_written_as_any_number(status: Any):
    assert result({"statusCode": status}).status == 200


@pytest.mark.parametrize(
    "status",
    [
        0, 99, 100, 101, 199, 600, 1000, 10**30, -200, 200.5, "abc", "", "2e2", "²00", "٢٠٠",
        "9" * 5000, "100", "-200", True, None, [200], {},
    ],
)  # fmt: skip
def test_a_status_that_http_does_not_have_is_a_bad_result(status: Any):
    with pytest.raises(BadResult, match="statusCode"):
        result({"statusCode": status})


def test_a_number_that_is_none_is_a_bad_result():
    with pytest.raises(BadResult):
        read_result(b'{"statusCode": 1e999}')


@pytest.mark.parametrize(
    ("given_body", "sent"),
    [
        ("", b""),
        ("text", b"text"),
        ('with "quotes"\n', b'with "quotes"\n'),
        ("你好", "你好".encode()),
        (None, b""),
        (5, b"5"),
        (1.0, b"1.0"),
        (True, b"true"),
        (False, b"false"),
        ([1, {"a": "b c"}], b'[1,{"a":"b c"}]'),
        ({}, b"{}"),
    ],
)
def test_a_body_of_any_type_is_sent(given_body: Any, sent: bytes):
    assert result({"statusCode": 200, "body": given_body}).body == sent


def test_numbers_in_a_body_stay_as_they_were_written():
    written = b'{"statusCode": 200, "body": {"a": 1.10, "b": 123456789012345678901234567890}}'
    assert read_result(written).body == b'{"a":1.10,"b":123456789012345678901234567890}'


def test_a_text_that_is_not_utf_8_is_sent_as_it_is():
    assert read_result(b'{"statusCode": 200, "body": "\xff"}').body == b"\xff"
    assert read_result(b'{"statusCode": 200, "body": "\xff\\n"}').body == "\ufffd\n".encode()


HALVES = {
    r"\ud83d": "\ufffd",
    r"\uDE00": "\ufffd",
    r"\ud83d\uDE00": "\U0001f600",
    r"\uDE00\ud83d": "\ufffd\ufffd",
    r"\ud83d\ud83d\ude00\ude00": "\ufffd\U0001f600\ufffd",
    r"\ud83d\u0041": "\ufffdA",
    r"\ud83d\\ude00": "\ufffd\\ude00",
    r"\\ud83d\ude00": "\\ud83d\ufffd",
    r"\\\ud83d\\": "\\\ufffd\\",
    r"\ud83d\\": "\ufffd\\",
}


@pytest.mark.parametrize(("written", "read"), HALVES.items())
def test_half_a_character_is_replaced_and_all_else_stays(written: str, read: str):
    answer = read_result(b'{"statusCode": 403, "body": "%b \\ud83d"}' % written.encode())
    assert (answer.status, answer.body) == (403, f"{read} \ufffd".encode())


@pytest.mark.parametrize("ascii_only", [True, False])
def test_half_a_character_may_be_in_a_text_that_holds_a_result(ascii_only: bool):
    inner = {"statusCode": 403, "body": "Hello \ud83d"}
    answer = result(json.dumps(inner, ensure_ascii=ascii_only))
    assert (answer.status, answer.body) == (403, "Hello \ufffd".encode())


@pytest.mark.parametrize(
    "more",
    [
        {"body": {"\ud83d": ["\udfff"]}},
        {"headers": {"B": "\ud83d", "A": "b"}},
        {"\udfff": 1},
    ],
)
def test_half_a_character_anywhere_leaves_status_and_headers_as_they_are(more: dict[str, Any]):
    answer = result({"statusCode": 403, "headers": {"A": "b"}} | more)
    assert (answer.status, header(answer, b"a")) == (403, [b"b"])


def test_numbers_stay_as_they_were_written_beside_half_a_character():
    written = b'{"statusCode": 200, "body": {"a": 1.10, "b": "\\udc00"}}'
    assert read_result(written).body == b'{"a":1.10,"b":"\\ufffd"}'


@pytest.mark.parametrize(
    "body",
    [
        rb'{"statusCode": 200, "body": "\ud83"}',
        rb'{"statusCode": 200, "body": "\ud83d" ',
        b'{"statusCode": 200, "body": "\\ud83d\0"}',
        b'{"statusCode": 200, "body": "\\ud83d \0n"}',
    ],
)
def test_what_has_other_mistakes_too_is_no_json(body: bytes):
    assert read_result(body) == HttpResult(status=200, headers=(JSON_TYPE,), body=body)


@given(st.text(st.sampled_from('\\"a\ud83d\ude00\udfff\u4f60\U0001f600')))
def test_text_with_halves_of_characters_is_read_as_by_others(text: str):
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    answer = result({"statusCode": 403, "body": text + "\ud800"})
    assert (answer.status, answer.body) == (403, (joined + "\ufffd").encode())


def test_a_missing_body_is_empty():
    assert result({"statusCode": 200}).body == b""


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status: int):
    assert result({"statusCode": status, "body": "x"}).body == b""


@pytest.mark.parametrize("flag", [True, "true", "True"])
def test_base64_is_decoded(flag: Any):
    coded = b64encode(bytes(range(256))).decode()
    answer = result({"statusCode": 200, "body": coded, "isBase64Encoded": flag})
    assert answer.body == bytes(range(256))


@pytest.mark.parametrize("flag", [False, "false", None, 0, "", "no"])
def test_base64_is_not_decoded_unless_it_says_so(flag: Any):
    answer = result({"statusCode": 200, "body": "YWJj", "isBase64Encoded": flag})
    assert answer.body == b"YWJj"


def test_base64_in_lines_is_decoded():
    answer = result({"statusCode": 200, "body": "YWJj\r\nZGVm\n", "isBase64Encoded": True})
    assert answer.body == b"abcdef"


@pytest.mark.parametrize("body", ["***", "YWJ", "YW Jj", "=", "ü", "YWJj\n*"])
def test_what_cannot_be_decoded_is_sent_as_it_is(body: str):
    answer = result({"statusCode": 200, "body": body, "isBase64Encoded": True})
    assert answer.body == body.encode()


def test_an_object_cannot_be_decoded():
    assert result({"statusCode": 200, "body": {"a": 1}, "isBase64Encoded": True}).body == b'{"a":1}'


def test_the_type_is_json_unless_the_function_says_another():
    assert header(result({"statusCode": 200}), TYPE) == [b"application/json"]
    named = result({"statusCode": 200, "headers": {"CONTENT-type": "text/plain"}})
    assert header(named, TYPE) == [b"text/plain"]
    nothing = result({"statusCode": 200, "headers": {"Content-Type": None}})
    assert header(nothing, TYPE) == [b"application/json"]


@pytest.mark.parametrize(
    "name",
    [
        "Server", "Date", "Connection", "Keep-Alive", "Content-Length", "Content-Disposition",
        "X-Fc-Foo", "x-fc-status", "Upgrade", "Transfer-Encoding", "CONTENT-LENGTH",
    ],
)  # fmt: skip
def test_a_reserved_header_is_dropped_in_silence(name: str):
    answer = result({"statusCode": 200, "headers": {name: "x", "X-Mine": "y"}})
    assert answer.headers == ((b"X-Mine", b"y"), JSON_TYPE)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("v", [b"v"]),
        ("你", ["你".encode()]),
        (5, [b"5"]),
        (1.5, [b"1.5"]),
        (True, [b"true"]),
        (None, []),
        (["a=1", "b=2"], [b"a=1", b"b=2"]),
        ([1, None, "x"], [b"1", b"x"]),
        ([], []),
        ("", [b""]),
    ],
)
def test_values_of_headers_become_text_and_lists_repeat_the_header(value: Any, sent: list[bytes]):
    answer = result({"statusCode": 200, "headers": {"Set-Cookie": value}})
    assert header(answer, b"set-cookie") == sent


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], [{}]])
def test_a_header_that_is_an_object_is_a_bad_result(value: Any):
    with pytest.raises(BadResult, match="X-Mine"):
        result({"statusCode": 200, "headers": {"X-Mine": value}})


@pytest.mark.parametrize("headers", ["a: b", [["a", "b"]], 5, True])
def test_headers_that_are_no_object_are_a_bad_result(headers: Any):
    with pytest.raises(BadResult, match="headers"):
        result({"statusCode": 200, "headers": headers})


def test_no_headers_are_as_good_as_none():
    assert result({"statusCode": 200, "headers": None}).headers == (JSON_TYPE,)


def test_a_value_cannot_begin_another_header():
    answer = result({"statusCode": 200, "headers": {"X": "a\r\nSet-Cookie: b\0\x7f\tc\n"}})
    assert header(answer, b"x") == [b"a  Set-Cookie: b  \tc"]


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ü", "a\0"])
def test_what_is_no_name_is_dropped(name: str):
    assert result({"statusCode": 200, "headers": {name: "x"}}).headers == (JSON_TYPE,)


def test_headers_of_8_kib_are_sent_and_larger_ones_are_a_bad_response():
    room = 8 * 1024 - len("X-Mine")
    assert result({"statusCode": 200, "headers": {"X-Mine": "x" * room}}).status == 200
    with pytest.raises(BadResponse, match="8193 bytes"):
        result({"statusCode": 200, "headers": {"X-Mine": "x" * (room + 1)}})
    with pytest.raises(BadResponse):
        result({"statusCode": 200, "headers": {"A": ["x" * 5000, "y" * 5000]}})


def test_a_reserved_header_cannot_be_too_large():
    assert result({"statusCode": 200, "headers": {"X-Fc-Foo": "x" * 9000}}).status == 200


def test_what_failed_says_nothing_but_that():
    assert FAILED.status == 502
    assert FAILED.body == b"Internal Server Error"
    assert FAILED.headers == (JSON_TYPE,)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
STRUCTURED = st.fixed_dictionaries(
    {"statusCode": st.integers(190, 610) | VALUES},
    optional={
        "headers": VALUES | st.dictionaries(st.text(), VALUES),
        "body": VALUES,
        "isBase64Encoded": VALUES,
    },
)


def check(body: bytes) -> None:
    """A response that can be sent comes of it, or an error that is meant."""
    try:
        answer = read_result(body)
    except (BadResult, BadResponse):
        return
    assert 200 <= answer.status <= 599
    assert header(answer, TYPE)
    for name, value in answer.headers:
        assert name
        assert not {b"\r", b"\n", b"\0"} & {bytes([byte]) for byte in name + value}


@given(st.binary() | st.binary().map(lambda end: b'{"statusCode":200,' + end))
def test_any_bytes_have_an_answer(body: bytes):
    check(body)


@given(VALUES | STRUCTURED, st.booleans())
def test_any_json_has_an_answer(value: Any, ascii_only: bool):
    text = json.dumps(value, ensure_ascii=ascii_only)
    check(text.encode(errors="surrogatepass"))
    check(json.dumps(text).encode())


@given(STRUCTURED, st.binary(max_size=4), st.integers(0, 200))
def test_damaged_json_has_an_answer(value: Any, damage: bytes, place: int):
    whole = json.dumps(value).encode()
    check(whole[:place] + damage + whole[place + len(damage) :])


@given(st.binary())
def test_base64_of_anything_comes_out_whole(content: bytes):
    coded = b64encode(content).decode()
    assert result({"statusCode": 200, "body": coded, "isBase64Encoded": True}).body == content
