"""`anyfc dev`: what is saved is what the next request runs."""

import os
import re
import shutil
import signal
import socket
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

    def __init__(
        self, *words: str, environment: dict[str, str], preexec_fn: Callable[[], None] | None
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "anyfc", "dev", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            preexec_fn=preexec_fn,
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
        try:
            found: re.Match[str] = wait_until(
                lambda: re.search(pattern, self.output, re.M), READY_WITHIN_S
            )
        except AssertionError as late:
            raise AssertionError(f"{late}: {pattern} in\n{self.output}") from None
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

    def close(self) -> None:
        try:
            self.interrupt()
        finally:
            self.process.kill()  # if it does not end otherwise; its server goes with it


@pytest.fixture
def dev() -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []

    def start(
        *words: str | Path, preexec_fn: Callable[[], None] | None = None, **environment: str
    ) -> Dev:
        own = {"PATH": "/usr/bin:/bin"} | environment
        started.append(Dev(*map(str, words), environment=own, preexec_fn=preexec_fn))
        return started[-1]

    yield start
    for process in started:
        process.close()


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


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_ctrl_c_ends_it_even_where_a_script_started_it_in_the_background(dev, folder):
    save(folder / "index.py", HANDLER, "one")
    process = dev(folder, preexec_fn=ignore_interrupts)
    process.wait_watching()
    assert process.interrupt(signal.SIGINT) == 0, process.output
    assert "stopping\n" in process.lines


def test_a_save_is_seen_beside_the_locks_and_backups_of_an_editor(dev, folder):
    index = folder / "index.py"
    save(index, HANDLER, "one")
    (folder / ".#other.py").symlink_to("ada@host.example:4711")
    process = dev(folder)
    address = process.wait_watching()
    assert ask(address) == "one"
    (folder / "index.py~").write_text("old")
    save(index, HANDLER, "two")
    (folder / "index.py~").unlink()
    process.wait_says("^reloaded in ")
    assert ask(address) == "two"
    assert "not reloaded" not in process.output
    assert "left out" not in process.output


def test_a_folder_that_another_one_takes_the_place_of_is_watched_on(dev, folder):
    save(folder / "index.py", HANDLER, "one")
    process = dev(folder)
    address = process.wait_watching()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    process.wait_says("not reloaded: packing failed: .*hello: No such file or directory$")
    save(copy / "index.py", HANDLER, "two")
    copy.rename(folder)
    process.wait_says(r"^reloaded in .* · the whole folder$")
    for version in ("two", "three", "four"):
        save(folder / "index.py", HANDLER, version)
        wait_until(lambda v=version: ask(address) == v, READY_WITHIN_S)


def test_what_links_lead_to_is_watched_too(dev, folder, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    save(shared / "words.py", "word = 'VERSION'\n", "one")
    linked = "from lib import words\n" + HANDLER.replace('"VERSION"', "words.word + 'VERSION'")
    save(tmp_path / "index.py", linked, "")
    (folder / "index.py").symlink_to("../index.py")
    (folder / "lib").symlink_to(shared)
    process = dev(folder)
    address = process.wait_watching()
    assert ask(address) == "one"
    save(tmp_path / "index.py", linked, "!")
    process.wait_says(r"^reloaded in ")
    assert ask(address) == "one!"
    save(shared / "words.py", "word = 'VERSION'\n", "two")
    process.wait_says(r"^reloaded in .* · \.\./shared/words\.py$")
    assert ask(address) == "two!"
    other = tmp_path / "other"
    other.mkdir()
    save(other / "words.py", "word = 'VERSION'\n", "three")
    (folder / "lib").unlink()
    (folder / "lib").symlink_to(other)
    wait_until(lambda: ask(address) == "three!", READY_WITHIN_S)
    save(other / "words.py", "word = 'VERSION'\n", "four")
    wait_until(lambda: ask(address) == "four!", READY_WITHIN_S)


def test_a_name_that_is_not_utf_8_is_said_and_does_not_end_it(dev, folder):
    save(folder / "index.py", HANDLER, "one")
    process = dev(folder)
    address = process.wait_watching()
    bad = folder / os.fsdecode(b"caf\xe9.txt")
    bad.touch()
    process.wait_says(r"^not reloaded: packing failed: .*caf\\xe9\.txt: the name is not UTF-8")
    bad.unlink()
    save(folder / "index.py", HANDLER, "two")
    process.wait_says("^reloaded in ")
    assert ask(address) == "two"


def test_a_folder_in_which_a_server_keeps_its_data_is_served_without_it(dev, folder, start_server):
    own = start_server(data_dir=folder / "state")
    save(folder / "index.py", HANDLER, "one")
    key = {"ANYFC_ACCESS_KEY_ID": KEY[0], "ANYFC_ACCESS_KEY_SECRET": KEY[1]}
    process = dev(folder, "--endpoint", own.endpoint, **key)
    address = process.wait_watching()
    process.wait_says("^left out: .*state is the data directory of a server")
    for _ in range(3):
        assert ask(address) == "one"  # which the server writes down there
    save(folder / "words.txt", "VERSION", "x")
    process.wait_says("^reloaded in ")
    assert re.findall("^reloaded.*· (.*)$", process.output, re.M) == ["words.txt"]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_goes_ends_it(dev, folder, start_server, how):
    other = start_server()
    save(folder / "index.py", HANDLER, "one")
    key = {"ANYFC_ACCESS_KEY_ID": KEY[0], "ANYFC_ACCESS_KEY_SECRET": KEY[1]}
    process = dev(folder, "--endpoint", other.endpoint, **key)
    process.wait_watching()
    getattr(other, how)()
    assert process.process.wait(GONE_WITHIN_S) == 2
    process.wait_says(r"(?s)^anyfc: could not serve .*ConnectFailed: cannot connect to")


def test_a_port_that_is_taken_is_explained_with_the_flag_of_this_command(dev, folder):
    save(folder / "index.py", HANDLER, "one")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = dev(folder, "--server-port", str(taken.getsockname()[1]))
        assert process.process.wait(READY_WITHIN_S) == 2
    process.wait_says("address already in use")
    process.wait_says("--server-port chooses its port")


def test_syntax_that_only_the_python_of_the_function_knows_is_no_mistake(dev, folder):
    if sys.version_info >= (3, 12) or not shutil.which("python3.12"):
        pytest.skip("needs a Python 3.12 beside an older one that runs anyfc")
    nested = HANDLER + """d = {"a": 1}\nx = f"{d["a"]}"\n"""
    save(folder / "index.py", nested, "one")
    process = dev(folder, PATH=os.environ["PATH"])
    assert ask(process.wait_watching()) == "one"
    save(folder / "index.py", nested + "def broken(\n", "two")
    process.wait_says("SyntaxError")
    assert re.findall("index.py:([0-9]+): SyntaxError", process.output) == ["7"]
