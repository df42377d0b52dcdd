"""What tests work with: a real server in a process, the official SDK, a watch for leaks."""

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

READY_WITHIN_S = 30.0
GONE_WITHIN_S = 20.0
KEY = ("test-key", "test-secret")

T = TypeVar("T")


class ServerProcess:
    """`anyfc serve` as a child process, on a free port."""

    def __init__(self, data_dir: Path, *arguments: str, env: Mapping[str, str] | None = None):
        self.data_dir = data_dir
        self.lines: list[str] = []
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANYFC_")}
        environment |= {"ANYFC_ACCESS_KEY_ID": KEY[0], "ANYFC_ACCESS_KEY_SECRET": KEY[1]}
        command = [sys.executable, "-m", "anyfc", "serve", "--data-dir", str(data_dir)]
        if "--port" not in arguments:
            command += ["--port", "0"]
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment | dict(env or {}),
            text=True,
            process_group=0,
        )
        self._ready = threading.Event()
        self.endpoint = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(READY_WITHIN_S) or not self.endpoint:
            self.kill()
            raise AssertionError("the server did not get ready:\n" + "".join(self.lines))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("ready "):
                self.endpoint = line.split()[1]
                self._ready.set()
        self._ready.set()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def interrupt(self) -> None:
        """Do what Ctrl-C in a terminal does: tell the whole process group."""
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        """Have it drain."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Drain with SIGTERM; return the exit code."""
        if self.process.poll() is None:
            self.terminate()
        return self.wait()

    def kill(self) -> int:
        if self.process.poll() is None:
            self.process.kill()
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends by itself; return the exit code."""
        code = self.process.wait(GONE_WITHIN_S)
        self._reader.join(GONE_WITHIN_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        with suppress(OSError):  # it has just ended
            for thread in os.listdir(f"/proc/{pid}/task"):
                children = _children(Path(f"/proc/{pid}/task/{thread}"))
                waiting += children - found
                found |= children
    return found


def _children(thread: Path) -> set[int]:
    try:
        return {int(word) for word in (thread / "children").read_text().split()}
    except OSError:  # it has just ended
        return set()


def wait_until(condition: Callable[[], Any], within_s: float = 10.0) -> Any:
    """Return what a condition gives as soon as it is true; fail when that takes too long."""
    give_up = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < give_up, f"not within {within_s:g} s"
        time.sleep(0.01)
    return value


def leftovers(server: ServerProcess, processes: set[int]) -> list[str]:
    """What a stopped server has left behind on the machine."""
    found = [f"process {pid}" for pid in processes if Path(f"/proc/{pid}").exists()]
    mounts = Path("/proc/self/mounts").read_text()
    found += [line for line in mounts.splitlines() if str(server.data_dir) in line]
    run = server.data_dir / "run"
    found += [str(path) for path in run.rglob("*") if path.name != "sandbox"]
    return found


def make_sdk(server: ServerProcess, **settings: Any) -> Any:
    """The unmodified official SDK, pointed at a server."""
    from alibabacloud_fc20230330.client import Client
    from alibabacloud_tea_openapi.models import Config

    given = {
        "access_key_id": KEY[0],
        "access_key_secret": KEY[1],
        "endpoint": f"127.0.0.1:{server.port}",
        "protocol": "http",
        "read_timeout": 60_000,
    }
    return Client(Config(**given | settings))


def zip_base64(files: Mapping[str, str | bytes]) -> str:
    """A code package of small files, as CreateFunction takes it."""
    return zip_entries([(name, 0o100644, content) for name, content in files.items()])


def zip_entries(entries: Iterable[tuple[str, int, str | bytes]]) -> str:
    """A code package of entries with their file modes; a link holds where it leads to."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode, content in entries:
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3  # a Unix made it: the mode counts
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return base64.b64encode(buffer.getvalue()).decode()


