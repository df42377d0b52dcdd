"""Servers that do not start, or whose processes get out of hand: nothing of them is left.

Source: runtime.md 4.1 and 12.2 (start failures), 8.1 and 8.9 (the end of instances).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support import ServerProcess, aside, error_of, refused, update_function, wait_until
from web_functions import Boxes, Web, deploying, read_folder

KIB = 1024
COMMAND = ("python3", "server.py")
START_S = "2"
BARE = {"ANYFC_SPARE_PROCESSES": "0", "ANYFC_SPARE_NETWORKS": "0"}
LISTENS = """
import http.server
print("listening", flush=True)
http.server.HTTPServer(("{host}", {port}), http.server.BaseHTTPRequestHandler).serve_forever()
"""
NEVER = "import time\nprint('thinking', flush=True)\ntime.sleep(3600)\n"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(env=BARE)


@pytest.fixture(scope="module")
def impatient(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server that waits for others no longer than two seconds."""
    return start_server(env={**BARE, "ANYFC_SERVER_START_S": START_S})


@contextmanager
def nothing_left(server: ServerProcess) -> Iterator[Boxes]:
    """Nothing is left of any instance at the end, and the server had no trouble with it."""
    boxes = Boxes(server)
    yield boxes
    wait_until(lambda: not boxes.left())
    assert "Traceback" not in server.output


@pytest.fixture
def boxes(server: ServerProcess) -> Iterator[Boxes]:
    with nothing_left(server) as made:
        yield made


@pytest.fixture
def create(server: ServerProcess, boxes: Boxes) -> Iterator[Callable[..., Web]]:
    """Deploy a program in one file; it is deleted after the test."""
    with deploying(server) as deploy:
        yield lambda program, **settings: deploy({"server.py": program}, *COMMAND, **settings)


class TestExitsAtTheStart:
    @pytest.mark.parametrize(
        ("program", "code"),
        [
            ("raise SystemExit(0)", "code 0, message:success"),
            ("raise SystemExit(1)", "code 1, message:operation not permitted"),
            ("raise SystemExit(3)", "code 3, message:no such process"),
            ("raise SystemExit(145)", "code 145"),
            ("import os; os.kill(os.getpid(), 9)", "code 137"),
            ("import os; os.abort()", "code 134"),
            ("import os; os.kill(0, 15); os.kill(os.getppid(), 9); exit(7)", "code 143"),
        ],
    )
    def test_the_caller_is_told_how_it_ended_and_what_it_said(
        self, create: Callable[..., Web], program: str, code: str
    ) -> None:
        web = create(f"print('last words', flush=True)\n{program}\n")
        message = (
            f"Function instance exited unexpectedly({code}) with start command "
            "'python3 server.py'.\nLogs:last words\n"
        )
        with refused("CAExited", 412, message):
            web.invoke()
        answer = web.ask()
        assert answer.status == 412
        assert error_of(answer.body)["Code"] == "CAExited"
        assert error_of(answer.body)["Message"] == message

    def test_a_server_that_becomes_a_daemon_has_exited(self, create: Callable[..., Web]) -> None:
        program = read_folder("unruly")["server.py"]
        web = create(program, environmentVariables={"BEHAVIOUR": "daemon"})
        with refused("CAExited", 412, "(code 0, message:success)"):
            web.invoke()

    def test_the_next_caller_gets_a_new_try(self, create: Callable[..., Web]) -> None:
        web = create("raise SystemExit(1)")
        assert web.ask().status == 412
        update_function(
            web.sdk, web.name, read_folder("mirror"), customRuntimeConfig={"command": [*COMMAND]}
        )
        assert web.ask().status == 200

    def test_much_output_is_shown_from_its_end(self, create: Callable[..., Web]) -> None:
        web = create("print('x' * 4_000_000)\nprint('the end', flush=True)\nexit(1)\n")
        answer = web.ask()
        assert error_of(answer.body)["Message"].endswith("x\nthe end\n")
        assert len(answer.body) < 16 * KIB


class TestNotReachable:
    def test_whoever_is_not_reachable_in_time_is_not_started(
        self, impatient: ServerProcess
    ) -> None:
        programs = (
            NEVER,
            LISTENS.format(host="127.0.0.1", port=9000),
            LISTENS.format(host="0.0.0.0", port=8080),
        )
        with nothing_left(impatient) as boxes, deploying(impatient) as deploy:
            webs = [deploy({"server.py": program}, *COMMAND) for program in programs]
            answers = [aside(web.ask) for web in webs]
            wait_until(lambda: boxes.look() >= len(webs))
            for answer, said in zip(answers, ("thinking", "listening", "listening"), strict=True):
                seen = answer.result(20)
                problem = error_of(seen.body)
                assert (seen.status, problem["Code"]) == (412, "FunctionNotStarted")
                assert problem["Message"] == (
                    f"Function instance health check failed on port 9000 in {START_S} seconds.\n"
                    f"Logs:{said}\n"
                )

    def test_a_server_may_take_its_time_and_listen_on_another_port(
        self, impatient: ServerProcess
    ) -> None:
        program = "import time\ntime.sleep(0.5)\n" + LISTENS.format(host="0.0.0.0", port=8080)
        with deploying(impatient) as deploy:
            web = deploy({"server.py": program}, *COMMAND, customRuntimeConfig={"port": 8080})
            assert web.ask().status == 501  # which is the server's own word


class TestUnruly:
    @pytest.mark.parametrize(
        ("behaviour", "processes"),
        [("deaf", 2), ("detached", 3), ("children", 7), ("forks", 64), ("prints", 2),
         ("prints for ever", 2)],
    )  # fmt: skip
    @pytest.mark.parametrize("end", ["delete", "update"])
    def test_all_of_its_processes_end_with_the_instance(
        self,
        create: Callable[..., Web],
        boxes: Boxes,
        behaviour: str,
        processes: int,
        end: str,
    ) -> None:
        program = read_folder("unruly")["server.py"]
        web = create(program, environmentVariables={"BEHAVIOUR": behaviour})
        for _ in range(2):
            answer = web.ask()
            assert (answer.status, int(answer.body) >= processes) == (200, True)
        assert boxes.look() >= processes
        if end == "update":
            update_function(web.sdk, web.name, environmentVariables={"BEHAVIOUR": "none"})
            wait_until(lambda: not boxes.left())
            assert web.ask().status == 200

    def test_a_line_of_megabytes_is_cut_and_the_log_goes_on(
        self, create: Callable[..., Web]
    ) -> None:
        program = read_folder("unruly")["server.py"]
        web = create(program, environmentVariables={"BEHAVIOUR": "prints"})
        assert web.ask().status == 200
        lines = web.log()
        assert max(len(line) for line in lines) == 32 * KIB
        assert lines.count("line") > 10_000
        assert lines[-1].startswith("FC Invoke End RequestId: ")

    def test_a_parent_that_outlives_its_server_gets_no_more_requests(
        self, create: Callable[..., Web], boxes: Boxes
    ) -> None:
        program = read_folder("unruly")["server.py"]
        web = create(program, environmentVariables={"BEHAVIOUR": "reloader"})
        assert web.ask("GET", "/").status == 200
        answer = web.ask("GET", "/end")
        assert answer.status == 502
        message = error_of(answer.body)["errorMessage"]
        assert message.startswith("Process exited unexpectedly before completing request")
        assert web.ask("GET", "/").status == 200
