"""WSGI handlers in the program inside the sandbox; driven as in test_bootstrap."""

import json
import re
import sys
import sysconfig
from typing import Any, NamedTuple

import pytest
from driven import FRAME_BYTES, RID, Instance, Start

MIB = 1024 * 1024
REQUEST: dict[str, Any] = {
    "method": "GET",
    "path": "/",
    "query": "",
    "request_uri": "/",
    "protocol": "HTTP/1.1",
    "client_ip": "192.0.2.1",
    "headers": [["host", "f.example.com"]],
}
# The interpreter of the tests is the one that has the frameworks.
with_frameworks = pytest.mark.parametrize("python", [sys.executable], ids=["frameworks"])


class Reply(NamedTuple):
    status: int
    headers: list[list[str]]
    body: bytes


def http(**fields: Any) -> dict[str, Any]:
    return {"kind": b"W", "http": {**REQUEST, **fields}}


def ask(instance: Instance, body: bytes = b"", **fields: Any) -> Reply:
    """Send an HTTP request and take its answer apart."""
    kind, content, *_ = instance.call(body, **http(**fields))
    assert kind == b"R", content
    length = int.from_bytes(content[:4], "big")
    head = json.loads(content[4 : 4 + length])
    assert head.keys() == {"status", "headers"}
    return Reply(head["status"], head["headers"], content[4 + length :])


def error(instance: Instance, body: bytes = b"", **fields: Any) -> dict[str, Any]:
    return instance.call(body, **http(**fields)).raised


# --- the request ---------------------------------------------------------------------------------

ENVIRON = """
import json
def handler(environ, start_response):
    start_response('200 OK', [])
    return [json.dumps({k: v for k, v in environ.items() if isinstance(v, (str, bool, tuple))})]
"""


def test_environ_has_all_that_is_documented(start: Start) -> None:
    instance = start(ENVIRON, environment={"PLACE": "here"})
    environ = json.loads(
        ask(
            instance,
            b"12345",
            method="POST",
            path="/a/b",
            query="x=1&y=%20",
            request_uri="/2016-08-15/proxy/svc/fn/a/b?x=1&y=%20",
            headers=[["x-Custom-key", "value"], ["Content-Type", "text/plain"]],
        ).body
    )
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "x=1&y=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "5",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_X_CUSTOM_KEY": "value",
        "HTTP_CONTENT_TYPE": "text/plain",
        "HTTP_X_FC_FUNCTION_HANDLER": "index.handler",
        "HTTP": "on",
        "SERVER_NAME": "FCRUNTIME",
        "SERVER_PORT": "9000",
        "SERVER_SOFTWARE": "FCRUNTIME/1.0",
        "fc.request_uri": "/2016-08-15/proxy/svc/fn/a/b?x=1&y=%20",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "PLACE": "here",
    }
    assert {name: environ[name] for name in expected} == expected


def test_what_a_client_did_not_send_is_there_all_the_same(start: Start) -> None:
    environ = json.loads(ask(start(ENVIRON), path="").body)
    expected = {
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/octet-stream",
        "CONTENT_LENGTH": "0",
    }
    assert {name: environ[name] for name in expected} == expected
    assert "HTTP_CONTENT_TYPE" not in environ


def test_repeated_headers_are_joined_and_the_platforms_are_hidden(start: Start) -> None:
    headers = [
        ["Accept", "a"],
        ["accept", "b"],
        ["X-Fc-Request-Id", "forged"],
        ["x_fc_function_handler", "forged"],
        ["x-fcx", "seen"],
        ["transfer-encoding", "chunked"],
    ]
    environ = json.loads(ask(start(ENVIRON), headers=headers).body)
    seen = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    assert seen == {
        "HTTP_ACCEPT": "a,b",
        "HTTP_X_FCX": "seen",
        "HTTP_X_FC_FUNCTION_HANDLER": "index.handler",
    }


def test_bytes_of_the_path_and_of_headers_are_characters(start: Start) -> None:
    headers = [["x-name", "caf\xc3\xa9\xff"]]
    path = "/caf%C3%A9/%2f+%zz%e4\xe4"
    environ = json.loads(ask(start(ENVIRON), path=path, headers=headers).body)
    assert environ["HTTP_X_NAME"] == "caf\xc3\xa9\xff"
    assert environ["PATH_INFO"] == "/caf\xc3\xa9//+%zz\xe4\xe4"


