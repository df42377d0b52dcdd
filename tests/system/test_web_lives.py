"""The life of instances that are servers: hang-ups, time limits, hooks, health, updates.

Source: runtime.md 4.6 (health checks), 8 (lifecycle), 12.3 (what is seen of failures).
"""

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from support import ServerProcess, aside, error_of, make_sdk, refused, update_function, wait_until
from web_functions import Web, deploy_web, deploying, need_networks, read_folder
from wire import Raw

COMMAND = ("python3", "server.py")
HEALTH = {"httpGetUrl": "/~health", "periodSeconds": 1, "failureThreshold": 1}
CALL_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    started = start_server()
    need_networks(started)
    return started


@pytest.fixture(scope="module")
def create(server: ServerProcess) -> Iterator[Callable[..., Web]]:
    """Deploy servers that show requests, with settings; they are deleted at the end."""
    with deploying(server) as deploy:
        yield partial(deploy, read_folder("mirror"), *COMMAND)


@pytest.fixture(scope="module")
def hasty(create: Callable[..., Web]) -> Web:
    return create(timeout=1)


def who(web: Web) -> bytes:
    """The instance that answers, and the value in its environment."""
    return web.ask("GET", "/~who").body


class Talk(Raw):
    """A request that goes on until the test ends it; what it says comes back."""

    def __init__(self, web: Web) -> None:
        super().__init__(web.server)
        self.send(web.head("POST", "/~talk", framing="transfer-encoding: chunked"))
        while not self.partly.body:
            self.receive()
        self.instance = self.partly.body

    def __enter__(self) -> "Talk":
        return self

    def say(self, word: bytes) -> None:
        """Say something, and wait until it comes back."""
        self.send(b"%x\r\n%b\r\n" % (len(word), word))
        while not self.partly.body.endswith(word):
            self.receive()

    def end(self) -> bytes:
        return self.ask(b"0\r\n\r\n").body


class TestHangingUp:
    @pytest.mark.parametrize(
        ("settings", "kept"),
        [
            ({}, False),
            ({"customRuntimeConfig": {"healthCheckConfig": HEALTH}}, True),
            ({"instanceConcurrency": 10}, True),
        ],
        ids=["one at a time", "with a health check", "ten at a time"],
    )
    def test_in_the_middle_ends_the_request_and_with_it_perhaps_the_instance(
        self, create: Callable[..., Web], settings: dict[str, Any], kept: bool
    ) -> None:
        web = create(**settings)
        with Talk(web) as talk:
            talk.say(b"hello")
        line = web.wait_line("Error")
        assert "Error: Invocation canceled by client (duration: " in line
        assert line.endswith("MB)")
        assert who(web).startswith(talk.instance) is kept

    def test_before_there_is_an_answer_ends_it_too(self, create: Callable[..., Web]) -> None:
        web = create()
        first = who(web)
        with Raw(web.server) as client:
            client.send(web.request("POST", "/~never", b"hello"))
            wait_until(lambda: len(web.log()) == 3)
        web.wait_line("Invocation canceled by client")
        assert who(web) != first

    def test_while_an_answer_is_read_ends_it_too(self, create: Callable[..., Web]) -> None:
        web = create()
        with Raw(web.server) as client:
            client.send(web.request("GET", "/~big?64"))
            client.receive()
        web.wait_line("Invocation canceled by client")
        assert web.ask("GET", "/~size").body.startswith(b"0 ")


class TestTimeLimits:
    def test_no_answer_in_time_is_an_error_and_the_instance_goes(self, hasty: Web) -> None:
        first = who(hasty)
        began = time.monotonic()
        answer = hasty.ask("GET", "/~never")
        assert 1 <= time.monotonic() - began < 3
        assert (answer.status, error_of(answer.body)["Message"]) == (
            502, "Function timed out after 1 seconds",
        )  # fmt: skip
        assert "Error: Function timed out after 1 seconds (duration: " in hasty.wait_line("Error")
        second = who(hasty)
        assert second != first
        headers, body = hasty.invoke(b"/~never")
        assert headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert error_of(body)["errorMessage"].startswith("Function timed out after 1 seconds")
        assert who(hasty) != second

    def test_an_answer_that_goes_on_too_long_is_broken_off(self, hasty: Web) -> None:
        with Talk(hasty) as talk:
            with pytest.raises(ConnectionError):
                talk.read()
            assert not talk.partly.complete
        assert not who(hasty).startswith(talk.instance)

    def test_the_time_of_one_request_is_not_that_of_others(
        self, create: Callable[..., Web]
    ) -> None:
        web = create(timeout=1, instanceConcurrency=10)
        first = who(web)
        with Raw(web.server) as late:
            late.send(web.request("GET", "/~never"))
            late_answer = aside(late.read)
            while not late_answer.done():
                with Talk(web) as talk:
                    assert first.startswith(talk.instance)
                    talk.say(b"hello")
                    talk.end()
            assert late_answer.result().status == 502
        assert who(web) == first