def create_function(sdk: Any, code: str | Mapping[str, str | bytes], /, **settings: Any) -> str:
    """Create a function of small files (or of one `index.py`) and return its name."""
    from alibabacloud_fc20230330.models import CreateFunctionInput, CreateFunctionRequest

    files = {"index.py": code} if isinstance(code, str) else code
    name: str = settings.pop("function_name", f"f-{os.urandom(6).hex()}")
    wire = {
        "functionName": name,
        "runtime": settings.pop("runtime", "python3.10"),
        "handler": settings.pop("handler", "index.handler"),
        "code": {"zipFile": zip_base64(files)},
    }
    wire |= settings
    sdk.create_function(CreateFunctionRequest(body=CreateFunctionInput().from_map(wire)))
    return name


def update_function(
    sdk: Any, name: str, code: str | Mapping[str, str | bytes] | None = None, /, **settings: Any
) -> Any:
    """Change a function; settings by their names on the wire."""
    from alibabacloud_fc20230330.models import UpdateFunctionInput, UpdateFunctionRequest

    if code is not None:
        files = {"index.py": code} if isinstance(code, str) else code
        settings["code"] = {"zipFile": zip_base64(files)}
    body = UpdateFunctionInput().from_map(settings)
    return sdk.update_function(name, UpdateFunctionRequest(body=body)).body


@contextmanager
def refused(code: str, status: int, message: str = "") -> Iterator[None]:
    """Expect an answer that the SDK turns into an exception."""
    from alibabacloud_tea_openapi.exceptions import AlibabaCloudException

    with pytest.raises(AlibabaCloudException) as caught:
        yield
    error = caught.value
    assert (error.code, error.status_code) == (code, status), error.message
    assert message in error.data["Message"]
    assert error.request_id


class Event(io.BytesIO):
    """An event that is read in one go: the SDK asks for 1 KiB at a time and adds them up, which
    takes minutes for 32 MB."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read()


def invoke(
    sdk: Any, name: str, event: bytes = b"", *, qualifier: str | None = None, **headers: str
) -> tuple[dict[str, str], bytes]:
    """Invoke through the SDK; return headers (lower case) and body."""
    from alibabacloud_fc20230330.models import InvokeFunctionHeaders, InvokeFunctionRequest
    from alibabacloud_tea_util.models import RuntimeOptions

    result = sdk.invoke_function_with_options(
        name,
        InvokeFunctionRequest(body=Event(event), qualifier=qualifier),
        InvokeFunctionHeaders(common_headers={k.replace("_", "-"): v for k, v in headers.items()}),
        RuntimeOptions(),
    )
    body = result.body.read()
    return {k.lower(): v for k, v in result.headers.items()}, body


def aside(work: Callable[[], T]) -> Future[T]:
    """Do something on a thread of its own."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def invoke_aside(
    server: ServerProcess, name: str, event: bytes = b"", **headers: str
) -> Future[tuple[dict[str, str], bytes]]:
    """Invoke on a thread of its own."""
    return aside(lambda: invoke(make_sdk(server), name, event, **headers))


def signed_head(server: ServerProcess, method: str, target: str, body: bytes) -> bytes:
    """The head of a signed request, for those who send its bytes themselves."""
    from anyfc.identity.signature import format_date, sign

    headers = {
        "host": f"127.0.0.1:{server.port}",
        "x-acs-date": format_date(time.time()),
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        "content-length": str(len(body)),
    }
    authorization = sign(
        method.encode(),
        target.encode(),
        [(name.encode(), value.encode()) for name, value in headers.items()],
        access_key_id=KEY[0],
        access_key_secret=KEY[1],
    )
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, f"authorization: {authorization.decode()}", "", ""]).encode()


def read_log(server: ServerProcess, name: str, request_id: str = "") -> list[str]:
    """A function's log, or that of one request, line by line."""
    from anyfc.client import Client

    with Client(server.endpoint, access_key_id=KEY[0], access_key_secret=KEY[1]) as client:
        return [line.message for line in client.logs(name, request_id=request_id)]


def error_of(body: bytes) -> dict[str, Any]:
    """The description of a function's failure."""
    value = json.loads(body)
    assert isinstance(value, dict)
    return value
