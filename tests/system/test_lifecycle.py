"""The life of instances: hooks, freezing, updates, hang-ups, ceilings, and what a role may do."""

import socket
from collections.abc import Callable
from concurrent.futures import as_completed
from typing import Any

import pytest
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
    refused,
    signed_head,
    update_function,
    wait_until,
)

# Calls the test, says which request it is, and returns what it is told. The call stays open for as
# long as the instance lives.
MEET = """
import os
import socket

VALUE = os.environ.get("VALUE", "")
calls = []


def handler(event, context):
    call = socket.create_connection(("127.0.0.1", int(event)))
    calls.append(call)
    call.sendall(context.request_id.encode().ljust(64))
    return VALUE.encode() + call.recv(100)
"""
# Hooks that call the test, at the port in the environment.
HOOKS = """
import os
import socket

calls = []


def call():
    call = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
    calls.append(call)
    return call.recv(100)


def initialize(context):
    if call() != b"go":
        raise RuntimeError("told not to")


def pre_stop(context):
    call()


def handler(event, context):
    return "handled"
"""


def initializer(timeout_s: int = 10) -> dict[str, Any]:
    return {"initializer": {"handler": "index.initialize", "timeout": timeout_s}}


def pre_stop(timeout_s: int = 10) -> dict[str, Any]:
    return {"preStop": {"handler": "index.pre_stop", "timeout": timeout_s}}


def is_gone(call: socket.socket) -> bool:
    """Wait until all who have the other end of a call are gone."""
    while call.recv(4096):
        pass
    return True