def test_the_objects_in_environ_are_usable(start: Start) -> None:
    instance = start(
        "import io, sys\n"
        "def handler(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    environ['wsgi.errors'].write('to the log\\n')\n"
        "    body = environ['wsgi.input']\n"
        "    assert type(body) is io.BytesIO and environ['wsgi.errors'] is sys.stderr\n"
        "    context = environ['fc.context']\n"
        "    assert context.credentials.access_key_id == 'ID'\n"
        "    return [body.read(int(environ['CONTENT_LENGTH'])), context.request_id.encode()]"
    )
    assert ask(instance, b"\x00\xff").body == b"\x00\xff" + RID.encode()
    assert "to the log\n" in instance.log


def test_each_request_has_an_environ_of_its_own(start: Start) -> None:
    instance = start(
        "def handler(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    environ['count'] = environ.get('count', 0) + 1\n"
        "    return [str(environ['count'])]"
    )
    assert [ask(instance).body for _ in range(2)] == [b"1", b"1"]


def test_the_largest_head_that_a_client_may_send_arrives(start: Start) -> None:
    headers = [["a", ""]] * (8 * 1024)
    environ = json.loads(ask(start(ENVIRON), headers=headers, query="\xff" * 4096).body)
    assert environ["HTTP_A"] == "," * (8 * 1024 - 1)
    assert environ["QUERY_STRING"] == "\xff" * 4096


# --- start_response and the result ---------------------------------------------------------------

EVALUATE = """
import http, io
def stream(*pieces):
    yield from pieces
def handler(environ, start_response):
    return eval(environ['wsgi.input'].read().decode(), dict(globals(), start=start_response))
"""
SAMPLE = "def handler(environ, start_response):\n"


def test_the_sample_of_the_documentation_answers(start: Start) -> None:
    instance = start(
        SAMPLE + "    start_response('200 OK', [('Content-Type', 'text/html')])\n"
        "    return [b'<h1>Hello, world!</h1>']"
    )
    expected = (200, [["Content-Type", "text/html"]], b"<h1>Hello, world!</h1>")
    assert ask(instance) == expected


STATUSES = {
    "'403 FORBIDDEN'": 403,
    "'200'": 200,
    "201": 201,
    "b'204 No Content'": 204,
    "http.HTTPStatus.NOT_FOUND": 404,
}


def test_a_status_begins_with_its_number(start: Start) -> None:
    instance = start(EVALUATE)
    for status, number in STATUSES.items():
        assert ask(instance, f"start({status}, []) and []".encode()) == (number, [], b"")


def test_what_is_no_status_is_an_error_where_it_was_said(start: Start) -> None:
    instance = start(EVALUATE)
    for status in ("'OK'", "'99'", "'2000'", "'101 Switching Protocols'", "None"):
        raised = error(instance, f"start({status}, []) and []".encode())
        assert raised["errorType"] == ("TypeError" if status == "None" else "ValueError")
        assert [frame[2] for frame in raised["stackTrace"]] == ["in handler", "in <module>"]


def test_headers_are_kept_in_order_and_repeated(start: Start) -> None:
    pairs = "[('A', '1'), ['a', '2'], (b'B', b'\\xff'), ('N', 5), ('U', '\\u4f60'), ('L', ' x\\n')]"
    reply = ask(start(EVALUATE), f"start('403 FORBIDDEN', {pairs}) and []".encode())
    utf8 = "\u4f60".encode().decode("latin-1")
    assert reply.headers == [
        ["A", "1"], ["a", "2"], ["B", "\xff"], ["N", "5"], ["U", utf8], ["L", "x"],
    ]  # fmt: skip


def test_a_header_that_http_cannot_send_is_an_error(start: Start) -> None:
    instance = start(EVALUATE)
    for pair in ("'a b', ''", "'', ''", "'a', '1\\r\\nb: 2'", "'a\\n', ''", "'a', '\\0'"):
        raised = error(instance, f"start('200 OK', [({pair})]) and []".encode())
        assert raised["errorType"] == "ValueError"


def test_what_is_written_comes_before_what_is_returned(start: Start) -> None:
    instance = start(
        SAMPLE + "    write = start_response('200 OK', [])\n    write(b'a')\n    write('\\xe4')\n"
        "    return [b'b']"
    )
    assert ask(instance).body == b"a\xc3\xa4b"


