"""The program inside the sandbox, driven over a real socket pair on every interpreter found.

Starts processes, unlike other unit tests: what is tested is another program. One module, because
every promise is checked on the same fixture; calls of WSGI handlers are in test_wsgi.
"""

import ast
import hashlib
import os
import re
import resource
import signal
import socket
import struct
import sys
import time
from pathlib import Path

import pytest
from driven import (
    BOOTSTRAP,
    FRAME_BYTES,
    PRESENT,
    RID,
    USED,
    VERSIONS,
    Start,
    wait_for,
)

MIB = 1024 * 1024
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.mark.parametrize("version", VERSIONS)
def test_this_machine_has_a_python_of_each_version(version: str) -> None:
    if version not in PRESENT:
        pytest.skip(f"there is no python{version} here, so all of this file went without it")
    if version not in USED:
        pytest.skip(f"python{version} was left to `make test-pythons`")


# --- calling -------------------------------------------------------------------------------------


def test_the_event_is_exactly_the_bytes_that_were_sent(start: Start) -> None:
    instance = start("def handler(event, context):\n    return repr((type(event), event))")
    assert instance.call(b"\x00\xff").body == rb"(<class 'bytes'>, b'\x00\xff')"
    assert instance.call(b"").body == rb"(<class 'bytes'>, b'')"


def test_a_large_event_arrives_whole_however_it_is_cut(start: Start) -> None:
    instance = start(
        "import hashlib\n"
        "def handler(event, context):\n"
        "    status = open('/proc/self/status').read()\n"
        "    peak_kib = int(status.partition('VmHWM:')[2].split()[0])\n"
        "    return [hashlib.sha1(event).hexdigest(), peak_kib]"
    )
    event = os.urandom(32 * MIB)
    for first_bytes in (0, 1000, MIB - 1000):
        digest, peak_kib = instance.value(event, first_bytes=first_bytes)
        assert digest == hashlib.sha1(event).hexdigest()
        assert peak_kib < 80 * 1024, "the event was in memory twice"


