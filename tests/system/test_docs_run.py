"""The pages that people follow are followed here: files saved, commands run, output compared."""

import os
import pty
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from vendored import vendor

ROOT = Path(__file__).parents[2]
COMMAND_S = 60.0
# Where an instance looks for programs.
SEARCH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
MARK = "--- done in "

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVE = re.compile(r"[Ss]ave (?:it|this) as `([^`]+)`")
CHANGE = re.compile(r"In `([^`]+)`, return `([^`]+)`")
# Done already where the tests run: they would make or change the environment of the tests.
SKIPPED = re.compile(r"make |\. \.venv/|pip install (?!--target)")
# Packages for a function come from where those of the tests are.
VENDOR = re.compile(r"pip install --target (\S+) (.+)")
# The pages say the usual ports; the server here takes others. Functions' own servers keep theirs.
PORT = re.compile(r"(?<!0):9000\b")
TLS_PORT = re.compile(r":9443\b")

# What is another value each time, or on another machine.
VOLATILE = {
    r"1-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{12}": "ID",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{3}Z?": "TIME",
    r"\d+(\.\d+)? (ms|s|MB)\b": r"N \2",
    r"\d+(\.\d+)? (B|KiB|MiB)\b": "SIZE",
    r"127\.0\.0\.1:\d+": "ADDRESS",
    r"-[a-z]{10}(\.[\w-]+\.fcapp\.localhost)(:\d+)?": r"-LETTERS\1",
    r"(example\.com|fcapp\.localhost):\d+": r"\1:PORT",
    r"(?m)^isolation: .*": "isolation: LEVEL",
    r"(?m)^network: .*": "network: WHOSE",
    r"(?m)^(python3[.\d]*: ).*": r"\1PYTHON",
}


class Shell:
    """A shell whose commands believe that a person is at the terminal."""

    def __init__(self, folder: Path) -> None:
        self.place = folder  # where the last command ended
        self.port = ""  # of the server
        self.tls_port = str(find_free_port())
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (1000, 1000))  # lines as wide as they come
        mode = termios.tcgetattr(theirs)
        mode[1] &= ~termios.OPOST  # their ends as they come
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANYFC_")}
        environment |= {
            "ANYFC_PORT": "0",
            "ANYFC_TLS_PORT": self.tls_port,
            "HOME": str(folder),
            "NO_COLOR": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TERM": "dumb",
        }
        self._process = subprocess.Popen(
            ["bash", "--norc"], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs,
            cwd=folder, env=environment,
        )  # fmt: skip
        os.close(theirs)
        self._type("set -m")  # for `kill %1`

    def run(self, command: str) -> str:
        """Run one command, as it is typed; return what appears on the terminal."""
        until = MARK
        if command.endswith("&"):
            until = "ready http://"  # a server: it goes on while other commands run
        elif command.startswith("kill "):
            command += "; wait"
        self._type(command)
        if not command.endswith("&"):
            self._type(f"status=$?; echo; echo '{MARK}'$PWD; (exit $status)")
        seen, rest = self._read(until), self._read("\n")
        if until != MARK:
            self.port = rest.strip().rpartition(":")[2]
            return seen + rest
        self.place = Path(rest.rstrip("\n"))
        return seen.removesuffix("\n" + MARK)

    def _type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _read(self, until: str) -> str:
        seen = b""
        give_up = time.monotonic() + COMMAND_S
        while not seen.endswith(until.encode()):
            left_s = give_up - time.monotonic()
            ready, _, _ = select.select([self._ours], [], [], max(0, left_s))
            assert ready, f"no more than this came:\n{seen.decode()}"
            seen += os.read(self._ours, 1)
        return seen.decode()

    def close(self) -> None:
        """End the shell, and the servers that it still has."""
        self._type("kill $(jobs -p) 2>/dev/null; wait; exit")
        self._process.wait(COMMAND_S)
        assert self._process.stdin is not None
        self._process.stdin.close()
        os.close(self._ours)


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def steps(page: Path) -> Iterator[tuple[str, str, str]]:
    """Yield what a reader does: kind of block, the text before it, and what is in it."""
    text = page.read_text()
    start = 0
    for fence in FENCE.finditer(text):
        yield fence[1], text[start : fence.start()], fence[2]
        start = fence.end()


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a block, each with the output that is shown."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command.partition("  #")[0].rstrip(), output


