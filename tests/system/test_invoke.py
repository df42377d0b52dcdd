"""InvokeFunction through the official SDK: sizes, logs, headers, and what handlers get up to."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from support import (
    ServerProcess,
    error_of,
    invoke,
    invoke_aside,
    read_log,
    refused,
    zip_entries,
)

KIB = 1024
MIB = 1024 * KIB
LIMIT_BYTES = 32 * MIB
RUNTIMES = ("python3", "python3.9", "python3.10", "python3.12")

ECHO = "def handler(event, context):\n    return event\n"
HASH = """
import hashlib


def handler(event, context):
    return "%d %s" % (len(event), hashlib.sha256(event).hexdigest())
"""
MAKE = """
import hashlib


def handler(event, context):
    size = int(event)
    block = hashlib.sha256(b"seed").digest() * 32768
    return (block * (size // len(block) + 1))[:size]
"""

# Frames of the dialogue are 256 KiB, a socket holds about 200 KiB, bodies above 32 MiB are refused.
SIZES = (0, 1, 255 * KIB, 256 * KIB, 256 * KIB + 1, MIB, 5 * MIB + 17, LIMIT_BYTES)


def made(size_bytes: int) -> bytes:
    block = hashlib.sha256(b"seed").digest() * 32768
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


class TestSizes:
    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_an_event_of_any_size_arrives_whole(
        self, sdk: Any, deploy: Callable[..., str], size_bytes: int
    ) -> None:
        name = deploy(HASH, timeout=30)
        event = made(size_bytes)
        _, body = invoke(sdk, name, event)
        assert body.decode() == f"{size_bytes} {hashlib.sha256(event).hexdigest()}"

    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_a_result_of_any_size_arrives_whole(
        self, sdk: Any, deploy: Callable[..., str], size_bytes: int
    ) -> None:
        name = deploy(MAKE, timeout=30)
        headers, body = invoke(sdk, name, str(size_bytes).encode())
        assert headers["content-length"] == str(size_bytes)
        assert hashlib.sha256(body).digest() == hashlib.sha256(made(size_bytes)).digest()
        assert invoke(sdk, name, b"3")[1] == made(3)

    def test_a_result_above_the_limit_is_an_error_of_the_function(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(MAKE, timeout=30)
        headers, body = invoke(sdk, name, str(LIMIT_BYTES + 1).encode())
        assert headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert error_of(body)["errorType"] == "ResponseTooLarge"
        assert invoke(sdk, name, b"3")[1] == made(3)

    def test_an_event_above_the_limit_is_refused(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(ECHO)
        with refused("EntityTooLarge", 400, str(LIMIT_BYTES)):
            invoke(sdk, name, bytes(LIMIT_BYTES + 1))
        assert invoke(sdk, name, b"x")[1] == b"x"


class TestHeaders:
    def test_an_answer_has_the_documented_headers(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        headers, _ = invoke(sdk, deploy(ECHO), b"x")
        assert re.fullmatch(r"1-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{12}", headers["x-fc-request-id"])
        assert re.fullmatch(r"c-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{12}", headers["x-fc-instance-id"])
        assert float(headers["x-fc-invocation-duration"]) > 0
        assert float(headers["x-fc-max-memory-usage"]) > 1
        assert headers["x-fc-invocation-function-version"] == "LATEST"
        assert headers["content-type"] == "application/octet-stream"

    @pytest.mark.parametrize("qualifier", ["LATEST", ""])
    def test_the_qualifier_of_the_changeable_version_is_accepted(
        self, sdk: Any, deploy: Callable[..., str], qualifier: str
    ) -> None:
        assert invoke(sdk, deploy(ECHO), b"x", qualifier=qualifier)[1] == b"x"

    def test_a_qualifier_that_leads_nowhere_is_not_found(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(ECHO)
        with refused("VersionNotFound", 404, "'1'"):
            invoke(sdk, name, qualifier="1")
        with refused("AliasNotFound", 404, "'prod'"):
            invoke(sdk, name, qualifier="prod")

    @pytest.mark.parametrize("name", ["nobody", "no body", "a/b", "ü", "x" * 200])
    def test_an_unknown_function_is_not_found(self, sdk: Any, name: str) -> None:
        with refused("FunctionNotFound", 404, f"function '{name}' does not exist."):
            invoke(sdk, name)

    @pytest.mark.parametrize("value", ["Sync", "sync"])
    def test_a_synchronous_call_may_say_that_it_is_one(
        self, sdk: Any, deploy: Callable[..., str], value: str
    ) -> None:
        assert invoke(sdk, deploy(ECHO), b"x", X_Fc_Invocation_Type=value)[1] == b"x"

    def test_an_asynchronous_call_is_told_that_it_is_not_supported(
        self, sdk: Any, server: ServerProcess, deploy: Callable[..., str]
    ) -> None:
        name = deploy("def handler(event, context):\n    print('called')\n")
        with refused("NotSupported", 501, "asynchronous"):
            invoke(sdk, name, b"x", X_Fc_Invocation_Type="Async")
        assert "called" not in read_log(server, name)

    @pytest.mark.parametrize(
        ("header", "value"), [("X_Fc_Log_Type", "All"), ("X_Fc_Invocation_Type", "Later")]
    )
    def test_a_header_with_an_unknown_value_is_refused(
        self, sdk: Any, deploy: Callable[..., str], header: str, value: str
    ) -> None:
        with refused("InvalidArgument", 400, value):
            invoke(sdk, deploy(ECHO), b"x", **{header: value})

    def test_a_runtime_that_is_not_built_is_stored_and_says_so_when_called(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy({"index.js": "exports.handler = () => 1"}, runtime="nodejs20")
        with refused("NotSupported", 501, "nodejs20"):
            invoke(sdk, name)


class TestLogTail:
    def tail(self, headers: dict[str, str]) -> str:
        return base64.b64decode(headers["x-fc-log-result"], validate=True).decode()

    def test_the_tail_is_that_of_the_request_and_no_other(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy("def handler(event, context):\n    print(event.decode())\n")
        for word in ("first", "second"):
            headers, _ = invoke(sdk, name, word.encode(), X_Fc_Log_Type="Tail")
            assert word in self.tail(headers)
        assert "first" not in self.tail(headers)

    def test_a_failure_is_in_the_tail(self, sdk: Any, deploy: Callable[..., str]) -> None:
        name = deploy("def handler(event, context):\n    raise ValueError('tell me')\n")
        headers, _ = invoke(sdk, name, X_Fc_Log_Type="Tail")
        assert '"errorMessage": "tell me"' in self.tail(headers)
        assert "Error: Unhandled function error" in self.tail(headers)

    def test_the_last_words_of_a_process_that_dies_are_in_the_tail(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        code = "import os\ndef handler(event, context):\n    print('good bye')\n    os._exit(3)\n"
        headers, _ = invoke(sdk, deploy(code), X_Fc_Log_Type="Tail")
        assert "good bye" in self.tail(headers)
        assert "Process exited unexpectedly" in self.tail(headers)

    def test_a_tail_never_begins_in_the_middle_of_a_character(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        code = "def handler(event, context):\n    print('x' * int(event) + '日本' * 4000)\n"
        name = deploy(code)
        for shift in range(3):
            headers, _ = invoke(sdk, name, str(shift).encode(), X_Fc_Log_Type="Tail")
            assert "日本日本" in self.tail(headers)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_has_its_own_python_where_the_machine_has_it(
    runtime: str, server: ServerProcess, sdk: Any, deploy: Callable[..., str]
) -> None:
    code = "import sys\ndef handler(event, context):\n    return '%d.%d' % sys.version_info[:2]\n"
    _, body = invoke(sdk, deploy(code, runtime=runtime))
    line = next(line for line in server.lines if line.startswith(f"{runtime}: "))
    assert f"Python {body.decode()} " in line


def alive(sdk: Any, name: str) -> None:
    """The function still answers, on whatever instance."""
    assert invoke(sdk, name, b"well?")[1] == b"well"


WELL = "    if event == b'well?':\n        return 'well'\n"


def handler(body: str, head: str = "") -> str:
    """A handler that does what `body` says, and answers when it is asked whether it is well."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    return f"{head}\n\ndef handler(event, context):\n{WELL}{lines}"


RAISE_SIGNAL = "import os, signal; os.kill(os.getpid(), signal.{}); signal.pause()"


# The first process of a PID namespace does not get signals from inside that would end it.
class TestDyingHandlers:
    """The process ends in the middle of a request: one error, and a new instance."""

    @pytest.mark.parametrize(
        "body",
        [
            "import sys; sys.exit()",
            "import sys; sys.exit('with a message')",
            "raise SystemExit(3)",
            "raise KeyboardInterrupt",
            "import os; os._exit(0)",
            RAISE_SIGNAL.format('SIGKILL'),
            RAISE_SIGNAL.format('SIGSEGV'),
            "import os; os.abort()",
            "import ctypes; ctypes.string_at(0)",
            "import os; os.closerange(0, 65536)",
            "import sys; sys.setrecursionlimit(10**9); f = lambda n: [*map(f, [n])]; f(0)",
        ],
        ids=[
            "sys.exit", "sys.exit with text", "SystemExit", "KeyboardInterrupt", "os._exit",
            "SIGKILL", "SIGSEGV", "abort", "null pointer", "closes all", "endless recursion",
        ],
    )  # fmt: skip
    def test_the_caller_gets_one_error_and_the_next_one_an_instance(
        self, sdk: Any, deploy: Callable[..., str], body: str
    ) -> None:
        name = deploy(handler(body), timeout=2)
        alive(sdk, name)
        headers, answer = invoke(sdk, name)
        assert headers["x-fc-error-type"] == "UnhandledInvocationError"
        message = error_of(answer)
        assert message.keys() == {"errorMessage"}
        assert message["errorMessage"].startswith(
            "Process exited unexpectedly before completing request (duration: "
        )
        alive(sdk, name)


class TestPrintingHandlers:
    def test_a_flood_of_lines_is_in_the_log(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(handler("for n in range(50000): print('line', n)\nreturn 'done'"), timeout=20)
        headers, body = invoke(sdk, name)
        assert body == b"done"
        lines = read_log(server, name, headers["x-fc-request-id"])
        assert [line for line in lines if line.startswith("line ")] == [
            f"line {n}" for n in range(50000)
        ]

    def test_a_line_of_10_mb_is_cut(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(handler("print('x' * 10_000_000)\nprint('behind it')\nreturn 'done'"))
        headers, body = invoke(sdk, name)
        assert body == b"done"
        lines = read_log(server, name, headers["x-fc-request-id"])
        assert "x" * 32 * KIB in lines
        assert "behind it" in lines

    def test_what_is_no_utf_8_costs_nobody_the_answer(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        code = handler(
            "os.write(1, b'\\xff\\xfe broken\\n')\nprint('\\udc80')\nreturn 'done'", "import os"
        )
        name = deploy(code)
        headers, body = invoke(sdk, name, X_Fc_Log_Type="Tail")
        assert body == b"done"
        assert "\ufffd\ufffd broken" in read_log(server, name, headers["x-fc-request-id"])

    @pytest.mark.parametrize(
        "body",
        [
            "sys.stdout.close(); sys.stderr.close()",
            "sys.stdout = io.StringIO(); print('aside')",
            "sys.stdout = None; sys.stderr = None",
            "del sys.stdout, sys.stderr",
            "os.close(1); os.close(2)",
            "sys.stdout.detach()",
            "sys.stdout = open(os.devnull, 'w')",
            "logging.getLogger().handlers.clear()",
            "logging.shutdown(); logging.disable()",
            "logging.basicConfig(force=True, stream=io.StringIO())",
        ],
    )
    def test_a_handler_may_spoil_its_own_streams(
        self, sdk: Any, deploy: Callable[..., str], body: str
    ) -> None:
        name = deploy(handler(f"{body}\nreturn 'done'", "import io, logging, os, sys"))
        before, body = invoke(sdk, name, X_Fc_Log_Type="Tail")
        assert body == b"done"
        after, body = invoke(sdk, name, b"well?", X_Fc_Log_Type="Tail")
        assert body == b"well"
        assert after["x-fc-instance-id"] == before["x-fc-instance-id"]


class TestFailingHandlers:
    def test_a_huge_exception_is_cut(self, sdk: Any, deploy: Callable[..., str]) -> None:
        name = deploy(handler("raise ValueError('x' * 20_000_000)"), timeout=20)
        headers, body = invoke(sdk, name)
        assert headers["x-fc-error-type"] == "UnhandledInvocationError"
        error = error_of(body)
        assert error["errorType"] == "ValueError"
        assert set(error["errorMessage"]) == {"x"}
        assert len(body) < MIB
        alive(sdk, name)

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            ("f = lambda n: f(n + 1)\nf(0)", "RecursionError"),
            ("raise E", "E"),
            ("return {1, 2}", "TypeError"),
            ("a = []\na.append(a)\nreturn a", "ValueError"),
            ("assert False", "AssertionError"),
            ("raise StopIteration", "StopIteration"),
            ("raise ValueError('é \\udc80 \\0')", "ValueError"),
            ("bytearray(1 << 62)", "MemoryError"),
            ("import asyncio; asyncio.run(a_task())", "ZeroDivisionError"),
        ],
        ids=lambda value: value if value.isidentifier() else "",
    )
    def test_a_failure_has_its_type_and_the_instance_lives_on(
        self, sdk: Any, deploy: Callable[..., str], body: str, kind: str
    ) -> None:
        head = (
            "class E(Exception):\n    def __str__(self):\n        raise RuntimeError\n"
            "async def a_task():\n    1 / 0\n"
        )
        name = deploy(handler(body, head))
        before, _ = invoke(sdk, name, b"well?")
        headers, answer = invoke(sdk, name)
        assert headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert error_of(answer)["errorType"] == kind
        assert headers["x-fc-instance-id"] == before["x-fc-instance-id"]
        alive(sdk, name)

    def test_an_import_that_failed_is_tried_again(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        code = (
            "import os\nif not os.path.exists('/tmp/seen'):\n    open('/tmp/seen', 'w').close()\n"
            "    raise OSError('not yet')\ndef handler(event, context):\n    return 'now'\n"
        )
        name = deploy(code)
        _, body = invoke(sdk, name)
        assert error_of(body)["errorType"] == "UserCodeError"
        assert error_of(body)["errorMessage"] == "Module initialization error: 'not yet'"
        assert invoke(sdk, name)[1] == b"now"


class TestBusyHandlers:
    """What handlers do with processes, threads and signals."""

    def test_a_child_that_comes_back_through_the_handler_does_not_answer(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        body = (
            "pid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nreturn 'parent' if pid else 'child'"
        )
        name = deploy(handler(body, "import os"))
        for _ in range(3):
            assert invoke(sdk, name)[1] == b"parent"
        alive(sdk, name)

    def test_a_daemon_left_behind_does_not_hold_up_the_answer(
        self, server: ServerProcess, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        body = (
            "subprocess.Popen(['sh', '-c', 'echo born; sleep 1000'], start_new_session=True)\n"
            "return 'done'"
        )
        name = deploy(handler(body, "import subprocess, warnings"))
        assert invoke_aside(server, name).result(5)[1] == b"done"
        alive(sdk, name)

    @pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
    def test_multiprocessing_works(self, sdk: Any, deploy: Callable[..., str], start: str) -> None:
        body = (
            "context = multiprocessing.get_context(event.decode())\n"
            "with context.Pool(2) as pool:\n    return pool.map(square.of, range(5))"
        )
        files = {
            "index.py": handler(body, "import multiprocessing\nimport square"),
            "square.py": "def of(n):\n    return n * n\n",
        }
        name = deploy(files, timeout=30)
        assert json.loads(invoke(sdk, name, start.encode())[1]) == [0, 1, 4, 9, 16]
        alive(sdk, name)

    def test_threads_work_and_may_go_on_after_the_answer(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        body = (
            "threading.Thread(target=threading.Event().wait, daemon=False).start()\n"
            "with concurrent.futures.ThreadPoolExecutor(8) as pool:\n"
            "    return sum(pool.map(abs, range(-100, 0)))"
        )
        name = deploy(handler(body, "import concurrent.futures, threading"))
        for _ in range(2):
            assert invoke(sdk, name)[1] == b"5050"
        alive(sdk, name)

    def test_asyncio_can_be_run_in_every_request(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        head = (
            "import asyncio\nasync def later():\n    await asyncio.sleep(0.001)\n    return 'ran'"
        )
        name = deploy(handler("return asyncio.run(later())", head))
        for _ in range(3):
            assert invoke(sdk, name)[1] == b"ran"

    def test_a_handler_may_set_signal_handlers_and_use_them(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        body = (
            "seen = []\n"
            "for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGTERM, signal.SIGCHLD):\n"
            "    signal.signal(number, lambda n, frame: seen.append(n))\n"
            "    os.kill(os.getpid(), number)\n"
            "return len(seen)"
        )
        name = deploy(handler(body, "import os, signal"))
        for _ in range(2):
            assert invoke(sdk, name)[1] == b"4"

    def test_a_handler_that_ignores_sigterm_is_ended_when_its_time_is_up(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nthreading.Event().wait()"
        name = deploy(handler(body, "import signal, threading"), timeout=1)
        _, answer = invoke(sdk, name)
        assert error_of(answer)["errorMessage"].startswith("Function timed out after 1 second")
        alive(sdk, name)

    def test_a_stopped_process_is_ended_when_its_time_is_up(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        body = "subprocess.run(['sh', '-c', 'kill -STOP $PPID'])\nthreading.Event().wait()"
        name = deploy(handler(body, "import subprocess, threading"), timeout=1)
        _, answer = invoke(sdk, name)
        assert error_of(answer)["errorMessage"].startswith("Function timed out after 1 second")
        alive(sdk, name)

    def test_a_handler_may_leave_its_folder_and_lose_it(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        body = "os.mkdir('/tmp/gone'); os.chdir('/tmp/gone'); os.rmdir('/tmp/gone')\nreturn 'done'"
        name = deploy(handler(body, "import os"))
        assert invoke(sdk, name)[1] == b"done"
        alive(sdk, name)


class TestPackages:
    def test_a_vendored_package_wins_over_what_the_platform_has(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        files = {
            "index.py": handler("return [statistics.MINE, flask.MINE]", "import flask, statistics"),
            "statistics.py": "MINE = 'mine'\n",
            "flask/__init__.py": "from flask.app import MINE\n",
            "flask/app.py": "MINE = 'my flask'\n",
        }
        name = deploy(files)
        assert json.loads(invoke(sdk, name)[1]) == ["mine", "my flask"]

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_handlers_are_found_in_folders_and_packages(
        self, sdk: Any, deploy: Callable[..., str], runtime: str
    ) -> None:
        files = {
            "src/app/main.py": "from . import words\n\ndef run(e, c):\n    return words.WORD\n",
            "src/app/words.py": "WORD = 'found'\n",
            "src/app/__init__.py": "",
            "plain/main.py": "def run(event, context):\n    return __name__\n",
        }
        assert (
            invoke(sdk, deploy(files, handler="src.app.main.run", runtime=runtime))[1] == b"found"
        )
        assert invoke(sdk, deploy(files, handler="plain/main.run", runtime=runtime))[1] != b""

    def test_executables_and_links_of_the_package_work(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        package = zip_entries(
            [
                (
                    "index.py",
                    0o100644,
                    handler("return subprocess.check_output(['./run'])", "import subprocess"),
                ),
                ("bin/tool", 0o100755, "#!/bin/sh\necho tool of $(basename $0)\n"),
                ("run", 0o120777, "bin/tool"),
            ]
        )
        name = deploy("", code={"zipFile": package})
        assert invoke(sdk, name)[1] == b"tool of run\n"

    def test_an_object_may_be_the_handler(self, sdk: Any, deploy: Callable[..., str]) -> None:
        code = "class App:\n    def __call__(self, e, c):\n        return e.upper()\napp = App()\n"
        assert invoke(sdk, deploy(code, handler="index.app"), b"abc")[1] == b"ABC"