def test_a_large_result_arrives_whole_in_small_frames(start: Start) -> None:
    instance = start(
        "def handler(event, context):\n    return bytes(range(256)) * (int(event) // 256)"
    )
    for size in (0, 256 * 1024, 256 * 1024 - 256, 32 * MIB):
        answer = instance.call(b"%d" % size)
        assert answer.body == bytes(range(256)) * (size // 256)
        assert answer.largest_frame <= FRAME_BYTES


def test_a_result_over_the_limit_is_an_error_that_says_so(start: Start) -> None:
    instance = start("def handler(event, context):\n    return bytes(32 * 1024 * 1024 + 1)")
    raised = instance.call().raised
    assert raised["errorType"] == "ResponseTooLarge"
    assert "33554433" in raised["errorMessage"]
    assert "33554432" in raised["errorMessage"]


def test_module_state_survives_and_requests_follow_each_other(start: Start) -> None:
    instance = start(
        "count = 0\n"
        "def handler(event, context):\n    global count\n    count += 1\n    return count"
    )
    assert [instance.value() for _ in range(3)] == [1, 2, 3]


def test_the_peak_memory_is_reported_in_kib(start: Start) -> None:
    instance = start("def handler(event, context):\n    x = b'x' * (400 << 20)\n    return 'done'")
    # A process started by exec inherits the peak of the one that started it, the test runner.
    least = max(400 * 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert least <= instance.call().peak_kib < least + 100 * 1024


def test_nothing_of_a_request_is_kept_after_its_answer(start: Start) -> None:
    instance = start(
        "def handler(event, context):\n"
        "    pages = int(open('/proc/self/statm').read().split()[1])\n"
        "    return event if len(event) > 10 else str(pages * 4096)"
    )
    before = int(instance.call().body)
    instance.call(bytes(32 * MIB))
    assert int(instance.call().body) - before < 16 * MIB


# --- results -------------------------------------------------------------------------------------

RESULTS = {
    "b'\\xff\\x00'": b"\xff\x00",
    "bytearray(b'ab')": b"ab",
    "memoryview(b'ab')": b"ab",
    "'v\\xe4lue'": "välue".encode(),
    "'\\udcff'": b"\xff",
    "None": b"null",
    "{'b': 1, 'a': '\\xe4'}": b'{\n    "a": "\\u00e4",\n    "b": 1\n}',
    "[]": b"[]",
    "decimal.Decimal('1.5')": b"1.5",
    "datetime.date(2020, 2, 3)": b'"2020-02-03"',
    "datetime.datetime(2020, 2, 3, 4, 5)": b'"2020-02-03T04:05:00"',
    "Own()": b'{\n    "own": 1\n}',
}


def test_results_are_converted_as_documented(start: Start) -> None:
    instance = start(
        "import datetime, decimal\n"
        "class Own:\n    def to_json(self):\n        return {'own': 1}\n"
        "def handler(event, context):\n    return eval(event.decode())"
    )
    for expression, body in RESULTS.items():
        assert instance.call(expression.encode())[:2] == (b"R", body)


@pytest.mark.parametrize("expression", ["object()", "{1: 2, 'a': 3}", "coroutine()"])
def test_a_result_that_json_does_not_know_is_a_type_error(start: Start, expression: str) -> None:
    instance = start(
        f"async def coroutine(): pass\ndef handler(event, context):\n    return {expression}"
    )
    assert instance.call().raised["errorType"] == "TypeError"


@pytest.mark.parametrize("expression", ["{'a': {1, 2}}", "{1: 2, 'a': 3}", "endless()"])
def test_a_result_that_json_cannot_hold_has_no_stack(start: Start, expression: str) -> None:
    instance = start(
        "def endless():\n    nested = []\n    nested.append({'a': nested})\n    return nested\n"
        f"def handler(event, context):\n    return {expression}"
    )
    raised = instance.call().raised
    assert raised.keys() == {"errorMessage", "errorType"}
    assert "json" not in instance.log


def test_of_a_to_json_that_fails_the_stack_begins_with_it(start: Start) -> None:
    instance = start(
        "import json\n"
        "class Own:\n    def to_json(self):\n        return helper()\n"
        "def helper():\n    raise KeyError('x')\n"
        "def handler(event, context):\n    return [Own()]"
    )
    raised = instance.call().raised
    assert (raised["errorType"], raised["errorMessage"]) == ("KeyError", "'x'")
    assert [frame[2] for frame in raised["stackTrace"]] == ["in to_json", "in helper"]


def test_text_that_has_no_bytes_and_endless_structures_are_errors(start: Start) -> None:
    instance = start(
        "def handler(event, context):\n"
        "    if event == b'surrogate':\n        return '\\ud800'\n"
        "    nested = []\n    nested.append(nested)\n    return nested"
    )
    assert instance.call(b"surrogate").raised["errorType"] == "UnicodeEncodeError"
    assert instance.call(b"nested").raised["errorType"] == "ValueError"


# --- errors --------------------------------------------------------------------------------------


def test_an_exception_is_described_with_the_frames_of_user_code(start: Start) -> None:
    instance = start(
        "def my_handler(event, context):\n    raise Exception('something is wrong')",
        handler="index.my_handler",
    )
    answer = instance.call()
    assert answer.raised == {
        "errorMessage": "something is wrong",
        "errorType": "Exception",
        "stackTrace": [
            [
                'File "/code/index.py"',
                "line 2",
                "in my_handler",
                "raise Exception('something is wrong')",
            ]
        ],
    }
    assert answer.body.startswith(b'{\n    "errorMessage": "something is wrong",\n    "errorType"')


def test_the_type_is_the_class_and_the_frames_are_oldest_first(start: Start) -> None:
    instance = start(
        "class MyErr(ValueError): pass\n"
        "def inner():\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n"
        "        raise MyErr('a, b') from e\n"
        "def handler(event, context):\n    inner()"
    )
    raised = instance.call().raised
    assert raised["errorType"] == "MyErr"
    assert raised["errorMessage"] == "a, b"
    assert [frame[2] for frame in raised["stackTrace"]] == ["in handler", "in inner"]
    assert all(len(frame) == 4 for frame in raised["stackTrace"])


def test_a_call_that_fails_before_user_code_runs_has_no_stack(start: Start) -> None:
    instance = start("def handler():\n    return 1")
    raised = instance.call().raised
    assert raised["errorType"] == "TypeError"
    assert "stackTrace" not in raised


def test_odd_exceptions_are_described_all_the_same(start: Start) -> None:
    instance = start(
        "class Unprintable(Exception):\n    def __str__(self):\n        raise ValueError\n"
        "def recurse():\n    return recurse()\n"
        "def handler(event, context):\n"
        "    if event == b'unprintable':\n        raise Unprintable()\n"
        "    if event == b'recursion':\n        recurse()\n"
        "    if event == b'memory':\n        return b'x' * (1 << 62)\n"
        "    if event == b'huge':\n        raise Exception('\\U0001f600' * (1 << 22))\n"
        "    if event == b'surrogate':\n        raise Exception('\\ud800')\n"
        "    return 'alive'"
    )
    assert (
        instance.call(b"unprintable").raised["errorMessage"] == "<unprintable Unprintable object>"
    )
    recursion = instance.call(b"recursion").raised
    assert recursion["errorType"] == "RecursionError"
    assert len(recursion["stackTrace"]) <= 100
    assert instance.call(b"memory").raised["errorType"] == "MemoryError"
    assert len(instance.call(b"huge").body) <= MIB
    assert instance.call(b"surrogate").raised["errorMessage"] == "\ud800"
    assert instance.call().body == b"alive"


def test_a_description_stays_small_with_endless_lines_of_source(start: Start) -> None:
    instance = start(
        "def handler(event, context):\n    return handler(event, " + "context or " * 10000 + "0)"
    )
    assert len(instance.call().body) <= MIB


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("exit(4)", 4),
        ("os._exit(5)", 5),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_what_ends_the_process_ends_it(start: Start, statement: str, status: int) -> None:
    instance = start(
        "import os, sys\ndef handler(event, context):\n"
        f"    sys.stdout.write('last words')\n    {statement}"
    )
    instance.send(b"I", b"", 0)
    assert instance.status() == status
    assert instance.log.endswith("last words")


def test_a_failure_is_logged_before_it_is_answered(start: Start) -> None:
    instance = start("def handler(event, context):\n    raise Exception('50% wrong')")
    body = instance.call().body.decode()
    assert re.search(f"^{STAMP} {RID} \\[ERROR\\] {re.escape(body)}$", instance.log, re.MULTILINE)


# --- loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "path"),
    [
        ("pkg/mod.fn", "pkg/mod.py"),
        ("a.b.fn", "a/b.py"),
        ("./main.fn", "main.py"),
        ("my-dir/in.fn", "my-dir/in.py"),
        ("v1.0/index.fn", "v1.0/index.py"),
        ("test/index.fn", "test/index.py"),
        ("json.fn", "json.py"),
        ("math.fn", "math.py"),
        ("time.fn", "time.py"),
        ("queue.fn", "queue.py"),
        ("bootstrap.fn", "bootstrap.py"),
        ("context.fn", "context.py"),
        ("__main__.fn", "__main__.py"),
        ("whole.fn", "whole/__init__.py"),
    ],
)
def test_handlers_are_found_by_path_and_by_dots(start: Start, handler: str, path: str) -> None:
    source = "import json, pickle\ncalls = 0\nclass Own: pass\n"
    source += "def fn(*args):\n    global calls\n    calls += 1\n    return [__file__, calls]\n"
    instance = start("", {path: source}, handler=handler, initializer=handler)
    assert instance.call(kind=b"N").kind == b"R"
    assert instance.value() == [str(instance.code / path), 2]


def test_a_package_may_import_from_itself_and_its_siblings(start: Start) -> None:
    instance = start(
        "",
        {
            "pkg/__init__.py": "",
            "pkg/mod.py": "from . import other\nfrom .other import value\nimport top\n"
            "def fn(event, context):\n    return [value, other.value, top.value]",
            "pkg/other.py": "value = 1",
            "top.py": "value = 2",
        },
        handler="pkg.mod.fn",
    )
    assert instance.value() == [1, 1, 2]


def test_user_modules_win_over_what_only_the_zygote_wanted(start: Start) -> None:
    instance = start(
        "import secrets, email, context, frames, json, queue\n"
        "def handler(event, context_):\n"
        "    return [secrets.key, email.key, context.key, frames.key, json.dumps(1), "
        "queue.Queue.__module__]",
        {
            "secrets.py": "key = 1",
            "email/__init__.py": "key = 2",
            "context.py": "key = 3",
            "frames.py": "key = 4",
            "queue/notes.txt": "a folder of another kind",
        },
    )
    assert instance.value() == [1, 2, 3, 4, "1", "queue"]


def test_the_bootstrap_cannot_be_imported_by_accident(start: Start) -> None:
    instance = start(
        "import sys, importlib\n"
        "def handler(event, context):\n"
        "    found = []\n"
        "    for name in event.decode().split():\n"
        "        try:\n            importlib.import_module(name)\n"
        "        except ImportError:\n            continue\n"
        "        found.append(name)\n"
        "    return found"
    )
    names = [path.stem for path in BOOTSTRAP.glob("*.py")] + ["jail"]
    assert instance.value(" ".join(names).encode()) == []


def test_a_missing_import_is_named(start: Start) -> None:
    instance = start("import not_exist_module")
    assert instance.call().raised == {
        "errorType": "ImportModuleError",
        "errorMessage": "Unable to import module 'index'",
        "stackTrace": ["ModuleNotFoundError: No module named 'not_exist_module'"],
    }


@pytest.mark.parametrize(
    ("index", "advised"),
    [
        ("import preinstalled_one\n", True),
        ("def handler(event, context):\n    import preinstalled_one", True),
        ("import preinstalled_one.part\n", True),
        ("import not_exist_module\n", False),
        ("import json.preinstalled_one\n", False),
    ],
)
def test_the_log_says_how_to_get_a_module_that_the_cloud_brings(
    start: Start, index: str, advised: bool
) -> None:
    instance = start(index, preinstalled=["preinstalled_one"])
    kind = "ImportModuleError" if index.startswith("import") else "ModuleNotFoundError"
    assert instance.call().raised["errorType"] == kind
    assert ("run: anyfc modules python3.10" in instance.log) == advised


LOAD_ERRORS = {
    "nowhere.fn": ("ImportModuleError", "Unable to import module 'nowhere'"),
    "dir/nowhere.fn": ("ImportModuleError", "Unable to import module 'dir/nowhere'"),
    "broken.fn": ("UserCodeSyntaxError", "Syntax error in module 'broken'"),
    "index": ("InvalidHandleName", "Invalid handler 'index'"),
    ".fn": ("InvalidHandleName", "Invalid handler '.fn'"),
    "": ("InvalidHandleName", "Invalid handler ''"),
    "raises.fn": ("UserCodeError", "Module initialization error: 'too early'"),
    "index.nope": ("HandlerNotFound", "Handler 'nope' is missing on module 'index'"),
}


@pytest.mark.parametrize("handler", LOAD_ERRORS)
def test_a_handler_that_cannot_be_loaded_is_an_error(start: Start, handler: str) -> None:
    files = {"broken.py": "x = 1\ndef (:\n", "raises.py": "raise ValueError('too early')"}
    instance = start("x = 1", files, handler=handler)
    raised = instance.call().raised
    assert (raised["errorType"], raised["errorMessage"]) == LOAD_ERRORS[handler]
    assert all(isinstance(line, str) for line in raised.get("stackTrace", []))
    if handler == "broken.fn":
        assert '  File "/code/broken.py", line 2' in raised["stackTrace"]
    if handler == "raises.fn":
        assert raised["stackTrace"][-1] == "ValueError: too early"
        assert 'File "/code/raises.py", line 1, in <module>' in raised["stackTrace"]


@pytest.mark.parametrize("handler", ["index.handler", "json.handler", "test/index.handler"])
def test_a_failed_load_is_tried_again(start: Start, handler: str) -> None:
    source = (
        "import os\n"
        "if not os.path.exists('ready'):\n    open('ready', 'w').close()\n    raise OSError('no')\n"
        "def handler(event, context):\n    return 'loaded'"
    )
    path = handler.rpartition(".")[0] + ".py"
    instance = start("", {path: source}, handler=handler)
    assert instance.call().raised["errorType"] == "UserCodeError"
    assert instance.call().body == b"loaded"


def test_loading_happens_in_the_first_request_and_once(start: Start) -> None:
    instance = start("print('loading')\ndef handler(event, context):\n    return 1")
    assert "loading" not in instance.log
    instance.value()
    instance.value()
    assert instance.log.count("loading") == 1


def test_code_comes_before_layers_and_layers_before_the_interpreter(
    start: Start, tmp_path: Path
) -> None:
    instance = start(
        "import sys\ndef handler(event, context):\n    return sys.path",
        environment={"PYTHONPATH": f"/mine{os.pathsep}"},
        modules="/var/fc/modules",
    )
    path = instance.value()
    declared = "/opt/python/lib/python3.10/site-packages"
    assert path[:2] == [str(instance.code), declared]
    assert path.index(declared) < path.index("/opt/python") < path.index("/mine")
    standard = [i for i, entry in enumerate(path) if entry.endswith("lib-dynload")]
    assert path.index("/mine") < standard[0] < path.index("/var/fc/modules") == len(path) - 1
    assert not [entry for entry in path if str(BOOTSTRAP.parent) in entry]


# --- hooks ---------------------------------------------------------------------------------------


def test_hooks_get_the_context_alone_and_their_result_is_dropped(start: Start) -> None:
    instance = start(
        "calls = []\n"
        "def initialize(context):\n    calls.append('in ' + context.request_id)\n    return 'x'\n"
        "def freeze(context):\n    calls.append('freeze ' + context.request_id)\n    return 'x'\n"
        "def stop(context):\n    print('stop ' + context.request_id)\n    return object()\n"
        "def handler(event, context):\n    return calls"
    )
    assert instance.call(kind=b"N", request_id="init")[:2] == (b"R", b"")
    assert instance.value() == ["in init"]
    assert instance.call(kind=b"F", request_id="cold")[:2] == (b"R", b"")
    assert instance.value() == ["in init", "freeze cold"]
    assert instance.call(kind=b"S", request_id="last")[:2] == (b"R", b"")
    assert "stop last\n" in instance.log


def test_a_hook_that_fails_is_described_like_a_handler(start: Start) -> None:
    instance = start("def initialize(context):\n    raise KeyError('table')")
    raised = instance.call(kind=b"N").raised
    assert (raised["errorType"], raised["errorMessage"]) == ("KeyError", "'table'")
    for kind in (b"F", b"S"):
        assert instance.call(kind=kind).raised["errorType"] == "HandlerNotFound"


# --- the context ---------------------------------------------------------------------------------

CONTEXT = """
def look(context, path):
    for name in path.split('.'):
        context = getattr(context, name, 'nothing')
    return context
def handler(event, context):
    return {path: look(context, path) for path in event.decode().split()}
"""


def test_the_context_holds_what_was_configured(start: Start) -> None:
    instance = start(CONTEXT)
    expected = {
        "request_id": RID,
        "requestId": RID,
        "function.name": "resize",
        "function.handler": "index.handler",
        "function.memory": 512,
        "function.timeout": 3,
        "function.version_id": "7",
        "function.qualifier": "prod",
        "service.name": "",
        "service.log_project": "project",
        "service.log_store": "store",
        "service.version_id": "7",
        "service.qualifier": "prod",
        "log_project": "project",
        "log_store": "store",
        "region": "cn-hangzhou",
        "account_id": "123456789012345",
        "credentials.access_key_id": "ID",
        "credentials.access_key_secret": "SECRET",
        "credentials.security_token": "",
        "credentials.accessKeyId": "ID",
        "credentials.accessKeySecret": "SECRET",
        "credentials.securityToken": "",
        "tracing.span_context": "",
        "tracing.jaeger_endpoint": "",
        "tracing.span_baggages": {},
        "retry_count": 0,
    }
    assert instance.value(" ".join(expected).encode()) == expected


def test_the_context_of_python_3_12_has_no_credentials_service_and_tracing(start: Start) -> None:
    instance = start(CONTEXT, runtime="python3.12")
    expected = {
        "credentials": "nothing",
        "service": "nothing",
        "tracing": "nothing",
        "function.version_id": "7",
        "function.qualifier": "prod",
        "log_project": "project",
        "request_id": RID,
    }
    event = " ".join(expected).encode()
    assert instance.value(event, credentials={"access_key_id": "NEW"}) == expected


def test_credentials_and_tracing_follow_the_request(start: Start) -> None:
    instance = start(CONTEXT)
    event = b"credentials.access_key_id request_id retry_count tracing.span_baggages"
    first = instance.value(
        event,
        request_id="first",
        retry_count=2,
        credentials={"access_key_id": "NEW", "access_key_secret": None},
        tracing={"span_context": "s", "span_baggages": "eyJhIjogMX0="},
    )
    assert list(first.values()) == ["NEW", "first", 2, {"a": 1}]
    second = instance.value(event, request_id="second", tracing={"span_baggages": "%%%"})
    assert list(second.values()) == ["NEW", "second", 0, {}]


def test_credentials_are_not_printed_with_the_context(start: Start) -> None:
    instance = start("def handler(event, context):\n    print(context, context.credentials)")
    instance.call()
    assert "SECRET" not in instance.log


# --- the environment -----------------------------------------------------------------------------


def test_the_environment_is_the_functions_and_platform_variables_are_scrubbed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_SECRET", "x")
    given = {
        "BUCKET_NAME": "MY_BUCKET",
        "FC_REGION": "cn-hangzhou",
        "FC_VER_ID": "7",
        "FC_FUNCTION_VERSION": "7",
        "FC_RUNTIME_API": "x",
        "_FC_LOCAL": "x",
        "FC_CUSTOM_LISTEN_PORT": "9000",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "ID",
        "PATH": "/bin",
    }
    source = (
        "import os, subprocess\ndef handler(event, context):\n"
        "    assert b'BUCKET_NAME=MY_BUCKET' in subprocess.check_output('/usr/bin/env')\n"
        "    return dict(os.environ)"
    )
    hidden = {"FC_RUNTIME_API", "_FC_LOCAL", "FC_CUSTOM_LISTEN_PORT"}
    seen = start(source, environment=given).value()
    assert seen.keys() == given.keys() - hidden - {"FC_FUNCTION_VERSION"} | {"TZ"}
    seen = start(source, environment=given, runtime="python3.12").value()
    assert seen.keys() == given.keys() - hidden | {"TZ"}


@pytest.mark.parametrize(("zone", "hour"), [(None, 0), ("Asia/Shanghai", 8)])
def test_local_time_is_utc_unless_tz_says_otherwise(
    start: Start, zone: str | None, hour: int
) -> None:
    instance = start(
        "import time\ndef handler(event, context):\n    return time.localtime(0).tm_hour",
        environment={"TZ": zone} if zone else {},
    )
    assert instance.value() == hour


def test_the_interpreter_looks_as_if_started_for_the_function(start: Start) -> None:
    instance = start(
        "import os, sys, warnings\n"
        "warnings.warn('old')\n"
        "def handler(event, context):\n"
        "    return [len(sys.argv), sys.stdin.read(), sys.stdout.encoding, sys.stdout.errors,\n"
        "            sys.stderr.encoding, sys.stdout is sys.__stdout__, os.getcwd(),\n"
        "            callable(exit), sys.stdout.name, sys.stdout.mode, sys.stdout.fileno()]"
    )
    expected = [1, "", "utf-8", "surrogateescape", "utf-8", True, str(instance.code), True]
    expected += ["<stdout>", "w", 1]
    assert instance.value() == expected
    assert "old" not in instance.log


def test_spawned_processes_can_use_the_functions_modules(start: Start) -> None:
    instance = start(
        "import multiprocessing\n"
        "def double(n):\n    return 2 * n\n"
        "def handler(event, context):\n"
        "    with multiprocessing.get_context(event.decode()).Pool(1) as pool:\n"
        "        return pool.map(double, [1, 2])"
    )
    assert instance.value(b"spawn") == [2, 4]
    assert instance.value(b"fork") == [2, 4]


# --- logging -------------------------------------------------------------------------------------


def test_the_boot_line_comes_first_and_output_is_unchanged(start: Start) -> None:
    instance = start(
        "import os, sys, subprocess\n"
        "def handler(event, context):\n"
        "    print('hello world')\n"
        "    sys.stderr.write('half')\n"
        "    os.write(2, b'+half\\n')\n"
        "    print('\\u4f60\\udcff')\n"
        "    subprocess.check_call(['echo', 'child'])\n"
        "    sys.stdout.buffer.write(b'raw\\n')\n"
    )
    instance.call()
    assert instance.log == (
        "FunctionCompute python3 runtime inited.\n"
        "hello world\nhalf+half\n\u4f60\udcff\nchild\nraw\n"
    )


def test_log_lines_carry_time_request_id_and_level(start: Start) -> None:
    instance = start(
        "import logging\nlogging.basicConfig(level=logging.DEBUG, format='other')\n"
        "def handler(event, context):\n"
        "    logging.getLogger().info('hello %s', 'world')\n"
        "    logging.getLogger().debug('dropped')\n"
        "    logging.getLogger('mine').warning('named')\n"
        "    context.getLogger().info('old')\n"
        "    context.logger.error('new')\n",
        environment={"TZ": "Asia/Shanghai"},
    )
    instance.call(request_id="r1")
    instance.call(request_id="r2")
    lines = instance.log.splitlines()[1:]
    expected = ["[INFO] hello world", "[WARNING] named", "[INFO] old", "[ERROR] new"]
    assert len(lines) == 8
    for line, rid, rest in zip(lines, ["r1"] * 4 + ["r2"] * 4, expected * 2, strict=True):
        assert re.fullmatch(f"{STAMP} {rid} {re.escape(rest)}", line), line
    written = time.mktime(time.strptime(lines[0][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(time.time() - written) < 3600, "log lines are in UTC"


def test_user_code_may_lower_the_level_and_bring_its_own_handlers(start: Start) -> None:
    instance = start(
        "import logging, sys\n"
        "def handler(event, context):\n"
        "    root = logging.getLogger()\n"
        "    root.setLevel('DEBUG')\n"
        "    root.debug('lowered')\n"
        "    root.handlers[0].setFormatter(logging.Formatter('mine %(message)s'))\n"
        "    root.info('formatted')\n"
        "    for handler in list(root.handlers):\n        root.removeHandler(handler)\n"
        "    logging.basicConfig(format='basic %(message)s', stream=sys.stdout)\n"
        "    root.info('configured')\n"
        "    raise Exception('failed')"
    )
    assert instance.call().raised["errorMessage"] == "failed"
    assert "[DEBUG] lowered\nmine formatted\nbasic configured\nbasic {" in instance.log


@pytest.mark.parametrize(
    "statement",
    [
        "sys.stdout.close(); sys.stderr.close()",
        "sys.stdout = sys.stderr = None",
        "sys.stdout = io.StringIO()",
        "sys.stdout = object()",
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf8')",
        "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf8')",
        "os.close(1); os.close(2)",
        "logging.getLogger().handlers.clear()",
        "logging.getLogger().addHandler(Failing())",
        "logging.disable(logging.CRITICAL); logging.shutdown()",
        "os.chdir('/')",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "json.dumps = json.loads = json.JSONEncoder.default = None",
        "socket.setdefaulttimeout(0.001)",
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "sys.setrecursionlimit(60)",
        "os.environ.clear()",
        "sys.path.clear()",
        "sys.modules.pop('logging')",
    ],
)
def test_what_user_code_does_to_its_process_does_not_stop_the_dialogue(
    start: Start, statement: str
) -> None:
    instance = start(
        "import io, json, logging, os, signal, socket, sys, threading\n"
        "class Failing(logging.Handler):\n    def emit(self, record):\n        raise OSError\n"
        "def handler(event, context):\n"
        "    if event == b'do':\n        " + statement + "\n        raise Exception('done')\n"
        "    return 'alive'"
    )
    assert instance.call(b"do").raised["errorMessage"] == "done"
    assert instance.call().body == b"alive"


def test_a_replaced_stdout_is_flushed_before_the_answer(start: Start) -> None:
    instance = start(
        "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf8')\n"
        "def handler(event, context):\n    print('buffered')"
    )
    instance.call()
    assert instance.log.endswith("buffered\n")


# --- processes, signals, the end -----------------------------------------------------------------


@pytest.mark.parametrize("ending", ["return 'child'", "raise Exception('child')", "sys.exit(0)"])
def test_a_forked_child_never_answers(start: Start, ending: str) -> None:
    instance = start(
        "import os, sys\n"
        "def handler(event, context):\n"
        "    pid = os.fork()\n"
        f"    if pid == 0:\n        {ending}\n"
        "    return [os.waitpid(pid, 0)[1] >> 8]"
    )
    assert instance.value() == [1 if "raise" in ending else 0]
    assert instance.value() == [1 if "raise" in ending else 0]
    assert "[ERROR]" not in instance.log


def test_a_forked_child_dies_of_sigterm_like_any_process(start: Start) -> None:
    instance = start(
        "import multiprocessing, time\n"
        "def handler(event, context):\n"
        "    process = multiprocessing.get_context('fork').Process(target=time.sleep, args=[60])\n"
        "    process.start()\n    process.terminate()\n    process.join()\n"
        "    return process.exitcode"
    )
    assert instance.value() == -signal.SIGTERM
    assert "Dumping" not in instance.log


def test_a_timeout_logs_the_stacks_of_all_threads(start: Start) -> None:
    instance = start(
        "import threading, time\n"
        "def wait_in_thread(started):\n    started.set()\n    time.sleep(60)\n"
        "def handler(event, context):\n"
        "    started = threading.Event()\n"
        "    threading.Thread(target=wait_in_thread, args=[started], daemon=True).start()\n"
        "    started.wait()\n"
        "    print('waiting')\n"
        "    time.sleep(60)"
    )
    instance.send(b"I", b"", 0)
    wait_for(lambda: "waiting" in instance.log)
    instance.process.send_signal(signal.SIGTERM)
    assert instance.status() == 143
    log = instance.log
    head = f"{STAMP} {RID} \\[ERROR\\]"
    assert re.search(f"^{head} Dumping stack trace after function timeout$", log, re.MULTILINE)
    threads = re.findall(f"^{head} request id = {{{RID}}}, thread id = {{(\\d+)}}$", log, re.M)
    assert len(set(threads)) == 2
    assert '  File "/code/index.py", line 10, in handler\n    time.sleep(60)\n' in log
    assert '  File "/code/index.py", line 4, in wait_in_thread\n    time.sleep(60)\n' in log
    assert "bootstrap.py" not in log
    assert "bootstrap_driver.py" not in log


def test_a_timeout_of_the_initializer_or_an_import_logs_stacks_too(start: Start) -> None:
    instance = start("import time\nprint('waiting')\ntime.sleep(60)")
    instance.send(b"N", b"", 0)
    wait_for(lambda: "waiting" in instance.log)
    instance.process.send_signal(signal.SIGTERM)
    assert instance.status() == 143
    assert 'File "/code/index.py", line 3, in <module>' in instance.log


@pytest.mark.parametrize("calls", [0, 1])
def test_sigterm_between_requests_ends_the_process_quietly(start: Start, calls: int) -> None:
    instance = start("def handler(event, context):\n    return 1")
    for _ in range(calls):
        instance.value()
    instance.process.send_signal(signal.SIGTERM)
    assert instance.status() == 143
    assert instance.log == "FunctionCompute python3 runtime inited.\n"


def test_the_process_ends_when_the_server_closes_its_end(start: Start) -> None:
    instance = start("def handler(event, context):\n    return 1")
    instance.value()
    instance.socket.shutdown(socket.SHUT_WR)
    assert instance.status() == 0
    assert "Traceback" not in instance.log


def test_the_process_ends_when_an_event_breaks_off(start: Start) -> None:
    instance = start("def handler(event, context):\n    return 1")
    instance.send(b"I", bytes(1000), 1000)
    instance.frame()
    instance.socket.sendall(struct.pack(">cIQI", b"I", 14, 5000, 2) + b"{}")
    instance.socket.shutdown(socket.SHUT_WR)
    assert instance.status() == 0


def test_the_process_ends_when_user_code_closes_the_channel(start: Start) -> None:
    instance = start("import os\ndef handler(event, context):\n    os.closerange(3, 5000)")
    instance.send(b"I", b"", 0)
    assert instance.status() == 0
    assert "Traceback" not in instance.log


def test_the_channel_is_out_of_the_way_and_not_inherited(start: Start) -> None:
    instance = start(
        "import os, subprocess\n"
        "def handler(event, context):\n"
        "    os.closerange(3, 900)\n"
        "    return subprocess.check_output(['ls', '/proc/self/fd'], close_fds=False)"
    )
    assert [int(number) for number in instance.call().body.split() if int(number) > 900] == []


# --- the program itself --------------------------------------------------------------------------


def test_the_bootstrap_is_written_in_python_3_6() -> None:
    for path in BOOTSTRAP.glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 6))


def test_the_bootstrap_imports_the_standard_library_alone() -> None:
    siblings = {path.stem for path in BOOTSTRAP.parent.rglob("*.py")}
    for path in BOOTSTRAP.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = {(node.module or "").partition(".")[0]}
            else:
                continue
            assert names <= sys.stdlib_module_names | siblings, path