class TestInitializer:
    def test_after_a_failed_initialization_the_next_request_tries_again(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(
            HOOKS,
            environmentVariables={"PORT": str(meeting.port)},
            instanceLifecycleConfig=initializer(),
        )
        first = invoke_aside(server, name)
        meeting.wait_call().sendall(b"no")
        headers, body = first.result(10)
        assert headers["x-fc-error-type"] == "InitializationError"
        assert error_of(body)["errorMessage"] == "told not to"
        second = invoke_aside(server, name)
        meeting.wait_call().sendall(b"go")
        headers, body = second.result(10)
        assert body == b"handled"
        assert "x-fc-error-type" not in headers
        assert invoke(sdk, name)[1] == b"handled"

    def test_every_caller_of_a_function_that_cannot_start_is_told(
        self, server: ServerProcess, deploy: Callable[..., str]
    ) -> None:
        name = deploy(
            "def initialize(context):\n    raise OSError('no disk')\n",
            instanceLifecycleConfig=initializer(),
        )
        for call in [invoke_aside(server, name) for _ in range(8)]:
            headers, body = call.result(10)
            assert headers["x-fc-error-type"] == "InitializationError"
            assert error_of(body)["errorMessage"] == "no disk"

    def test_an_initializer_has_its_own_limit(
        self, server: ServerProcess, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(
            HOOKS,
            timeout=1,
            environmentVariables={"PORT": str(meeting.port)},
            instanceLifecycleConfig=initializer(10),
        )
        call = invoke_aside(server, name)
        connection = meeting.wait_call()
        connection.settimeout(1.5)
        with pytest.raises(TimeoutError):  # longer than the limit of a request
            connection.recv(1)
        connection.sendall(b"go")
        assert call.result(10)[1] == b"handled"


class TestPreStop:
    @pytest.fixture
    def settings(self, meeting: Any) -> dict[str, Any]:
        return {
            "environmentVariables": {"PORT": str(meeting.port)},
            "instanceLifecycleConfig": pre_stop(),
        }

    def test_an_update_calls_the_hook_and_does_not_wait_for_it(
        self, sdk: Any, deploy: Callable[..., str], meeting: Any, settings: dict[str, Any]
    ) -> None:
        name = deploy(HOOKS, **settings)
        before, _ = invoke(sdk, name)
        update_function(sdk, name, timeout=9)
        call = meeting.wait_call()
        after, body = invoke(sdk, name)
        assert body == b"handled"
        assert after["x-fc-instance-id"] != before["x-fc-instance-id"]
        call.sendall(b"done")
        assert is_gone(call)

    def test_deleting_the_function_calls_the_hook(
        self, sdk: Any, meeting: Any, settings: dict[str, Any]
    ) -> None:
        name = create_function(sdk, HOOKS, **settings)
        invoke(sdk, name)
        sdk.delete_function(name)
        call = meeting.wait_call()
        call.sendall(b"done")
        assert is_gone(call)

    def test_an_idle_instance_is_stopped_with_its_hook(
        self,
        server: ServerProcess,
        sdk: Any,
        deploy: Callable[..., str],
        meeting: Any,
        settings: dict[str, Any],
    ) -> None:
        name = deploy(HOOKS, idleTimeout=1, **settings)
        invoke(sdk, name)
        call = meeting.wait_call()
        call.sendall(b"done")
        assert is_gone(call)
        log = read_log(server, name)
        assert any(line.startswith("FC PreStop End RequestId: ") for line in log)

    def test_a_server_that_stops_calls_the_hooks(
        self,
        start_server: Callable[..., ServerProcess],
        meeting: Any,
        settings: dict[str, Any],
    ) -> None:
        own = start_server()
        sdk = make_sdk(own)
        invoke(sdk, create_function(sdk, HOOKS, **settings))
        stopping = aside(own.stop)
        call = meeting.wait_call()
        call.sendall(b"done")
        assert is_gone(call)
        assert stopping.result(20) == 0

    @pytest.mark.parametrize(
        "body", ["raise OSError('no')", "raise SystemExit", "import time; time.sleep(60)"]
    )
    def test_an_instance_stops_whatever_its_pre_stop_hook_does(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str], meeting: Any, body: str
    ) -> None:
        code = f"{MEET}\n\ndef pre_stop(context):\n    {body}\n"
        name = deploy(code, instanceLifecycleConfig=pre_stop(1))
        running = invoke_aside(server, name, str(meeting.port).encode())
        call = meeting.wait_call()
        call.sendall(b"!")
        assert running.result(10)[1] == b"!"
        update_function(sdk, name, timeout=9)
        assert is_gone(call)
        assert any("FC PreStop End RequestId: " in line for line in read_log(server, name))

    def test_a_change_that_instances_do_not_see_leaves_them_alone(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(HOOKS)
        before, _ = invoke(sdk, name)
        update_function(sdk, name, description="only words")
        after, _ = invoke(sdk, name)
        assert after["x-fc-instance-id"] == before["x-fc-instance-id"]


class TestUpdates:
    def test_a_running_request_ends_with_the_configuration_it_began_with(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(MEET, environmentVariables={"VALUE": "old"})
        port = str(meeting.port).encode()
        running = invoke_aside(server, name, port)
        old = meeting.wait_call()
        update_function(sdk, name, environmentVariables={"VALUE": "new"})
        following = invoke_aside(server, name, port)
        meeting.wait_call().sendall(b"!")
        assert following.result(10)[1] == b"new!"
        old.sendall(b"?")
        assert running.result(10)[1] == b"old?"
        assert is_gone(old)

    def test_a_running_request_ends_although_its_function_is_deleted(
        self, server: ServerProcess, sdk: Any, meeting: Any
    ) -> None:
        name = create_function(sdk, MEET)
        running = invoke_aside(server, name, str(meeting.port).encode())
        call = meeting.wait_call()
        sdk.delete_function(name)
        call.sendall(b"still here")
        assert running.result(10)[1] == b"still here"
        assert is_gone(call)


class TestFreezing:
    BEAT = """
import socket
import subprocess
import threading
import time


def beat(call):
    while True:
        call.sendall(b"x")
        time.sleep(0.01)


def handler(event, context):
    if event:
        call = socket.create_connection(("127.0.0.1", int(event)))
        subprocess.Popen(["sleep", "1000"], pass_fds=[call.fileno()])
        threading.Thread(target=beat, args=(call,), daemon=True).start()
    time.sleep(0.1)
"""

    def rests(self, beats: socket.socket, quiet_s: float) -> bool:
        beats.settimeout(quiet_s)
        try:
            beats.recv(4096)
        except TimeoutError:
            return True
        return False

    def test_a_thread_rests_between_requests(
        self, sdk: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(self.BEAT)
        invoke(sdk, name, str(meeting.port).encode())
        beats = meeting.wait_call()
        wait_until(lambda: self.rests(beats, 0.3))
        assert self.rests(beats, 0.5)
        invoke(sdk, name)
        assert len(beats.recv(4096)) >= 2
        wait_until(lambda: self.rests(beats, 0.3))

    def test_a_frozen_instance_is_stopped_with_all_its_processes(
        self, sdk: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(self.BEAT)
        invoke(sdk, name, str(meeting.port).encode())
        beats = meeting.wait_call()
        wait_until(lambda: self.rests(beats, 0.3))
        update_function(sdk, name, timeout=9)
        beats.settimeout(5)
        assert is_gone(beats)


class TestCallersWhoLeave:
    def test_a_caller_who_hangs_up_ends_the_request(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(MEET)
        port = str(meeting.port).encode()
        before = invoke_aside(server, name, port)
        meeting.wait_call().sendall(b"1")
        instance = before.result(10)[0]["x-fc-instance-id"]

        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            target = f"/2023-03-30/functions/{name}/invocations"
            caller.sendall(signed_head(server, "POST", target, port) + port)
            call = meeting.wait_call()
            request_id = call.recv(64).decode().strip()
        assert is_gone(call)

        after = invoke_aside(server, name, port)
        meeting.wait_call().sendall(b"2")
        assert after.result(10)[0]["x-fc-instance-id"] != instance
        log = read_log(server, name, request_id)
        end = f"FC Invoke End RequestId: {request_id}, Error: Invocation canceled by client "
        assert log[-1].startswith(end + "(duration: ")

    def test_a_caller_who_hangs_up_while_waiting_takes_no_instance(
        self, start_server: Callable[..., ServerProcess], meeting: Any
    ) -> None:
        own = start_server(env={"ANYFC_MAX_INSTANCES_PER_FUNCTION": "1", "ANYFC_WAIT_S": "60"})
        name = create_function(make_sdk(own), MEET, timeout=30)
        port = str(meeting.port).encode()
        running = invoke_aside(own, name, port)
        held = meeting.wait_call()
        with socket.create_connection(("127.0.0.1", own.port)) as caller:
            target = f"/2023-03-30/functions/{name}/invocations"
            caller.sendall(signed_head(own, "POST", target, port) + port)
        held.sendall(b"1")
        assert running.result(10)[1] == b"1"
        following = invoke_aside(own, name, port)
        meeting.wait_call().sendall(b"2")
        assert following.result(10)[1] == b"2"
        assert own.stop() == 0


class TestCapacity:
    def test_two_requests_at_once_run_in_two_instances(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(MEET)
        port = str(meeting.port).encode()
        calls = [invoke_aside(server, name, port) for _ in range(2)]
        for connection in [meeting.wait_call() for _ in calls]:
            connection.sendall(b"!")
        instances = {call.result(10)[0]["x-fc-instance-id"] for call in calls}
        assert len(instances) == 2
        last = invoke_aside(server, name, port)
        meeting.wait_call().sendall(b"!")
        assert last.result(10)[0]["x-fc-instance-id"] in instances

    @pytest.mark.parametrize(
        "variable", ["ANYFC_MAX_INSTANCES", "ANYFC_MAX_INSTANCES_PER_FUNCTION"]
    )
    def test_more_requests_than_instances_are_refused(
        self, start_server: Callable[..., ServerProcess], meeting: Any, variable: str
    ) -> None:
        own = start_server(env={variable: "2", "ANYFC_WAIT_S": "0.2"})
        sdk = make_sdk(own)
        name = create_function(sdk, MEET, timeout=30)
        port = str(meeting.port).encode()
        running = [invoke_aside(own, name, port) for _ in range(2)]
        held = [meeting.wait_call() for _ in running]
        with refused("ResourceExhausted", 429, name):
            invoke(sdk, name, port)
        for connection in held:
            connection.sendall(b"!")
        assert [call.result(10)[1] for call in running] == [b"!", b"!"]
        following = invoke_aside(own, name, port)
        meeting.wait_call().sendall(b"!")
        assert following.result(10)[1] == b"!"
        assert own.stop() == 0

    def test_at_the_ceiling_an_idle_instance_of_another_function_makes_room(
        self, start_server: Callable[..., ServerProcess]
    ) -> None:
        own = start_server(env={"ANYFC_MAX_INSTANCES": "1"})
        sdk = make_sdk(own)
        names = [create_function(sdk, f"def handler(e, c):\n    return '{n}'\n") for n in range(3)]
        instances = set()
        for _ in range(2):
            for number, name in enumerate(names):
                headers, body = invoke(sdk, name)
                assert body == str(number).encode()
                instances.add(headers["x-fc-instance-id"])
        assert len(instances) == 6
        assert own.stop() == 0

    def test_callers_beyond_the_queue_are_refused_at_once(
        self, start_server: Callable[..., ServerProcess], meeting: Any
    ) -> None:
        own = start_server(
            env={"ANYFC_MAX_INSTANCES": "1", "ANYFC_MAX_WAITING": "1", "ANYFC_WAIT_S": "60"}
        )
        name = create_function(make_sdk(own), MEET, timeout=30)
        port = str(meeting.port).encode()
        calls = [invoke_aside(own, name, port)]
        held = meeting.wait_call()
        calls += [invoke_aside(own, name, port) for _ in range(2)]
        early = next(as_completed(calls, timeout=10))
        with refused("ResourceExhausted", 429, "already waiting"):
            early.result()
        calls.remove(early)
        held.sendall(b"1")
        meeting.wait_call().sendall(b"2")
        assert sorted(call.result(10)[1] for call in calls) == [b"1", b"2"]
        assert own.stop() == 0


class TestRoles:
    CALL = """
import hashlib
import hmac
import http.client
import os
import time


def handler(event, context):
    method, target, port, body = event.decode().split(" ", 3)
    digest = hashlib.sha256(body.encode()).hexdigest()
    headers = {
        "host": "127.0.0.1:" + port,
        "x-acs-content-sha256": digest,
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-security-token": os.environ["ALIBABA_CLOUD_SECURITY_TOKEN"],
    }
    names = ";".join(sorted(headers))
    lines = "".join("%s:%s\\n" % (name, headers[name]) for name in sorted(headers))
    canonical = "\\n".join((method, target, "", lines, names, digest))
    text = "ACS3-HMAC-SHA256\\n" + hashlib.sha256(canonical.encode()).hexdigest()
    secret = os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"].encode()
    headers["authorization"] = "ACS3-HMAC-SHA256 Credential=%s,SignedHeaders=%s,Signature=%s" % (
        os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"], names,
        hmac.new(secret, text.encode(), "sha256").hexdigest(),
    )
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    connection.request(method, target, body.encode(), headers)
    answer = connection.getresponse()
    return "%d %s" % (answer.status, answer.read().decode())
"""
    ROLE = "acs:ram::123456789012345:role/caller"

    def ask(
        self, server: ServerProcess, name: str, method: str, target: str, body: str = ""
    ) -> str:
        event = f"{method} /2023-03-30{target} {server.port} {body}"
        return invoke(make_sdk(server), name, event.encode())[1].decode()

    @pytest.mark.parametrize("runtime", ["python3.10", "python3.12"])
    def test_a_function_with_a_role_may_invoke_and_read(
        self, server: ServerProcess, deploy: Callable[..., str], runtime: str
    ) -> None:
        other = deploy("def handler(event, context):\n    return b'other got ' + event\n")
        name = deploy(self.CALL, role=self.ROLE, runtime=runtime, timeout=20)
        answer = self.ask(server, name, "POST", f"/functions/{other}/invocations", "this")
        assert answer == "200 other got this"
        assert self.ask(server, name, "GET", f"/functions/{other}").startswith("200 ")

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("POST", "/functions"),
            ("PUT", "/functions/{name}"),
            ("DELETE", "/functions/{name}"),
            ("POST", "/functions/{name}/invoke/disable"),
        ],
    )
    def test_a_function_with_a_role_may_change_nothing(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str], method: str, target: str
    ) -> None:
        name = deploy(self.CALL, role=self.ROLE, timeout=20)
        answer = self.ask(server, name, method, target.format(name=name), "{}")
        assert answer.startswith("403 ")
        assert '"AccessDenied"' in answer
        assert self.ask(server, name, "GET", f"/functions/{name}").startswith("200 ")

    def test_a_function_without_a_role_has_nothing_to_sign_with(
        self, server: ServerProcess, deploy: Callable[..., str]
    ) -> None:
        name = deploy(self.CALL, timeout=20)
        assert self.ask(server, name, "GET", f"/functions/{name}").startswith(("403 ", "400 "))

    def test_the_servers_own_key_is_in_no_instance(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        code = "import os\ndef handler(event, context):\n    return str(dict(os.environ))\n"
        name = deploy(code, role=self.ROLE)
        variables = invoke(sdk, name)[1].decode()
        assert KEY[0] not in variables
        assert KEY[1] not in variables
