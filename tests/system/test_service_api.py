"""Functions of services on a real server: made, called as WSGI functions, invoked, removed."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from services import ServiceApi, installed
from support import KEY, ServerProcess, invoke, read_log, refused, wait_until

KIB = 1024
ROLE = "acs:ram::123456789012345:role/reader"
FLASK = ("flask", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "click", "blinker")
DJANGO = ("django", "asgiref", "sqlparse")

# Tells what it is given; what it is to answer stands in the request's own headers.
PLAIN = """
import json
import os


def handler(environ, start_response):
    context = environ["fc.context"]
    size = int(environ.get("CONTENT_LENGTH") or 0)
    seen = {
        "strings": {k: v for k, v in environ.items() if isinstance(v, str) and k not in os.environ},
        "body": environ["wsgi.input"].read(size).decode(),
        "request_id": context.request_id,
        "service": context.service.name,
        "function": context.function.name,
        "qualifier": context.service.qualifier,
        "log_project": context.service.log_project,
        "key": context.credentials.access_key_id,
        "variables": {k: v for k, v in os.environ.items() if k.startswith("FC_")},
    }
    print("seen", environ["REQUEST_METHOD"], environ["PATH_INFO"])
    headers = [("Content-Type", "application/json"), ("A", "1"), ("A", "2")]
    if environ.get("HTTP_X_PADDING"):
        headers.append(("X-Padding", "x" * int(environ["HTTP_X_PADDING"])))
    status = environ.get("HTTP_X_STATUS", "200 OK")
    write = start_response(status, headers)
    if environ.get("HTTP_X_RAISE"):
        raise ValueError("on purpose")
    write(b"")
    return [json.dumps(seen).encode()]


def rest(context):
    print("resting")
"""
EVENT = """
def handler(event, context):
    if event == b"raise":
        raise KeyError("on purpose")
    return context.service.name + "/" + context.function.name + " " + event.decode()
"""
FLASK_APP = """
from flask import Flask, abort, request

app = Flask(__name__)


@app.route("/")
def index():
    return "Web App with Python Flask!"


@app.route("/echo/<word>", methods=["GET", "POST"])
def echo(word):
    return {"word": word, "query": request.args.to_dict(), "form": request.form.to_dict()}


@app.route("/pieces")
def pieces():
    return (f"piece {number};" for number in range(3)), {"Content-Type": "text/plain"}


@app.route("/forbidden")
def forbidden():
    abort(403)


@app.route("/fails")
def fails():
    raise ValueError("on purpose")


@app.route("/cookie")
def cookie():
    answer = app.make_response("set")
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "2")
    return answer


def handler(environ, start_response):
    return app(environ, start_response)
