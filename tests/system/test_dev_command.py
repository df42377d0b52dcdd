"""`anyfc dev`: what is saved is what the next request runs."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support import KEY, descendants, wait_until

READY_WITHIN_S = 60.0
GONE_WITHIN_S = 60.0

HANDLER = """
def handler(event, context):
    print("handling")
    return {"statusCode": 200, "body": "VERSION"}
"""
SERVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"VERSION"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
"""


class Dev:
    """`anyfc dev` as a child process; what it prints is read as it comes."""

    def __init__(self, *words: str, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "anyfc", "dev", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_says(self, pattern: str) -> re.Match[str]:
        found: re.Match[str] = wait_until(
            lambda: re.search(pattern, self.output, re.M), READY_WITHIN_S
        )
        return found

    def wait_watching(self) -> str:
        """Wait until it watches; return the address that needs no host name."""
        self.wait_says("^watching ")
        return self.wait_says(r"^at (http://127\S+/proxy/\S+)$")[1]

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """End it; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(GONE_WITHIN_S)
        self._reader.join(GONE_WITHIN_S)
        return code


@pytest.fixture
def dev() -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []

    def start(*words: str | Path, **environment: str) -> Dev:
        started.append(Dev(*map(str, words), environment={"PATH": "/usr/bin:/bin"} | environment))
        return started[-1]

    yield start
    for process in started:
        process.interrupt()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hello"
    made.mkdir()
    return made


def ask(address: str) -> str:
    return httpx.get(address, timeout=30.0, trust_env=False).text


def save(path: Path, text: str, version: str) -> None:
    """Write a file as careful editors do: a new one takes the place of the old one."""
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text(text.replace("VERSION", version))
    beside.rename(path)


def test_a_handler_is_reloaded_on_save_and_survives_mistakes(dev, folder):
    index = folder / "index.py"
    save(index, HANDLER, "one")
    process = dev(folder)
    address = process.wait_watching()
    assert ask(address) == "one"
    process.wait_says(r"  handling$")  # the log is followed

    save(index, HANDLER, "two")
    process.wait_says(r"^reloaded in \d+\.\d\d s · index\.py$")
    assert ask(address) == "two"

    save(index, HANDLER + "def broken(\n", "three")
    process.wait_says(r"index\.py:5: SyntaxError: '\(' was never closed$")
    process.wait_says(r"(?s)(reloaded in .*){2}")
    assert httpx.get(address, trust_env=False).status_code == 502
    process.wait_says("UserCodeSyntaxError")

    save(index, HANDLER, "four")
    process.wait_says(r"(?s)(reloaded in .*){3}")
    assert ask(address) == "four"


def test_what_tools_write_beside_the_code_reloads_nothing(dev, folder):
    save(folder / "index.py", HANDLER, "one")
    names = (".git/HEAD", "__pycache__/index.pyc", "node_modules/.cache/x", ".index.py.swx")
    for name in names:  # a folder that is new is watched only a moment later
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    process = dev(folder)
    process.wait_watching()
    for name in names:
        (folder / name).write_text("x")
    (folder / "node_modules" / "real.js").write_text("x")
    process.wait_says(r"^reloaded in .* · node_modules/real\.js")
    assert "HEAD" not in process.output
    assert "swx" not in process.output


def test_a_server_is_reloaded_on_save(dev, folder):
    server = folder / "server.py"
    text = SERVER.replace("PORT", "8123")
    save(server, text, "one")
    process = dev(folder, "--command", "python3 server.py", "--port", "8123", "--name", "shop")
    address = process.wait_watching()
    process.wait_says(r"^serving shop · custom\.debian12 · python3 server\.py · port 8123")
    assert ask(address) == "one"
    save(server, text, "two")
    process.wait_says("^reloaded in ")
    assert ask(address) == "two"
    save(server, "print('no server')\n", "")
    process.wait_says(r"(?s)(reloaded in .*){2}")
    assert "no server" in ask(address)
    save(server, text, "three")
    process.wait_says(r"(?s)(reloaded in .*){3}")
    assert ask(address) == "three"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_cleanly_and_leaves_nothing(dev, folder, number):
    save(folder / "index.py", HANDLER, "one")
    process = dev(folder)
    assert ask(process.wait_watching()) == "one"
    data_dir = Path(process.wait_says(r"access key: (\S+)/credentials\.json")[1])
    assert data_dir.is_dir()
    below = descendants(process.process.pid)
    assert process.interrupt(number) == 0, process.output
    assert "stopping\n" in process.lines
    assert not data_dir.exists()
    wait_until(lambda: not [pid for pid in below if Path(f"/proc/{pid}").exists()])
    assert "Traceback" not in process.output


def test_a_server_that_runs_is_used_and_keeps_the_function(dev, folder, server, sdk):
    save(folder / "index.py", HANDLER, "one")
    key = {"ANYFC_ACCESS_KEY_ID": KEY[0], "ANYFC_ACCESS_KEY_SECRET": KEY[1]}
    name = "developed"
    process = dev(folder, "--endpoint", server.endpoint, "--name", name, **key)
    address = process.wait_watching()
    assert address == f"{server.endpoint}/proxy/{name}"
    assert ask(address) == "one"
    assert process.interrupt() == 0
    try:
        assert ask(address) == "one"
    finally:
        sdk.delete_trigger(name, "http")
        sdk.delete_function(name)


def test_a_start_that_fails_says_why(dev, folder):
    (folder / "app.py").write_text("")
    process = dev(folder)
    assert process.process.wait(READY_WITHIN_S) == 2
    process.wait_says("holds no index.py")
    nowhere = dev(folder, "--endpoint", "http://127.0.0.1:1", ANYFC_ACCESS_KEY_ID="a",
                  ANYFC_ACCESS_KEY_SECRET="b")  # fmt: skip
    assert nowhere.process.wait(READY_WITHIN_S) == 2
    nowhere.wait_says("cannot connect to http://127.0.0.1:1")
