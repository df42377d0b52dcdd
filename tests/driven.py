"""The program inside the sandbox, started without one and driven over a socket pair."""

import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

BOOTSTRAP = Path(__file__).parents[1] / "src" / "anyfc" / "bootstrap" / "python"
DRIVER = Path(__file__).parent / "unit" / "bootstrap" / "bootstrap_driver.py"
VERSIONS = ("3.6", "3.9", "3.10", "3.11", "3.12", "3.13")
WAIT_S = 30.0
FRAME_BYTES = 256 * 1024
MIB = 1024 * 1024
RID = "1-5f3a-10b2c3d4e5f6"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@cache
def find_interpreter(version: str) -> str | None:
    """A real binary: pyenv's shims on the PATH start only what a shell has selected."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [str(path) for path in root.glob(f"versions/*/bin/python{version}")]
    found += filter(None, [shutil.which(f"python{version}")])
    for path in found:
        ask = [path, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(ask, capture_output=True, text=True).stdout.strip() == version:
            return path
    return None


class Answer(NamedTuple):
    kind: bytes
    body: bytes
    peak_kib: int
    largest_frame: int

    @property
    def raised(self) -> dict[str, Any]:
        assert self.kind == b"E", self.body
        description: dict[str, Any] = json.loads(self.body)
        return description


class Instance:
    """A process that runs bootstrap.py, and the server's end of its dialogue."""

    def __init__(self, python: str, code: Path, log: Path, program: Mapping[str, Any]) -> None:
        self.code = code
        self._log = log
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(WAIT_S)
        arguments = [str(BOOTSTRAP), str(theirs.fileno()), json.dumps(program), str(code)]
        with theirs, log.open("wb") as output:
            self.process = subprocess.Popen(
                [python, "-I", "-S", "-W", "ignore", DRIVER, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def close(self) -> None:
        self.socket.close()
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "surrogateescape")

    def frame(self) -> tuple[bytes, bytes]:
        kind, length = struct.unpack(">cI", self._exactly(5))
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < length:
            piece = self.socket.recv(min(length - len(pieces), MIB))
            if not piece:
                raise EOFError(self.log)
            pieces += piece
        return bytes(pieces)

    def send(self, kind: bytes, event: bytes, first_bytes: int, **meta: Any) -> None:
        text = json.dumps({"request_id": RID, **meta}).encode()
        first, rest = event[:first_bytes], event[first_bytes:]
        content = struct.pack(">QI", len(event), len(text)) + text + first
        self.socket.sendall(struct.pack(">cI", kind, len(content)) + content)
        while rest:
            piece, rest = rest[:MIB], rest[MIB:]
            self.socket.sendall(struct.pack(">cI", b"D", len(piece)) + piece)

    def call(
        self, event: bytes = b"", *, kind: bytes = b"I", first_bytes: int = FRAME_BYTES, **meta: Any
    ) -> Answer:
        self.send(kind, event, first_bytes, **meta)
        answer, content = self.frame()
        size, peak_kib = struct.unpack_from(">QI", content)
        body, largest = bytearray(content[12:]), len(content)
        while len(body) < size:
            kind, content = self.frame()
            assert kind == b"D"
            body += content
            largest = max(largest, len(content))
        assert len(body) == size
        return Answer(answer, bytes(body), peak_kib, largest)

    def value(self, event: bytes = b"", **meta: Any) -> Any:
        """Call the handler and read what it returned as JSON."""
        answer = self.call(event, **meta)
        assert answer.kind == b"R", answer.body
        return json.loads(answer.body)

    def status(self) -> int:
        """Wait for the process to end."""
        assert self.socket.recv(1) == b"", "the instance sent something instead of ending"
        return self.process.wait(WAIT_S)


Start = Callable[..., Instance]


PRESENT = [version for version in VERSIONS if find_interpreter(version)]
# The oldest and the newest differ most. `make test-pythons` takes all of them.
ALL = os.environ.get("ANYFC_TEST_PYTHONS") == "all"
USED = PRESENT if ALL else sorted({*PRESENT[:1], *PRESENT[-1:]}, key=VERSIONS.index)


def make_program(
    environment: Mapping[str, str], context: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """A program with everything in it."""
    return {
        "runtime": "python3.10",
        "handler": "index.handler",
        "initializer": "index.initialize",
        "pre_freeze": "index.freeze",
        "pre_stop": "index.stop",
        "environment": {"PATH": os.environ["PATH"], **environment},
        "context": {
            "function": {
                "name": "resize",
                "handler": "index.handler",
                "memory": 512,
                "timeout": 3,
                "version_id": "7",
                "qualifier": "prod",
            },
            "service": {"name": "", "log_project": "project", "log_store": "store"},
            "region": "cn-hangzhou",
            "account_id": "123456789012345",
            "credentials": {"access_key_id": "ID", "access_key_secret": "SECRET"},
            **context,
        },
        **changes,
    }


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait, under a deadline, for another process to get somewhere."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the process did not get there"
        os.sched_yield()
