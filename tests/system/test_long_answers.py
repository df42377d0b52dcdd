"""Answers longer than a frame that nobody reads, or that do not end; and hooks that fail at length.

Source: runtime.md 8.5 (pre-freeze hooks change nothing), 8.7 (function timeout).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from services import ServiceApi
from support import ServerProcess, aside, invoke, invoke_aside, read_log, wait_until
from web_functions import need_networks
from wire import Raw, invocation

# Says who it is, or what nobody will read.
APP = """
import os

def handler(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/error":
        raise ValueError("\\u9519" * 60000)
    if path == "/headers":
        start_response("200 OK", [("A", "x" * 9000)])
    elif path == "/empty":
        start_response("304 Not Modified", [])
    else:
        start_response("200 OK", [])
    return [os.environ["FC_INSTANCE_ID"]] if path == "/" else [b"x" * 1000000]

def rest(context):
    raise ValueError("\\u9519" * 60000)
"""
# Takes the bootstrap's place, and announces more than it sends.
HOSTILE = """
import os, socket, struct, time

def handler(event, context):
    if event == b"who":
        return os.environ["FC_INSTANCE_ID"]
    channel = socket.socket(fileno=1000)
    channel.sendall(struct.pack(">cIQI", b"R", 15, 10_000_000, 0) + b"one")
    while True:
        time.sleep(0.1)
        if event == b"drips":
            channel.sendall(struct.pack(">cI", b"D", 1) + b"x")
"""
# Its pre-freeze hook takes for ever.
SERVER = """
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/pre-freeze":
            time.sleep(1000)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["FC_INSTANCE_ID"].encode())

http.server.ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
"""


Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def make(server: ServerProcess) -> Iterator[Callable[..., Ask]]:
    """Deploy functions in a service, and return what asks them by HTTP; they go at the end."""
    api = ServiceApi(server, "2016-08-15", "FC")
    with ExitStack() as stack:
        stack.callback(api.http.close)
        stack.enter_context(api.service("long"))

        def deploy(name: str, files: Mapping[str, str], **settings: Any) -> Ask:
            host = stack.enter_context(api.function("long", name, files, **settings))
            http = stack.enter_context(
                httpx.Client(base_url=server.endpoint, headers={"host": host}, trust_env=False)
            )
            return http.request

        yield deploy


@pytest.fixture(scope="module")
def app(make: Callable[..., Ask]) -> Ask:
    return make("app", {"index.py": APP})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/page", 200),
        ("GET", "/empty", 304),
        ("GET", "/error", 502),
        ("GET", "/headers", 502),
    ],
)
def test_an_answer_that_nobody_reads_does_not_cost_its_instance(
    app: Ask, method: str, path: str, status: int
) -> None:
    first = app("GET", "/").text
    for _ in range(2):
        assert app(method, path).status_code == status
        assert app("GET", "/").text == first


def test_nor_does_a_pre_freeze_hook_that_fails_at_length(
    server: ServerProcess, make: Callable[..., Ask]
) -> None:
    hook = {"preFreeze": {"handler": "index.rest", "timeout": 5}}
    ask = make("rests", {"index.py": APP}, instanceLifecycleConfig=hook)
    first = ask("GET", "/").text
    wait_until(lambda: hook_ends(server, "long$rests"))
    assert ask("GET", "/").text == first


def test_nor_one_of_a_server_that_takes_too_long(
    server: ServerProcess, make: Callable[..., Ask]
) -> None:
    need_networks(server)
    ask = make(
        "hangs",
        {"server.py": SERVER},
        runtime="custom",
        customRuntimeConfig={"command": ["python3", "server.py"]},
        instanceLifecycleConfig={"preFreeze": {"handler": "any", "timeout": 1}},
    )
    first = ask("GET", "/").text
    (end,) = wait_until(lambda: hook_ends(server, "long$hangs"))
    assert "Error: Function timed out after 1 seconds (duration: " in end
    assert ask("GET", "/").text == first


def hook_ends(server: ServerProcess, name: str) -> list[str]:
    return [line for line in read_log(server, name) if "FC PreFreeze End" in line]


@pytest.mark.parametrize("event", [b"stalls", b"drips"])
def test_an_answer_that_has_begun_has_to_end_in_the_time_of_its_request(
    server: ServerProcess, sdk: Any, deploy: Callable[..., str], event: bytes
) -> None:
    name = deploy(HOSTILE, timeout=2)
    first = invoke(sdk, name, b"who")[1]
    with Raw(server) as client:
        client.send(invocation(server, name, event))
        reading = aside(client.read)
        with pytest.raises(ConnectionError):
            reading.result(10)
        assert client.partly.status == 200
        assert not client.partly.complete
    assert invoke_aside(server, name, b"who").result(10)[1] != first