def test_exc_info_is_ignored_and_a_later_head_replaces_an_earlier_one(start: Start) -> None:
    instance = start(
        "import sys\n" + SAMPLE + "    start_response('200 OK', [('A', '1')])\n"
        "    try:\n        1 / 0\n    except ZeroDivisionError:\n"
        "        start_response('500 Oops', [('B', '2')], sys.exc_info())\n"
        "        start_response(\n"
        "            status='501 Oh', response_headers=[('C', '3')], exc_info=sys.exc_info())\n"
        "    return [b'caught']"
    )
    assert ask(instance) == (501, [["C", "3"]], b"caught")


RESULTS = {
    "[b'a', b'b']": b"ab",
    "(b'a', '\\xe4')": b"a\xc3\xa4",
    "[]": b"",
    "b'bare\\xff'": b"bare\xff",
    "'b\\xe4re'": b"b\xc3\xa4re",
    "bytearray(b'ab')": b"ab",
    "[memoryview(b'ab'), bytearray(b'c')]": b"abc",
    "stream(b'a', 'b')": b"ab",
    "io.BytesIO(b'a\\nb')": b"a\nb",
    "map(str, range(3))": b"012",
}


def test_results_are_taken_as_handlers_return_them(start: Start) -> None:
    instance = start(EVALUATE)
    for result, body in RESULTS.items():
        assert ask(instance, f"start('200 OK', []) and {result}".encode()).body == body


def test_a_result_that_is_no_body_is_a_failure(start: Start) -> None:
    instance = start(EVALUATE)
    for result in ("None", "5", "object()", "[b'a', 5]", "stream(None)"):
        raised = error(instance, f"(start('200 OK', []), {result})[1]".encode())
        assert raised["errorType"] == "InvalidResponseType"
        assert raised["errorMessage"].startswith("invalid response type: '")
    assert '"errorType": "InvalidResponseType"' in instance.log


def test_a_response_that_was_not_started_is_a_failure(start: Start) -> None:
    instance = start(EVALUATE)
    for result in ("[b'a']", "'text'", "stream()"):
        raised = error(instance, result.encode())
        assert raised["errorType"] == "ResponseNotStarted"
        assert raised["errorMessage"] == "The handler did not call start_response"


def test_a_generator_may_start_the_response_itself(start: Start) -> None:
    instance = start(
        SAMPLE + "    write = start_response('202 Accepted', [('A', '1')])\n    write('x')\n"
        "    yield b'a'\n    yield 'b'"
    )
    assert ask(instance) == (202, [["A", "1"]], b"xab")


def test_the_classes_of_pep_3333_are_handlers(start: Start) -> None:
    instance = start(
        "class handler:\n"
        "    def __init__(self, environ, start_response):\n        self.start = start_response\n"
        "    def __iter__(self):\n        self.start('200 OK', [])\n        yield b'instance'"
    )
    assert ask(instance).body == b"instance"


CLOSING = """
class Body:
    def __init__(self, fails):
        self.fails = fails
    def __iter__(self):
        yield b'a'
        if self.fails:
            raise ValueError('broken')
    def close(self):
        print('closed')
class Closable:
    close = Body.close
def handler(environ, start_response):
    start_response('200 OK', [])
    kind = environ['wsgi.input'].read()
    return Closable() if kind == b'no body' else Body(kind == b'fails')
"""


def test_a_body_is_closed_whatever_comes_of_it(start: Start) -> None:
    instance = start(CLOSING)
    for calls, (body, kind) in enumerate(
        {"works": b"R", "fails": b"E", "no body": b"E"}.items(), 1
    ):
        assert instance.call(body.encode(), **http()).kind == kind
        assert instance.log.count("closed\n") == calls


FAILING_CLOSE = """
class Body:
    def __init__(self, place, fails):
        self.place, self.fails = place, fails
    def __iter__(self):
        yield b'whole'
        if self.fails:
            raise ValueError('broken')
    @property
    def close(self):
        if self.place == 'name':
            raise KeyError('shut')
        return self.shut
    def shut(self):
        raise KeyError('shut')
def handler(environ, start_response):
    start_response('200 OK', [('A', '1')])
    place, _, fails = environ['wsgi.input'].read().decode().partition(' ')
    return Body(place, bool(fails))
"""


