"""The command line on a real system: what is packed, what cannot be written, what is ended."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import KEY, ServerProcess, descendants, wait_until

WITHIN_S = 60.0
ANYFC = [sys.executable, "-m", "anyfc"]

LISTS = """
import json, os

def handler(event, context):
    found = {}
    for folder, _, files in os.walk("."):
        for file in files:
            path = os.path.join(folder, file)
            found[path[2:]] = os.readlink(path) if os.path.islink(path) else ""
    return found
"""
SLEEPS = """
import time

def handler(event, context):
    time.sleep(2)
    return "slept"
"""


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ANYFC_")}
    return kept | {"ANYFC_ACCESS_KEY_ID": KEY[0], "ANYFC_ACCESS_KEY_SECRET": KEY[1]} | more


def run(*words: str | bytes | Path, **settings: Any) -> "subprocess.CompletedProcess[str]":
    given = {"env": environment(), "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.run([*ANYFC, *words], text=True, timeout=WITHIN_S, **given | settings)


@pytest.fixture
def anyfc(server: ServerProcess) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run commands against the shared server."""
    return lambda *words, **settings: run(
        *words, **{"env": environment(ANYFC_ENDPOINT=server.endpoint), **settings}
    )


@pytest.fixture
def deployed(sdk: Any) -> Iterator[str]:
    """The name of a function that the test makes; it is deleted after the test."""
    yield "deployed"
    sdk.delete_function("deployed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "code"
    made.mkdir()
    (made / "index.py").write_text(LISTS)
    return made


# --- what is packed -----------------------------------------------------------------------------


def test_programs_that_npm_links_and_odd_names_arrive_as_they_are(anyfc, deployed, folder):
    (folder / "node_modules/.bin").mkdir(parents=True)
    (folder / "node_modules/tool/bin").mkdir(parents=True)
    (folder / "node_modules/tool/bin/tool.js").write_text("require('../lib')")
    (folder / "node_modules/.bin/tool").symlink_to("../tool/bin/tool.js")
    (folder / "later").symlink_to("made/at-run-time")
    (folder / "a:b").touch()
    done = anyfc("deploy", folder, "--name", deployed)
    assert done.returncode == 0, done.stderr
    assert json.loads(anyfc("invoke", deployed).stdout) == {
        "a:b": "",
        "index.py": "",
        "later": "made/at-run-time",
        "node_modules/.bin/tool": "../tool/bin/tool.js",
        "node_modules/tool/bin/tool.js": "",
    }


def test_a_folder_can_be_deployed_while_its_server_keeps_its_data_there(start_server, folder):
    server = start_server(data_dir=folder / "state")
    own = {"env": environment(ANYFC_ENDPOINT=server.endpoint), "cwd": folder}
    for _ in range(2):
        done = run("deploy", ".", "--name", "here", **own)
        assert done.returncode == 0, done.stderr
        assert "left out: state is the data directory of a server" in done.stderr
    assert json.loads(run("invoke", "here", **own).stdout) == {"index.py": ""}
    server.stop()
    done = run("deploy", "state", "--name", "here", **own)
    assert done.returncode == 2
    assert "state is the data directory of a server, with its keys" in done.stderr


def test_names_that_are_not_utf_8_are_explained(anyfc, folder, tmp_path):
    (folder / os.fsdecode(b"caf\xe9.txt")).touch()
    done = anyfc("deploy", folder)
    assert done.returncode == 2
    assert "caf\\xe9.txt: the name is not UTF-8; rename it" in done.stderr
    other = folder.rename(tmp_path / os.fsdecode(b"\xff"))
    for done in (anyfc("deploy", other), anyfc("invoke", b"\xff"), anyfc("logs", b"\xff")):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("anyfc: could not ")
        assert "Traceback" not in done.stderr


# --- what cannot be written ---------------------------------------------------------------------


@pytest.mark.parametrize("words", ["invoke deployed", "list", "logs deployed", "env"])
@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">/dev/full", "No space left"), (">&-", "is closed"), ("| :", "Broken pipe")],
)
def test_output_that_cannot_be_written_ends_with_2_and_one_explanation(
    anyfc, deployed, folder, server, words, redirection, why
):
    assert anyfc("deploy", folder, "--name", deployed).returncode == 0
    assert anyfc("invoke", deployed).returncode == 0
    # The reader of the pipe is gone before anything is written.
    shell = f"set -o pipefail; {{ sleep 0.3; {' '.join(ANYFC)} {words}; }} {redirection}"
    done = subprocess.run(
        ["bash", "-c", shell],
        env=environment(ANYFC_ENDPOINT=server.endpoint, ANYFC_ACCOUNT_ID="1"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("anyfc: could not write the output\n")
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


# --- what is ended ------------------------------------------------------------------------------


class Command:
    """A command as a child process, with its output in one file."""

    def __init__(self, output: Path, *words: str | Path, **settings: Any) -> None:
        self.output = output
        with output.open("w") as file:
            given = {"env": environment(), "stdout": file, "stderr": file} | settings
            self.process = subprocess.Popen([*ANYFC, *words], **given)

    def wait_says(self, text: str) -> None:
        wait_until(lambda: text in self.output.read_text(), WITHIN_S)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def begin(*words: str | Path, **settings: Any) -> Command:
        started.append(Command(tmp_path / f"output-{len(started)}", *words, **settings))
        return started[-1]

    yield begin
    for command in started:
        if command.process.poll() is None:
            command.end(signal.SIGTERM)


def are_gone(processes: set[int]) -> bool:
    return not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder for temporary files that holds nothing else, and that functions pass through."""
    made = tmp_path / "scratch"
    made.mkdir()
    return made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_demo_that_is_ended_leaves_nothing(start, scratch, number):
    demo = start("demo", env=environment(TMPDIR=str(scratch), PYTHONUNBUFFERED="1"))
    demo.wait_says("server at ")
    below = descendants(demo.process.pid)
    assert below
    assert demo.end(number) == 130
    wait_until(lambda: are_gone(below))
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_doctor_that_is_ended_leaves_nothing(start, scratch, number):
    doctor = start("doctor", env=environment(TMPDIR=str(scratch)))
    wait_until(lambda: list(scratch.glob("anyfc-doctor-*/run")), WITHIN_S)
    below = descendants(doctor.process.pid)
    assert doctor.end(number) == 130
    wait_until(lambda: are_gone(below))
    assert list(scratch.iterdir()) == []


def test_a_dev_that_is_killed_takes_its_server_and_the_log_along(start, folder, scratch):
    dev = start("dev", folder, env=environment(TMPDIR=str(scratch)))
    dev.wait_says("watching ")
    below = descendants(dev.process.pid)
    assert len(below) > 2
    assert dev.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: are_gone(below), WITHIN_S)


def serve(start: Callable[..., Command], tmp_path: Path, **settings: Any) -> Command:
    words = ["serve", "--port", "0", "--data-dir", tmp_path / "data"]
    server = start(*words, **settings)
    server.wait_says("ready http://")
    return server


def begin_to_sleep(tmp_path: Path) -> "subprocess.Popen[str]":
    """Deploy a function that takes two seconds, and invoke it."""
    data = ["--data-dir", str(tmp_path / "data")]
    (tmp_path / "sleeper").mkdir()
    (tmp_path / "sleeper/index.py").write_text(SLEEPS)
    assert run("deploy", tmp_path / "sleeper", *data).returncode == 0
    invoked = subprocess.Popen(
        [*ANYFC, "invoke", "sleeper", *data], env=environment(), stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: "Start" in run("logs", "sleeper", *data).stdout, WITHIN_S)
    return invoked


def test_a_terminal_that_is_closed_has_a_server_drain(start, tmp_path):
    server = serve(start, tmp_path)
    invoked = begin_to_sleep(tmp_path)
    server.process.send_signal(signal.SIGHUP)  # a shell sends one, and the system another one
    server.wait_says("draining")
    assert server.end(signal.SIGHUP) == 0
    assert invoked.communicate(timeout=WITHIN_S)[0] == "slept"


def test_a_server_that_nohup_started_outlives_its_terminal(start, tmp_path):
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    server = serve(start, tmp_path, preexec_fn=ignore)
    server.process.send_signal(signal.SIGHUP)
    invoked = begin_to_sleep(tmp_path)
    assert invoked.communicate(timeout=WITHIN_S)[0] == "slept"
    assert server.end(signal.SIGTERM) == 0


def test_a_server_whose_output_nobody_reads_any_more_ends_as_well(start, tmp_path):
    out, into = os.pipe()
    server = start(
        "serve", "--port", "0", "--data-dir", tmp_path / "data",
        stdout=into, stderr=into,
    )  # fmt: skip
    os.close(into)
    with open(out) as lines:
        assert any(line.startswith("ready http://") for line in lines)
    invoked = begin_to_sleep(tmp_path)
    assert server.end(signal.SIGTERM) == 0
    assert invoked.communicate(timeout=WITHIN_S)[0] == "slept"
