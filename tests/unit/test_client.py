import base64
import hashlib
import inspect
import json
import time

import httpx
import pytest

from anyfc.client import ApiError, Client, LogLine
from anyfc.identity.key import AccessKey, Caller, Keys
from anyfc.identity.signature import check_body, verify

ENDPOINT = "http://127.0.0.1:9000"
KEYS = Keys([AccessKey(Caller("1", "id"), b"secret")], signing_key=b"k")


class Server:
    """Verifies every request as the real one does, records it and gives the next answer."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.callers: list[Caller] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        self.callers.append(
            verify(
                request.method.encode(),
                request.url.raw_path,
                headers,
                keys=KEYS,
                now=time.time(),
            )
        )
        check_body(dict(headers)[b"x-acs-content-sha256"], hashlib.sha256(body).digest())
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def request(self) -> httpx.Request:
        (request,) = self.requests
        return request


def connect(server, **given):
    keys = {"access_key_id": "id", "access_key_secret": "secret", **given}
    return Client(ENDPOINT, **keys, transport=httpx.MockTransport(server))


def ok(answer=None):
    return httpx.Response(200, json={} if answer is None else answer)


@pytest.mark.parametrize(
    ("call", "method", "target"),
    [
        (lambda c: c.create_function({}), "POST", "/functions"),
        (lambda c: c.update_function("f", {}), "PUT", "/functions/f"),
        (lambda c: c.get_function("f"), "GET", "/functions/f"),
        (lambda c: c.get_function("f", qualifier="1"), "GET", "/functions/f?qualifier=1"),
        (lambda c: c.get_function("a/b c"), "GET", "/functions/a%2Fb%20c"),
        (lambda c: c.delete_function("f"), "DELETE", "/functions/f"),
        (lambda c: c.get_function_code("f"), "GET", "/functions/f/code"),
        (lambda c: c.disable_invocation("f"), "POST", "/functions/f/invoke/disable"),
        (lambda c: c.enable_invocation("f"), "POST", "/functions/f/invoke/enable"),
        (lambda c: c.create_trigger("f", {}), "POST", "/functions/f/triggers"),
        (lambda c: c.update_trigger("f", "t", {}), "PUT", "/functions/f/triggers/t"),
        (lambda c: c.get_trigger("f", "a/b"), "GET", "/functions/f/triggers/a%2Fb"),
        (lambda c: c.delete_trigger("f", "t"), "DELETE", "/functions/f/triggers/t"),
        (lambda c: list(c.list_triggers("f")), "GET", "/functions/f/triggers?limit=100"),
        (lambda c: c.create_custom_domain({}), "POST", "/custom-domains"),
        (lambda c: c.update_custom_domain("a.b", {}), "PUT", "/custom-domains/a.b"),
        (lambda c: c.get_custom_domain("*.a"), "GET", "/custom-domains/%2A.a"),
        (lambda c: c.delete_custom_domain("a.b"), "DELETE", "/custom-domains/a.b"),
        (
            lambda c: list(c.list_custom_domains(prefix="a", page=5)),
            "GET",
            "/custom-domains?prefix=a&limit=5",
        ),
        (lambda c: c.invoke("f"), "POST", "/functions/f/invocations"),
        (
            lambda c: c.invoke("f", qualifier="é"),
            "POST",
            "/functions/f/invocations?qualifier=%C3%A9",
        ),
    ],
)
def test_every_call_goes_signed_to_its_documented_address(call, method, target):
    server = Server(ok())
    with connect(server) as client:
        call(client)
    assert server.request.method == method
    assert server.request.url.raw_path.decode() == "/2023-03-30" + target
    assert server.request.headers["x-acs-version"] == "2023-03-30"
    assert server.callers == [Caller("1", "id")]


def test_settings_travel_as_json():
    server = Server(ok({"functionName": "f"}))
    with connect(server) as client:
        assert client.create_function({"functionName": "f"}) == {"functionName": "f"}
    assert server.request.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(server.request.content) == {"functionName": "f"}


def test_credentials_of_a_role_are_sent_with_their_token():
    derived = KEYS.derive("acs:ram::1:role/r", "1", time.time())
    server = Server(ok())
    with connect(
        server,
        access_key_id=derived.access_key_id,
        access_key_secret=derived.access_key_secret,
        security_token=derived.security_token,
    ) as client:
        client.get_function("f")
    assert server.callers == [Caller("1", derived.access_key_id, "acs:ram::1:role/r")]


def test_progress_is_told_until_all_is_sent():
    server, seen = Server(ok()), []
    with connect(server) as client:
        client.create_function(
            {"zip": "x" * 600_000}, progress=lambda sent, total: seen.append((sent, total))
        )
    size = len(server.request.content)
    assert [sent for sent, _ in seen] == [262_144, 524_288, size]
    assert {total for _, total in seen} == {size}
    assert server.request.headers["content-length"] == str(size)
    assert "transfer-encoding" not in server.request.headers


def test_a_list_goes_on_to_the_last_page():
    server = Server(
        ok({"functions": [{"functionName": "a"}], "nextToken": "b"}),
        ok({"functions": [{"functionName": "b"}], "nextToken": ""}),
    )
    with connect(server) as client:
        names = [function["functionName"] for function in client.list_functions(prefix="p")]
    assert names == ["a", "b"]
    assert [dict(request.url.params) for request in server.requests] == [
        {"prefix": "p", "limit": "100"},
        {"prefix": "p", "limit": "100", "nextToken": "b"},
    ]


def test_an_invocation_brings_back_all_that_its_headers_say():
    server = Server(
        httpx.Response(
            200,
            content=b"\x00\xff",
            headers={
                "X-Fc-Request-Id": "1-a",
                "X-Fc-Invocation-Duration": "3.25",
                "X-Fc-Log-Result": base64.b64encode("é\n".encode()).decode(),
                "X-Fc-Error-Type": "UnhandledInvocationError",
            },
        )
    )
    with connect(server) as client:
        answer = client.invoke("f", b"event", want_log_tail=True)
    assert (answer.status, answer.body, answer.request_id) == (200, b"\x00\xff", "1-a")
    assert answer.error_type == "UnhandledInvocationError"
    assert answer.log_tail == "é\n".encode()
    assert answer.duration_ms == 3.25
    assert server.request.content == b"event"
    assert server.request.headers["x-fc-log-type"] == "Tail"
    assert server.request.headers["content-type"] == "application/octet-stream"


def test_an_invocation_without_an_event_has_no_content_type():
    server = Server(httpx.Response(200, content=b"ok"))
    with connect(server) as client:
        answer = client.invoke("f")
    assert "content-type" not in server.request.headers
    assert server.request.headers["content-length"] == "0"
    assert (answer.error_type, answer.log_tail, answer.duration_ms) == ("", b"", 0.0)


@pytest.mark.parametrize(
    "body",
    [
        {"Code": "FunctionNotFound", "Message": "no f", "RequestId": "1-a"},
        {"ErrorCode": "FunctionNotFound", "ErrorMessage": "no f"},
    ],
)
def test_a_refusal_becomes_an_api_error(body):
    server = Server(httpx.Response(404, json=body, headers={"X-Fc-Request-Id": "1-a"}))
    with connect(server) as client, pytest.raises(ApiError) as refused:
        client.get_function("f")
    error = refused.value
    assert (error.code, error.message, error.status, error.request_id) == (
        "FunctionNotFound",
        "no f",
        404,
        "1-a",
    )


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>"),
        httpx.Response(404, json=["x"]),
        httpx.Response(302, headers={"location": "http://elsewhere/"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
    ],
)
def test_an_answer_of_something_else_says_so(answer):
    with connect(Server(answer)) as client, pytest.raises(ApiError, match="is it an anyfc") as met:
        client.get_function("f")
    assert met.value.status == answer.status_code
    assert met.value.code == "BadAnswer"


def transport_errors():
    kinds = [kind for kind in vars(httpx).values() if inspect.isclass(kind)]
    return [
        kind("broken", **({"request": None, "response": None} if "Status" in kind.__name__ else {}))
        for kind in kinds
        if issubclass(kind, httpx.HTTPError | httpx.InvalidURL)
    ]


@pytest.mark.parametrize("error", transport_errors(), ids=lambda error: type(error).__name__)
def test_every_error_of_the_http_library_becomes_an_api_error(error):
    with connect(Server(error)) as client, pytest.raises(ApiError) as met:
        client.get_function("f")
    assert met.value.status == 0
    assert met.value.code in ("ConnectFailed", "TimedOut", "ConnectionLost", "InvalidEndpoint")
    assert ENDPOINT in met.value.message


def test_a_refused_connection_is_told_from_a_lost_one():
    server = Server(httpx.ConnectError("refused"))
    with connect(server) as client, pytest.raises(ApiError) as met:
        client.get_function("f")
    assert met.value.code == "ConnectFailed"


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:9000", "ftp://host", "http://", "http://a:b", "x", "http://a b", "http://a;rm",
     "http://a:70000", "http://a/path", "http://a?q", "http://me@a", "http://\udcff"],
)  # fmt: skip
def test_an_endpoint_that_is_no_address_is_refused(endpoint):
    with pytest.raises(ApiError) as refused:
        Client(endpoint, access_key_id="id", access_key_secret="secret")
    assert refused.value.code == "InvalidEndpoint"


@pytest.mark.parametrize(
    "host", ["localhost", "my_server.local-1", "[::1]", "10.0.0.1", "é.example"]
)
def test_a_host_may_have_any_form(host):
    with Client(f"http://{host}:9000/", access_key_id="id", access_key_secret="secret"):
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get_function("\udcff"),
        lambda c: c.invoke("f", qualifier="\udcff"),
        lambda c: c.create_function({"description": "x" * 100 + "\udcff"}),
        lambda c: list(c.logs("\udcff")),
    ],
)
def test_text_that_is_not_utf_8_is_never_sent(call):
    server = Server()
    with connect(server) as client, pytest.raises(ApiError, match="not UTF-8") as met:
        call(client)
    assert met.value.code == "InvalidText"
    assert server.requests == []


def test_a_log_is_read_line_by_line():
    line = {"time": 1.5, "requestId": "1-a", "instanceId": "c-1", "message": "hello\n"}
    server = Server(httpx.Response(200, text=json.dumps(line) + "\n\n" + json.dumps(line) + "\n"))
    with connect(server) as client:
        lines = list(client.logs("f", request_id="1-a", since=12.5, follow=True))
    assert lines == [LogLine(time=1.5, request_id="1-a", instance_id="c-1", message="hello\n")] * 2
    assert server.request.url.path == "/anyfc/functions/f/logs"
    assert dict(server.request.url.params) == {
        "requestId": "1-a",
        "since": "12.500",
        "follow": "true",
    }
    assert server.request.extensions["timeout"]["read"] is None


def test_a_log_that_is_refused_becomes_an_api_error():
    server = Server(httpx.Response(404, json={"Code": "FunctionNotFound", "Message": "no f"}))
    with connect(server) as client, pytest.raises(ApiError, match="no f"):
        list(client.logs("f"))
    assert server.request.extensions["timeout"]["read"]


def test_a_server_says_what_it_has():
    server = Server(ok({"ownNetworks": False}))
    with connect(server) as client:
        assert client.describe_server() == {"ownNetworks": False}
    assert server.request.url.path == "/anyfc/server"


def test_a_server_that_is_too_old_to_be_asked_says_nothing():
    old = httpx.Response(400, json={"Code": "PathNotSupported", "Message": "what?"})
    new = httpx.Response(403, json={"Code": "AccessDenied", "Message": "no"})
    with connect(Server(old, new)) as client:
        assert client.describe_server() == {}
        with pytest.raises(ApiError, match="AccessDenied"):
            client.describe_server()