def pattern(output: str) -> str:
    """What output may look like: a line of `…` stands for any lines, `…` in a line for any text."""
    lines = steady(output).rstrip("\n").split("\n")
    return "".join(
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in lines
    )


def steady(text: str) -> str:
    for volatile, name in VOLATILE.items():
        text = re.sub(volatile, name, text)
    return text


def follow(page: Path, shell: Shell) -> int:
    """Do what a page says, in the order of the page; return how many commands there were."""
    done = 0
    for kind, before, block in steps(page):
        for name, value in CHANGE.findall(before):
            path = shell.place / name
            path.write_text(re.sub(r"(?m)^(\s+return ).*", rf"\g<1>{value}", path.read_text()))
        if kind in ("python", "javascript") and (saved := SAVE.findall(before)):
            path = shell.place / saved[-1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(block)
        for command, expected in commands(block) if kind == "console" else ():
            if SKIPPED.match(command):
                continue
            if packages := VENDOR.match(command):
                vendor(shlex.split(packages[2]), shell.place / packages[1])
                continue
            seen = shell.run(
                TLS_PORT.sub(f":{shell.tls_port}", PORT.sub(f":{shell.port}", command))
            )
            if expected:
                assert re.fullmatch(pattern(expected), steady(seen).strip("\n") + "\n"), (
                    f"$ {command}\n{seen}"
                )
            done += 1
    return done


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with closing(Shell(tmp_path)) as shell:
        yield shell


def need(programs: list[str]) -> None:
    """Skip the test if a program is missing, or cannot do what the page does with it."""
    for name in programs:
        path = shutil.which(name.removeprefix("own-"), path=SEARCH)
        if path is None:
            pytest.skip(f"no {name} where instances look for it")
        if name == "npm":
            done = subprocess.run([path, "view", "express", "version"], capture_output=True)
            if done.returncode:
                pytest.skip(f"npm does not reach its registry: {done.stderr.decode()[-200:]}")
        if name == "own-python3":
            asked = [path, "-c", "import sys; sys.exit(sys.version_info[:2] != %r)"]
            asked[2] %= (sys.version_info[:2],)
            if subprocess.run(asked).returncode:
                pytest.skip("the packages here were compiled for another Python than python3")


@pytest.mark.parametrize(
    ("page", "served", "least", "programs"),
    [("README.md", False, 4, ""), ("docs/tutorial/first-function.md", False, 12, ""),
     ("docs/tutorial/first-web-function.md", False, 13, "curl python3"),
     ("docs/howto/sdk.md", True, 2, ""),
     ("docs/howto/custom-domain.md", True, 7, "curl openssl"),
     ("docs/howto/django.md", True, 3, "curl python3"),
     ("docs/howto/express.md", True, 5, "curl node npm"),
     ("docs/howto/fastapi.md", True, 4, "curl own-python3"),
     ("docs/howto/flask.md", True, 4, "curl python3"),
     ("docs/howto/wsgi.md", True, 5, "curl")],
)  # fmt: skip
def test_a_reader_who_follows_the_page_sees_what_it_shows(shell, page, served, least, programs):
    need(programs.split())
    if served:
        shell.run("anyfc serve &")
    assert follow(ROOT / page, shell) >= least


def test_the_ci_job_passes(shell, tmp_path):
    """The script of the CI page, with the function of the tutorial."""
    tutorial = list(steps(ROOT / "docs/tutorial/first-function.md"))
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/index.py").write_text(
        next(block for kind, before, block in tutorial if "hello/index.py" in before)
    )
    page = steps(ROOT / "docs/howto/ci.md")
    (script,) = (block for kind, _, block in page if block.startswith("set -eu"))
    (tmp_path / "job.sh").write_text(script)
    seen = shell.run("bash job.sh; echo exit code $?")
    assert seen.rstrip().endswith("exit code 0"), seen