@pytest.mark.parametrize("place", ["call", "name"])
def test_an_answer_that_cannot_be_closed_is_whole_all_the_same(start: Start, place: str) -> None:
    instance = start(FAILING_CLOSE)
    assert ask(instance, place.encode()) == (200, [["A", "1"]], b"whole")
    said = instance.log[instance.log.index("The response could not be closed: ") :]
    assert '"errorType": "KeyError"' in said
    assert "\"raise KeyError('shut')\"" in said
    assert ask(instance, place.encode()).body == b"whole"


def test_of_two_errors_the_one_that_was_first_is_told(start: Start) -> None:
    instance = start(FAILING_CLOSE)
    assert error(instance, b"call fails")["errorMessage"] == "broken"
    assert "The response could not be closed: " in instance.log


@pytest.mark.parametrize("started", [False, True])
def test_an_exception_is_described_as_that_of_an_event_handler(start: Start, started: bool) -> None:
    instance = start(
        "def handler(environ, start_response):\n"
        f"    if {started}:\n        start_response('200 OK', [])(b'begun')\n"
        "    raise KeyError('x')"
    )
    raised = error(instance)
    assert raised == {
        "errorMessage": "'x'",
        "errorType": "KeyError",
        "stackTrace": [
            ['File "/code/index.py"', "line 4", "in handler", "raise KeyError('x')"],
        ],
    }
    assert re.search(r'\[ERROR\] \{\n    "errorMessage": "\'x\'"', instance.log)


def test_an_exception_in_the_body_shows_the_frames_of_the_generator(start: Start) -> None:
    instance = start(SAMPLE + "    start_response('200 OK', [])\n    yield b'a'\n    1 / 0")
    raised = error(instance)
    assert raised["errorType"] == "ZeroDivisionError"
    assert raised["stackTrace"] == [['File "/code/index.py"', "line 4", "in handler", "1 / 0"]]


def test_a_handler_that_cannot_be_loaded_is_the_error_of_an_event(start: Start) -> None:
    instance = start("import not_there")
    assert error(instance)["errorType"] == "ImportModuleError"


def test_what_ends_the_process_ends_it_here_too(start: Start) -> None:
    instance = start("import sys\n" + SAMPLE + "    sys.exit(3)")
    instance.send(b"W", b"", 0, http=REQUEST)
    assert instance.status() == 3


# --- limits --------------------------------------------------------------------------------------


