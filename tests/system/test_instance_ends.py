"""How instances end: told to, interrupted, with the server; and what is left of their logs.

Source: runtime.md 8.6 (pre-stop), 8.8 (hang-ups), U24 (signals).
"""

import base64
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from alibabacloud_fc20230330 import models
from support import (
    KEY,
    ServerProcess,
    aside,
    create_function,
    error_of,
    invoke,
    invoke_aside,
    make_sdk,
    read_log,
    update_function,
    wait_until,
)
from web_functions import Web, deploy_web, deploying, need_networks, read_folder
from wire import Raw, invocation

from anyfc.client import Client

CALL_WITHIN_S = 10.0
# Stays connected to the test as long as it lives, and says how it ends.
SERVER = """
import http.server, os, signal, socket, sys

call = socket.create_connection(("host.anyfc.internal", int(os.environ["PORT"])))

def end(number, frame):
    call.sendall(b"cleaned up")
    sys.exit(0)

signal.signal(signal.SIGTERM, end if os.environ["HEEDS"] else signal.SIG_IGN)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
"""
# As long, and says so through a hook.
HANDLER = """
import os, signal, socket

call = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))

def end(number, frame):
    call.sendall(b"cleaned up")
    os._exit(0)

signal.signal(signal.SIGTERM, end)

def handler(event, context):
    return "handled"
"""


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    # So late that a server has accepted the connection that found its port open.
    return start_server(env={"ANYFC_FREEZE_AFTER_S": "0.3"})