class TestInitializer:
    HOOK = {"initializer": {"handler": "any", "timeout": 1}}  # noqa: RUF012  # nobody changes it

    def test_it_is_called_once_before_the_first_request(self, create: Callable[..., Web]) -> None:
        web = create(instanceLifecycleConfig=self.HOOK)
        for _ in range(3):
            assert web.ask("GET", "/~size").status == 200
        start, hook, end, *rest = web.log()
        request_id = start.removeprefix("FC Initialize Start RequestId: ")
        assert hook == f"hook: POST /initialize {request_id} b''"
        assert end == f"FC Initialize End RequestId: {request_id}"
        assert not [line for line in rest if "nitialize" in line]

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            ("404", "status 404"),
            ("500", "status 500"),
            ("exit", "Process exited unexpectedly before completing initialization"),
        ],
    )
    def test_its_failure_is_the_callers_answer(
        self, create: Callable[..., Web], status: str, message: str
    ) -> None:
        web = create(
            instanceLifecycleConfig=self.HOOK, environmentVariables={"HOOK_STATUS": status}
        )
        headers, body = web.invoke()
        assert headers["x-fc-error-type"] == "InitializationError"
        assert message in error_of(body)["errorMessage"]
        answer = web.ask()
        assert (answer.status, answer.headers[b"content-type"]) == (502, b"application/json")
        assert message in error_of(answer.body)["errorMessage"]
        assert len([line for line in web.log() if line.startswith("hook: ")]) == 2

    def test_nobody_waits_for_it_longer_than_its_time(
        self, create: Callable[..., Web], listener: socket.socket
    ) -> None:
        web = create(
            instanceLifecycleConfig=self.HOOK,
            environmentVariables={"PORT": str(listener.getsockname()[1])},
        )
        headers, body = web.invoke()
        assert headers["x-fc-error-type"] == "InitializationError"
        expected = "Function initialization timed out after 1 seconds"
        assert error_of(body)["errorMessage"].startswith(expected)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where hooks call the test, from their own network."""
    with socket.create_server(("0.0.0.0", 0)) as made:
        made.settimeout(CALL_WITHIN_S)
        yield made


class TestPreStop:
    HOOK = {"preStop": {"handler": "any", "timeout": 10}}  # noqa: RUF012  # nobody changes it

    @pytest.mark.parametrize("cause", ["update", "idle", "delete", "stop"])
    def test_it_is_called_before_an_instance_goes(
        self,
        start_server: Callable[..., ServerProcess],
        server: ServerProcess,
        listener: socket.socket,
        cause: str,
    ) -> None:
        own = start_server() if cause == "stop" else server
        web = deploy_web(
            own,
            make_sdk(own),
            read_folder("mirror"),
            *COMMAND,
            instanceLifecycleConfig=self.HOOK,
            environmentVariables={"PORT": str(listener.getsockname()[1])},
            **({"idleTimeout": 1} if cause == "idle" else {}),
        )
        assert web.ask("GET", "/~who").status == 200
        if cause == "update":
            update_function(web.sdk, web.name, timeout=9)
        elif cause == "delete":
            web.remove()
        stopping = aside(own.stop) if cause == "stop" else None
        call, _ = listener.accept()
        call.settimeout(CALL_WITHIN_S)
        with call:
            assert call.recv(100) == b"/pre-stop"
            if cause == "update":
                assert web.ask("GET", "/~who").status == 200  # nobody waits for the hook
            call.sendall(b"x")
            assert call.recv(1) == b""
        if stopping is not None:
            assert stopping.result(20) == 0
        elif cause != "delete":
            request_id = web.wait_line("FC PreStop End").rpartition(" ")[2]
            assert web.wait_line("hook: ") == f"hook: GET /pre-stop {request_id} b''"
            assert f"FC PreStop Start RequestId: {request_id}" in web.log()
            web.remove()

    def test_whatever_it_answers_the_instance_goes(self, create: Callable[..., Web]) -> None:
        web = create(instanceLifecycleConfig=self.HOOK, environmentVariables={"HOOK_STATUS": "500"})
        first = who(web)
        update_function(web.sdk, web.name, timeout=9)
        assert who(web) != first
        assert "Error: Unhandled function error" in web.wait_line("FC PreStop End")

    def test_hooks_that_are_not_configured_are_not_called(self, create: Callable[..., Web]) -> None:
        web = create()
        first = who(web)
        update_function(web.sdk, web.name, timeout=9)
        assert who(web) != first
        assert not [line for line in web.log() if "hook" in line]


class TestHealth:
    @pytest.mark.parametrize("status", [404, 500])
    def test_a_first_probe_that_fails_is_a_failed_start(
        self, create: Callable[..., Web], status: int
    ) -> None:
        web = create(
            customRuntimeConfig={"healthCheckConfig": HEALTH},
            environmentVariables={"HEALTH": str(status)},
        )
        message = f"check function health failed with status code: {status} "
        with refused("FunctionNotStarted", 412, message):
            web.invoke()
        answer = web.ask()
        assert (answer.status, error_of(answer.body)["Code"]) == (412, "FunctionNotStarted")
        assert message in error_of(answer.body)["Message"]

    def test_a_redirect_is_well(self, create: Callable[..., Web]) -> None:
        web = create(
            customRuntimeConfig={"healthCheckConfig": HEALTH},
            environmentVariables={"HEALTH": "302"},
        )
        assert web.ask().status == 200

    def test_who_is_unwell_gets_no_requests_until_it_is_well_again(
        self, create: Callable[..., Web]
    ) -> None:
        web = create(
            customRuntimeConfig={"healthCheckConfig": HEALTH}, instanceConcurrency=10, timeout=60
        )
        with Talk(web) as talk:
            assert who(web).startswith(talk.instance)
            talk.say(b"health 500")
            assert not who(web).startswith(talk.instance)
            talk.say(b"health 200")
            talk.end()
        assert who(web).startswith(talk.instance)


class TestUpdates:
    def test_a_request_that_runs_ends_on_the_old_code_and_new_ones_get_the_new(
        self, create: Callable[..., Web]
    ) -> None:
        web = create(environmentVariables={"VALUE": "old"})
        assert who(web).endswith(b" old")
        with Talk(web) as talk:
            update_function(web.sdk, web.name, environmentVariables={"VALUE": "new"})
            assert who(web).endswith(b" new")
            talk.say(b"still here")
            assert talk.end() == talk.instance + b"still here"
        assert who(web).endswith(b" new")