def test_a_large_body_comes_and_goes_whole_and_the_head_is_in_the_first_frame(start: Start) -> None:
    instance = start(
        SAMPLE + "    start_response('200 OK', [('a', '')] * 8192)\n"
        "    return [environ['wsgi.input'].read()]"
    )
    body = bytes(range(256)) * (32 * MIB // 256)
    instance.send(b"W", body, 1000, http=REQUEST)
    kind, first = instance.frame()
    size = int.from_bytes(first[:8], "big")
    head_bytes = 4 + int.from_bytes(first[12:16], "big")
    assert (kind, size) == (b"R", head_bytes + len(body))
    assert head_bytes <= len(first) - 12 <= FRAME_BYTES
    received = first[12 + head_bytes :]
    while len(received) < len(body):
        received += instance.frame()[1]
    assert received == body


def test_a_body_over_the_limit_is_an_error_even_if_it_never_ends(start: Start) -> None:
    instance = start(
        SAMPLE + "    start_response('200 OK', [])\n    while True:\n        yield bytes(1 << 20)"
    )
    raised = error(instance)
    assert (raised["errorType"], raised["errorMessage"]) == (
        "ResponseTooLarge",
        "The body is longer than 33554432 bytes",
    )


def test_headers_without_end_are_an_error(start: Start) -> None:
    instance = start(SAMPLE + "    start_response('200 OK', [('a', 'b' * 200000)])\n    return []")
    assert error(instance)["errorType"] == "ResponseTooLarge"


# --- handlers ------------------------------------------------------------------------------------


def test_one_object_may_serve_events_and_http(start: Start) -> None:
    instance = start(
        "class Both:\n"
        "    count = 0\n"
        "    def __call__(self, first, second):\n"
        "        self.count += 1\n"
        "        if isinstance(first, bytes):\n            return self.count\n"
        "        second('200 OK', [])\n"
        "        return str(self.count)\n"
        "handler = Both()"
    )
    assert instance.value(b"event") == 1
    assert ask(instance).body == b"2"
    assert instance.value(b"event") == 3


def test_a_module_called_wsgi_is_the_functions_own(start: Start) -> None:
    instance = start(
        "import wsgi\nhandler = wsgi.application",
        {"wsgi.py": "def application(e, s):\n    s('200 OK', [])\n    return [b'own']"},
    )
    assert ask(instance).body == b"own"


def test_user_code_may_do_without_stderr(start: Start) -> None:
    instance = start(
        "import sys\ndel sys.stderr\n" + SAMPLE + "    start_response('200', [])\n    return 'ok'"
    )
    assert [ask(instance).body for _ in range(2)] == [b"ok", b"ok"]


# --- frameworks ----------------------------------------------------------------------------------

FLASK = """
from flask import Flask, make_response, request
app = Flask(__name__)
@app.route('/')
def index():
    return 'Web App with Python Flask!'
@app.route('/<path:name>', methods=['GET', 'POST'])
def echo(name):
    answer = {
        'path': name, 'query': request.args.get('q'), 'url': request.url, 'text': request.form,
        'type': request.content_type, 'custom': request.headers.get('X-Custom-Key'),
        'rid': request.environ['fc.context'].request_id,
    }
    answer = make_response(answer, 201)
    answer.set_cookie('a', '1')
    answer.set_cookie('b', '2')
    return answer
def handler(environ, start_response):
    return app(environ, start_response)
"""
DJANGO = """
import django
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'], SECRET_KEY='x', DEBUG=False)
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, HttpResponse
from django.urls import path
def index(request):
    return HttpResponse('Web App with Django!')
def echo(request, name):
    answer = JsonResponse({
        'path': name, 'query': request.GET.get('q'), 'url': request.build_absolute_uri(),
        'text': request.POST.dict(), 'type': request.content_type,
        'custom': request.headers.get('X-Custom-Key'),
        'rid': request.environ['fc.context'].request_id,
    }, status=201)
    answer.set_cookie('a', '1')
    answer.set_cookie('b', '2')
    return answer
urlpatterns = [path('', index), path('<path:name>', echo)]
app = get_wsgi_application()
def handler(environ, start_response):
    return app(environ, start_response)
"""


@with_frameworks
@pytest.mark.parametrize("handler", ["index.handler", "index.app"])
@pytest.mark.parametrize(
    ("code", "greeting"),
    [(FLASK, b"Web App with Python Flask!"), (DJANGO, b"Web App with Django!")],
    ids=["flask", "django"],
)
def test_an_application_answers_bare_and_behind_one_line(
    start: Start, code: str, greeting: bytes, handler: str
) -> None:
    instance = start(code, handler=handler, modules=sysconfig.get_path("purelib"))
    status, headers, body = ask(instance)
    assert (status, body) == (200, greeting)
    assert ["Content-Type", "text/html; charset=utf-8"] in headers

    form = b"k=caf%C3%A9"
    status, headers, body = ask(
        instance,
        form,
        method="POST",
        path="/caf%C3%A9/b",
        query="q=%C3%A9",
        headers=[
            ["host", "f.example.com"],
            ["content-type", "application/x-www-form-urlencoded"],
            ["content-length", str(len(form))],
            ["transfer-encoding", "chunked"],
            ["x-custom-key", "value"],
        ],
    )
    assert status == 201
    assert [value[:3] for name, value in headers if name == "Set-Cookie"] == ["a=1", "b=2"]
    said = json.loads(body)
    url = said.pop("url")
    assert url.endswith(("/b?q=\u00e9", "/b?q=%C3%A9"))
    assert url.startswith("http://f.example.com/caf")
    assert said == {
        "path": "caf\u00e9/b",
        "query": "\u00e9",
        "text": {"k": "caf\u00e9"},
        "type": "application/x-www-form-urlencoded",
        "custom": "value",
        "rid": RID,
    }


@with_frameworks
def test_an_application_that_catches_its_errors_answers_500(start: Start) -> None:
    code = FLASK + "@app.route('/oops')\ndef oops():\n    1 / 0\n"
    instance = start(code, handler="index.app", modules=sysconfig.get_path("purelib"))
    assert ask(instance, path="/oops").status == 500
    assert "ZeroDivisionError" in instance.log