@pytest.fixture(scope="module")
def deploy_server(server: ServerProcess) -> Iterator[Callable[..., Web]]:
    """Deploy programs that are servers; they are deleted at the end."""
    need_networks(server)
    with deploying(server) as deploy:
        yield deploy


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where functions call the test, from their own network."""
    with socket.create_server(("0.0.0.0", 0)) as made:
        made.settimeout(CALL_WITHIN_S)
        yield made


def accept(listener: socket.socket) -> socket.socket:
    call, _ = listener.accept()
    call.settimeout(CALL_WITHIN_S)
    return call


def last_words(call: socket.socket) -> bytes:
    """All that is said until the other end is gone."""
    with call:
        return b"".join(iter(partial(call.recv, 100), b""))


class TestBeingTold:
    @pytest.mark.parametrize("cause", ["update", "idle", "stop"])
    def test_a_server_can_clean_up(
        self,
        start_server: Callable[..., ServerProcess],
        server: ServerProcess,
        listener: socket.socket,
        cause: str,
    ) -> None:
        own = start_server() if cause == "stop" else server
        need_networks(own)
        web = deploy_web(
            own,
            make_sdk(own),
            {"server.py": SERVER},
            *("python3", "server.py"),
            environmentVariables={"PORT": str(listener.getsockname()[1]), "HEEDS": "1"},
            **({"idleTimeout": 1} if cause == "idle" else {}),
        )
        assert web.ask().status == 200
        call = accept(listener)
        if cause == "update":
            update_function(web.sdk, web.name, timeout=9)
        stopping = aside(own.stop) if cause == "stop" else None
        assert last_words(call) == b"cleaned up"
        if stopping is not None:
            assert stopping.result(20) == 0
        else:
            web.remove()

    def test_one_that_does_not_heed_it_goes_all_the_same(
        self, deploy_server: Callable[..., Web], listener: socket.socket
    ) -> None:
        variables = {"PORT": str(listener.getsockname()[1]), "HEEDS": ""}
        web = deploy_server(
            {"server.py": SERVER}, "python3", "server.py", environmentVariables=variables
        )
        assert web.ask().status == 200
        call = accept(listener)
        began = time.monotonic()
        update_function(web.sdk, web.name, timeout=9)
        assert last_words(call) == b""
        assert time.monotonic() - began < CALL_WITHIN_S / 2

    def test_so_can_a_process_whose_handlers_code_wants_to(
        self, server: ServerProcess, listener: socket.socket
    ) -> None:
        sdk = make_sdk(server)
        variables = {"PORT": str(listener.getsockname()[1])}
        name = create_function(sdk, HANDLER, environmentVariables=variables)
        assert invoke(sdk, name)[1] == b"handled"
        call = accept(listener)
        sdk.delete_function(name)
        assert last_words(call) == b"cleaned up"


class TestInterruption:
    def test_a_busy_server_goes_at_once_and_an_idle_one_with_its_hook(
        self, server: ServerProcess, deploy_server: Callable[..., Web]
    ) -> None:
        web = deploy_server(
            read_folder("mirror"),
            *("python3", "server.py"),
            instanceLifecycleConfig={"preStop": {"handler": "any", "timeout": 5}},
        )
        with Raw(web.server) as busy:
            busy.send(web.request("GET", "/~never"))
            wait_until(lambda: len(web.log()) == 1)
            idle = web.ask("GET", "/~who").body.split()[0].decode()
            disable = models.DisableFunctionInvocationRequest(abort_ongoing_request=True)
            web.sdk.disable_function_invocation(web.name, disable)
            answer = busy.read()
        assert answer.status == 502
        assert b"Process exited unexpectedly" in answer.body
        web.wait_line("FC PreStop End")
        with Client(server.endpoint, access_key_id=KEY[0], access_key_secret=KEY[1]) as client:
            lines = list(client.logs(web.name))
        assert [line.instance_id for line in lines if "PreStop" in line.message] == [idle, idle]


class TestBrokenUploads:
    @pytest.mark.parametrize(("concurrency", "kept"), [(1, False), (10, True)])
    def test_an_instance_that_was_sent_half_a_request_is_not_asked_again(
        self, deploy_server: Callable[..., Web], concurrency: int, kept: bool
    ) -> None:
        web = deploy_server(
            read_folder("mirror"),
            *("python3", "server.py"),
            **({"instanceConcurrency": concurrency} if concurrency > 1 else {}),
        )
        first = web.ask("GET", "/~who").body
        with Raw(web.server) as client:
            client.send(web.head("POST", "/~size", framing="transfer-encoding: chunked"))
            client.send(b"4\r\nhalf\r\n")
            wait_until(lambda: len(web.log()) == 3)
            client.send(b"no size\r\n")
            assert client.read().status == 400
        assert (web.ask("GET", "/~who").body == first) is kept


# A server that looks at its timers before it looks at its connections, and closes those on which
# nothing has come for a second.
IMPATIENT = """
import os, socket, threading, time

def serve(connection):
    since = time.monotonic()
    while time.monotonic() - since < 1:
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        if not data:
            break
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
        since = time.monotonic()
    connection.close()

time.sleep(0.5)
listener = socket.create_server(("0.0.0.0", 9000))
while True:
    connection, _ = listener.accept()
    connection.setblocking(False)
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""


class TestFirstConnections:
    def test_one_that_nobody_used_before_the_freeze_does_not_fail_the_first_request(
        self, deploy_server: Callable[..., Web]
    ) -> None:
        web = deploy_server({"server.py": IMPATIENT}, "python3", "server.py")
        with Raw(web.server) as client:
            client.send(web.request("POST", "/", b"x"))
            time.sleep(0.2)  # and leaves before the server listens
        time.sleep(2.5)
        headers, body = web.invoke(b"event")
        assert ("x-fc-error-type" in headers, body) == (False, b"ok")
        assert len(web.log()) == 2

    def test_one_that_waited_for_the_first_probe_does_not_fail_that(
        self, deploy_server: Callable[..., Web]
    ) -> None:
        check = {"httpGetUrl": "/", "initialDelaySeconds": 2, "periodSeconds": 10}
        web = deploy_server(
            {"server.py": IMPATIENT},
            *("python3", "server.py"),
            customRuntimeConfig={"healthCheckConfig": check},
        )
        assert web.invoke(b"event")[1] == b"ok"