"""
DJANGO_APP = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    USE_I18N=False,
)


def index(request):
    return HttpResponse("Web App with Python Django!")


def echo(request, word):
    return JsonResponse({"word": word, "query": request.GET.dict(), "form": request.POST.dict()})


def pieces(request):
    return StreamingHttpResponse((f"piece {n};" for n in range(3)), content_type="text/plain")


def fails(request):
    raise ValueError("on purpose")


urlpatterns = [
    path("", index),
    path("echo/<word>", echo),
    path("pieces", pieces),
    path("fails", fails),
]
app = get_wsgi_application()


def handler(environ, start_response):
    return app(environ, start_response)
"""
SERVER = """
import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        seen = {"path": self.path, "headers": dict(self.headers), "variables": dict(os.environ)}
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        print(self.path, flush=True)


HTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


@pytest.fixture(
    scope="module",
    params=[("2016-08-15", "FC"), ("2021-04-06", "ACS3"), ("2021-04-06", "FC")],
    ids=" ".join,
)
def api(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[ServiceApi]:
    made = ServiceApi(server, *request.param)
    yield made
    made.http.close()


@pytest.fixture(scope="module")
def one_api(server: ServerProcess) -> Iterator[ServiceApi]:
    """The version in which WSGI functions were usually made."""
    made = ServiceApi(server, "2016-08-15", "FC")
    yield made
    made.http.close()


class Function:
    """A function in a service, called by HTTP in both ways."""

    def __init__(self, api: ServiceApi, service: str, name: str, host: str) -> None:
        self.api = api
        self.service = service
        self.name = name
        self.host = host

    def call(self, target: str = "/", method: str = "GET", **settings: Any) -> httpx.Response:
        """Call it through the host of its trigger."""
        headers = {"host": self.host, **settings.pop("headers", {})}
        return self.api.http.request(method, target, headers=headers, **settings)

    def call_by_path(self, target: str, method: str = "GET", **settings: Any) -> httpx.Response:
        """Call it through the path that addresses functions before 3.0."""
        return self.api.http.request(
            method, f"/2016-08-15/proxy/{self.service}/{self.name}{target}", **settings
        )

    def invoke(self, event: bytes, **headers: str) -> httpx.Response:
        path = f"/services/{self.service}/functions/{self.name}/invocations"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.send("POST", path, event, named)

    def log(self) -> list[str]:
        return read_log(self.api.server, f"{self.service}${self.name}")


class Site:
    """A service for the tests of a module, with the functions that they share."""

    def __init__(self, api: ServiceApi, stack: ExitStack, name: str) -> None:
        self.api = api
        self.name = name
        self._stack = stack

    def deploy(self, name: str, files: Any, **settings: Any) -> Function:
        files = {"index.py": files} if isinstance(files, str) else files
        made = self.api.function(self.name, name, files, **settings)
        return Function(self.api, self.name, name, self._stack.enter_context(made))


def open_site(api: ServiceApi) -> Iterator[Site]:
    name = f"svc-{os.urandom(4).hex()}"
    with ExitStack() as stack:
        log = {"project": "p", "logstore": "l"}
        stack.enter_context(api.service(name, role=ROLE, logConfig=log))
        yield Site(api, stack, name)


@pytest.fixture(scope="module")
def site(api: ServiceApi) -> Iterator[Site]:
    """For what must hold in each version and scheme."""
    yield from open_site(api)


@pytest.fixture(scope="module")
def one_site(one_api: ServiceApi) -> Iterator[Site]:
    yield from open_site(one_api)


@pytest.fixture(scope="module")
def plain(site: Site) -> Function:
    return site.deploy("plain", PLAIN)


@pytest.fixture(scope="module")
def event(site: Site) -> Function:
    return site.deploy("event", EVENT)


@pytest.fixture(scope="module")
def one_plain(one_site: Site) -> Function:
    hook = {"preFreeze": {"handler": "index.rest", "timeout": 5}}
    return one_site.deploy("plain", PLAIN, instanceLifecycleConfig=hook)


@pytest.fixture(scope="module", params=["index.handler", "index.app"])
def flask(request: pytest.FixtureRequest, one_site: Site) -> Function:
    """Through the adapter of one line, and as it is."""
    files = {"index.py": FLASK_APP, **installed(*FLASK)}
    name = request.param.replace(".", "-")
    return one_site.deploy(f"flask-{name}", files, handler=request.param)


@pytest.fixture(scope="module", params=["index.handler", "index.app"])
def django(request: pytest.FixtureRequest, one_site: Site) -> Function:
    files = {"index.py": DJANGO_APP, **installed(*DJANGO)}
    name = request.param.replace(".", "-")
    return one_site.deploy(
        f"django-{name}", files, handler=request.param, memorySize=512, timeout=60
    )


class TestEachVersion:
    def test_the_long_path_leads_to_a_wsgi_call_without_its_beginning(
        self, plain: Function
    ) -> None:
        answer = plain.call_by_path("/a/b?x=1", headers={"x-Custom-key": "value"})
        assert answer.status_code == 200
        seen = answer.json()
        strings = seen["strings"]
        assert (strings["PATH_INFO"], strings["QUERY_STRING"]) == ("/a/b", "x=1")
        assert strings["HTTP_X_CUSTOM_KEY"] == "value"
        long = f"/2016-08-15/proxy/{plain.service}/plain/a/b?x=1"
        assert strings["fc.request_uri"] == long
        assert answer.headers["x-fc-request-id"] == seen["request_id"]
        assert answer.headers.get_list("a") == ["1", "2"]

    def test_the_host_of_the_trigger_leads_to_the_same(self, plain: Function) -> None:
        answer = plain.call("/a/b?x=1", "POST", content=b"hello")
        strings = answer.json()["strings"]
        assert (strings["REQUEST_METHOD"], strings["PATH_INFO"]) == ("POST", "/a/b")
        assert strings["fc.request_uri"] == "/a/b?x=1"
        assert (answer.json()["body"], strings["CONTENT_LENGTH"]) == ("hello", "5")

    def test_the_function_is_told_its_service_in_the_context_and_in_the_environment(
        self, plain: Function
    ) -> None:
        seen = plain.call().json()
        assert (seen["service"], seen["function"]) == (plain.service, "plain")
        assert (seen["qualifier"], seen["log_project"]) == ("LATEST", "p")
        variables = seen["variables"]
        assert variables["FC_SERVICE_NAME"] == plain.service
        assert variables["FC_FUNCTION_NAME"] == "plain"
        assert variables["FC_QUALIFIER"] == "LATEST"

    def test_an_invocation_is_an_event(self, event: Function) -> None:
        answer = event.invoke(b"hello", x_fc_log_type="Tail")
        assert answer.content == f"{event.service}/event hello".encode()
        assert answer.headers["x-fc-invocation-service-version"] == "LATEST"
        assert "x-fc-invocation-function-version" not in answer.headers
        log = base64.b64decode(answer.headers["x-fc-log-result"]).decode()
        assert f"FC Invoke Start RequestId: {answer.headers['x-fc-request-id']}" in log

    def test_a_failure_is_told_as_ever(self, event: Function) -> None:
        answer = event.invoke(b"raise")
        assert answer.status_code == 200
        assert answer.headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert answer.json()["errorType"] == "KeyError"

    def test_an_event_that_comes_in_many_pieces_arrives_whole(self, event: Function) -> None:
        large = b"x" * (1024 * KIB)
        assert event.invoke(large).content.endswith(b" " + large)

    def test_a_function_whose_code_is_large_arrives_whole(self, site: Site) -> None:
        files = {"index.py": EVENT, "noise": os.urandom(300 * KIB)}
        assert site.deploy("large", files).invoke(b"hi").content.endswith(b"/large hi")

    @pytest.mark.parametrize(
        ("path", "code", "message"),
        [
            ("/services/no/functions/f", "ServiceNotFound", "service 'no' does not exist"),
            ("{}/functions/no", "FunctionNotFound", "function 'no' does not exist in service"),
            ("{}.7/functions/event", "VersionNotFound", "version '7' of service"),
        ],
    )
    def test_what_does_not_exist_is_said_in_both_spellings(
        self, site: Site, event: Function, path: str, code: str, message: str
    ) -> None:
        path = path.format(f"/services/{site.name}")
        for method, end in (("GET", ""), ("POST", "/invocations")):
            answer = site.api.send(method, path + end)
            error = answer.json()
            assert (answer.status_code, error["ErrorCode"], error["Code"]) == (404, code, code)
            assert error["ErrorMessage"].startswith(message)

    def test_a_wrong_key_changes_nothing(self, api: ServiceApi, monkeypatch: Any) -> None:
        monkeypatch.setattr("services.KEY", (KEY[0], "wrong"))
        answer = api.send("POST", "/services", {"serviceName": "intruder"})
        assert (answer.status_code, answer.json()["ErrorCode"]) == (403, "SignatureNotMatch")
        monkeypatch.undo()
        assert api.send("GET", "/services/intruder").status_code == 404

    def test_it_is_one_of_the_functions_of_version_3_0(
        self, sdk: Any, event: Function, site: Site
    ) -> None:
        from alibabacloud_fc20230330.models import GetFunctionRequest

        name = f"{site.name}$event"
        shown = sdk.get_function(name, GetFunctionRequest()).body
        assert (shown.function_name, shown.role, shown.timeout) == (name, ROLE, 20)
        headers, body = invoke(sdk, name, b"hi")
        assert body == f"{site.name}/event hi".encode()
        assert headers["x-fc-invocation-function-version"] == "LATEST"
        with refused("FunctionNotEmpty", 409, "function 'event' has active triggers"):
            sdk.delete_function(name)


class TestPlain:
    def test_the_hook_runs_before_the_instance_is_frozen(self, one_plain: Function) -> None:
        assert one_plain.call().status_code == 200
        log = wait_until(lambda: [line for line in one_plain.log() if "FC PreFreeze End" in line])
        assert "Error" not in log[0]
        assert "resting" in one_plain.log()
        assert one_plain.call().status_code == 200  # it wakes up again

    def test_a_status_is_the_functions_own(self, one_plain: Function) -> None:
        answer = one_plain.call(headers={"x-status": "403 FORBIDDEN"})
        assert answer.status_code == 403
        assert answer.json()["function"] == "plain"

    def test_an_exception_is_a_bad_gateway_without_its_details(self, one_plain: Function) -> None:
        answer = one_plain.call(headers={"x-raise": "1"})
        assert answer.status_code == 502
        assert "on purpose" not in answer.text
        wait_until(lambda: "on purpose" in "\n".join(one_plain.log()))

    def test_response_headers_of_8_kb_pass_and_larger_ones_do_not(
        self, one_plain: Function
    ) -> None:
        few = len("Content-Typeapplication/jsonA1A2X-Padding")
        fits = one_plain.call(headers={"x-padding": str(8 * KIB - few)})
        assert fits.status_code == 200
        answer = one_plain.call(headers={"x-padding": str(8 * KIB - few + 1)})
        assert (answer.status_code, answer.json()["ErrorCode"]) == (502, "BadResponse")

    @pytest.mark.parametrize(
        ("target", "headers"), [("/" + "x" * 5 * KIB, {}), ("/", {"x-large": "x" * 9 * KIB})]
    )
    def test_a_request_with_a_large_head_is_refused(
        self, one_plain: Function, target: str, headers: dict[str, str]
    ) -> None:
        answer = one_plain.call_by_path(target, headers=headers)
        assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidArgument")

    def test_an_answer_to_head_has_no_body(self, one_plain: Function) -> None:
        answer = one_plain.call("/", "HEAD")
        assert (answer.status_code, answer.content) == (200, b"")

    def test_a_handler_of_events_cannot_answer_a_wsgi_call(self, one_site: Site) -> None:
        event = one_site.deploy("only-events", "def handler(event):\n    return event\n")
        assert event.call().status_code == 502

    def test_who_signs_the_long_path_gets_in_where_a_signature_is_asked_for(
        self, one_site: Site, one_plain: Function
    ) -> None:
        at = f"/services/{one_site.name}/functions/plain/triggers/http"
        config = {"methods": ["GET"], "authType": "function"}
        one_site.api.ask("PUT", at, {"triggerConfig": config})
        path = f"/2016-08-15/proxy/{one_site.name}/plain/a%20b?b=2+3&a=1"
        headers = one_site.api.sign("GET", path, {"host": "h"}, b"")
        assert one_site.api.http.get(path, headers=headers).json()["strings"]["PATH_INFO"] == "/a b"
        assert one_site.api.http.get(path).status_code == 400
        open_for_all = {"methods": ["GET", "POST", "HEAD"], "authType": "anonymous"}
        one_site.api.ask("PUT", at, {"triggerConfig": open_for_all})

    def test_functions_follow_their_service(self, one_api: ServiceApi) -> None:
        with (
            one_api.service("follows") as at,
            one_api.function("follows", "plain", {"index.py": PLAIN}) as host,
        ):
            function = Function(one_api, "follows", "plain", host)
            assert function.call().json()["key"] == ""
            one_api.ask("PUT", at, {"role": ROLE, "logConfig": {"project": "later"}})
            seen = function.call().json()
            assert seen["key"] != ""
            assert seen["log_project"] == "later"


class TestFrameworks:
    def test_a_flask_app_answers_unchanged(self, flask: Function) -> None:
        for answer in (flask.call(), flask.call_by_path("/")):
            assert (answer.status_code, answer.text) == (200, "Web App with Python Flask!")
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
        answer = flask.call_by_path("/echo/w%C3%B6rd?a=1", "POST", data={"b": "ü"})
        assert answer.json() == {"word": "wörd", "query": {"a": "1"}, "form": {"b": "ü"}}

    def test_what_a_flask_app_yields_piece_by_piece_arrives_as_a_whole(
        self, flask: Function
    ) -> None:
        answer = flask.call("/pieces")
        assert answer.text == "piece 0;piece 1;piece 2;"
        assert answer.headers["content-length"] == str(len(answer.text))

    def test_errors_of_a_flask_app_are_its_own_pages(self, flask: Function) -> None:
        for path, status in (("/forbidden", 403), ("/nothing", 404), ("/fails", 500)):
            answer = flask.call(path)
            assert answer.status_code == status
            assert "<h1>" in answer.text
        assert flask.call("/", "DELETE").status_code == 405
        wait_until(lambda: any("ValueError: on purpose" in line for line in flask.log()))

    def test_a_flask_app_may_set_several_cookies(self, flask: Function) -> None:
        cookies = flask.call("/cookie").headers.get_list("set-cookie")
        assert cookies == ["a=1; Path=/", "b=2; Path=/"]

    def test_a_django_app_answers_unchanged(self, django: Function) -> None:
        for answer in (django.call(), django.call_by_path("/")):
            assert (answer.status_code, answer.text) == (200, "Web App with Python Django!")
        answer = django.call_by_path("/echo/w%C3%B6rd?a=1", "POST", data={"b": "ü"})
        assert answer.json() == {"word": "wörd", "query": {"a": "1"}, "form": {"b": "ü"}}

    def test_what_a_django_app_streams_arrives_as_a_whole(self, django: Function) -> None:
        assert django.call("/pieces").text == "piece 0;piece 1;piece 2;"

    def test_errors_of_a_django_app_are_its_own_pages(self, django: Function) -> None:
        for path, status in (("/nothing", 404), ("/fails", 500)):
            answer = django.call(path)
            assert (answer.status_code, "<h1>" in answer.text) == (status, True)


def test_a_custom_runtime_in_a_service_is_told_its_service(one_site: Site) -> None:
    function = one_site.deploy(
        "server",
        {"server.py": SERVER},
        runtime="custom.debian10",
        caPort=8080,
        customRuntimeConfig={"command": ["python3", "server.py"]},
    )
    long = f"/2016-08-15/proxy/{one_site.name}/server/a?b=1"
    seen = function.call_by_path("/a?b=1").json()
    assert seen["path"] == long
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["x-fc-service-name"] == one_site.name
    assert headers["x-fc-function-name"] == "server"
    assert headers["x-fc-service-logproject"] == "p"
    assert headers["x-fc-qualifier"] == "LATEST"
    assert seen["variables"]["FC_SERVICE_NAME"] == one_site.name
    target = {"x-fc-invocation-target": f"2016-08-15/proxy/{one_site.name}/server"}
    assert one_site.api.http.get("/a?b=1", headers=target).json()["path"] == "/a?b=1"


def test_all_of_it_is_there_after_a_restart(start_server: Any, tmp_path: Any) -> None:
    first = start_server(data_dir=tmp_path)
    api = ServiceApi(first, "2021-04-06", "ACS3")
    stack = ExitStack()  # left open: what is made here is to stay
    stack.enter_context(api.service("s", description="d"))
    host = stack.enter_context(api.function("s", "f", {"index.py": PLAIN}))
    shown = [
        json.dumps(api.ask("GET", path)) for path in ("/services/s", "/services/s/functions/f")
    ]
    api.http.close()
    assert first.stop() == 0
    second = start_server(data_dir=tmp_path)
    api = ServiceApi(second, "2016-08-15", "FC")
    after = [
        json.dumps(api.ask("GET", path)) for path in ("/services/s", "/services/s/functions/f")
    ]
    assert after == shown
    assert Function(api, "s", "f", host).call("/x").json()["strings"]["PATH_INFO"] == "/x"
    api.http.close()
    stack.pop_all()