SLOW = """
import time

def initialize(context):
    time.sleep(60)

def handler(event, context):
    print("running", flush=True)
    time.sleep(60)
"""


class TestTheServersEnd:
    def test_who_waits_is_told_before_connections_are_cut(
        self, start_server: Callable[..., ServerProcess]
    ) -> None:
        settings = {"DRAIN_S": "2", "MAX_INSTANCES_PER_FUNCTION": "1", "WAIT_S": "60"}
        server = start_server(env={f"ANYFC_{name}": value for name, value in settings.items()})
        sdk = make_sdk(server)
        busy = create_function(sdk, SLOW, timeout=60)
        hook = {"initializer": {"handler": "index.initialize", "timeout": 60}}
        starting = create_function(sdk, SLOW, instanceLifecycleConfig=hook)
        with Raw(server) as running, Raw(server) as waiting, Raw(server) as initializing:
            running.send(invocation(server, busy))
            wait_until(lambda: "running" in read_log(server, busy))
            waiting.send(invocation(server, busy))
            initializing.send(invocation(server, starting))
            wait_until(lambda: read_log(server, starting))
            server.process.send_signal(signal.SIGTERM)
            for client in (waiting, initializing):
                answer = client.read()
                assert (answer.status, error_of(answer.body)["Code"]) == (503, "ServerStopping")
            with pytest.raises(ConnectionError):
                running.read()
        assert server.wait() == 0
        reason = "Error: Server stopped before completing request ("
        assert reason in log_file(server, busy).splitlines()[-1]
        assert "FC Initialize End" in log_file(server, starting).splitlines()[-1]
        assert reason in log_file(server, starting).splitlines()[-1]


def log_file(server: ServerProcess, name: str) -> str:
    (segment,) = Path(server.data_dir, "logs", name).iterdir()
    return segment.read_text()


OLD = """
import time

def handler(event, context):
    return "old"

def pre_stop(context):
    print("the old one stops", flush=True)
    time.sleep(1)
    print("the old one has stopped", flush=True)
"""
FAILS = """
def initialize(context):
    print("no database", flush=True)
    raise OSError("no database")
"""


class TestLogs:
    def test_what_an_instance_of_a_deleted_function_prints_is_not_in_the_log_of_the_next(
        self, server: ServerProcess
    ) -> None:
        sdk = make_sdk(server)
        name = f"again-{os.urandom(4).hex()}"
        hook = {"preStop": {"handler": "index.pre_stop", "timeout": 5}}
        create_function(sdk, OLD, function_name=name, instanceLifecycleConfig=hook)
        assert invoke(sdk, name)[1] == b"old"
        wait_until(lambda: len(read_log(server, name)) == 3)
        sdk.delete_function(name)
        create_function(sdk, "def handler(e, c): return 'new'", function_name=name)
        calling = invoke_aside(server, name)
        assert calling.result(10)[1] == b"new"
        time.sleep(1.5)  # until the old one has said all
        lines = read_log(server, name)
        sdk.delete_function(name)
        assert [line for line in lines if "old one" in line or "PreStop" in line] == []
        assert len(lines) == 3

    def test_the_tail_of_a_failed_start_is_that_of_the_initializer(
        self, server: ServerProcess
    ) -> None:
        sdk = make_sdk(server)
        hook = {"initializer": {"handler": "index.initialize", "timeout": 5}}
        name = create_function(sdk, FAILS, instanceLifecycleConfig=hook)
        headers, _ = invoke(sdk, name, x_fc_log_type="Tail")
        sdk.delete_function(name)
        assert headers["x-fc-error-type"] == "InitializationError"
        tail = base64.b64decode(headers["x-fc-log-result"]).decode()
        assert "FC Initialize Start RequestId: " in tail
        assert "\nno database\n" in tail
        assert "Error: Unhandled function error" in tail
