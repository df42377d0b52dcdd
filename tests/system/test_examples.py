"""Each example is deployed with the line of its README and called by HTTP."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support import ServerProcess, read_log, wait_until
from vendored import vendor
from websockets.sync.client import ClientConnection, connect

EXAMPLES = Path(__file__).parents[2] / "examples"
DEPLOY = dict(re.findall(r"^anyfc deploy (\S+)(.*)$", (EXAMPLES / "README.md").read_text(), re.M))
# Where an instance looks for programs.
SEARCH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
INSTALL_S = 120.0


class Site:
    """A deployed function, at its own address."""

    def __init__(self, server: ServerProcess, name: str, url: str) -> None:
        self.server = server
        self.name = name
        self.host = url.removeprefix("http://")
        self.http = httpx.Client(
            base_url=server.endpoint, headers={"host": self.host}, timeout=30.0, trust_env=False
        )


@pytest.fixture(scope="module")
def anyfc(server: ServerProcess) -> Callable[..., str]:
    """Run a command against the shared server; what it prints."""

    def run(*words: str) -> str:
        environment = {"ANYFC_ACCESS_KEY_ID": "test-key", "ANYFC_ACCESS_KEY_SECRET": "test-secret"}
        done = subprocess.run(
            [sys.executable, "-m", "anyfc", *words, "--endpoint", server.endpoint],
            env=environment | {"PATH": SEARCH},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def deploy(
    server: ServerProcess, anyfc: Callable[..., str], tmp_path: Path
) -> Iterator[Callable[..., Site]]:
    """Deploy an example as its README says, with packages in its folder."""
    sites: list[Site] = []

    def make(name: str, *, prepare: Callable[[Path], None] | None = None, change: str = "") -> Site:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(EXAMPLES / name, folder)
            requirements = folder / "requirements.txt"
            if requirements.exists():
                vendor(requirements.read_text().split(), folder)
            if prepare is not None:
                prepare(folder)
        if change:
            with (folder / "server.py").open("a") as code:
                code.write(change)
        said = anyfc("deploy", str(folder), *shlex.split(DEPLOY[name]))
        url = anyfc("url", name).strip()
        assert f"at {url} · anonymous\n" in said
        sites.append(Site(server, name, url))
        return sites[-1]

    yield make
    for site in sites:
        site.http.close()
    for name in {site.name for site in sites}:
        anyfc("delete", name, "--yes")


def program(name: str) -> str:
    """Where an instance would find a program; without it the test is skipped."""
    path = shutil.which(name, path=SEARCH)
    if path is None:
        pytest.skip(f"no {name} where instances look for it")
    return path


@pytest.fixture
def python() -> str:
    return program("python3")


def test_every_example_has_a_line_that_deploys_it_and_a_test():
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    tested = set(re.findall(r'deploy\("([\w-]+)"', Path(__file__).read_text()))
    assert DEPLOY.keys() == folders == tested


def test_an_event_handler_answers_requests(deploy):
    site = deploy("python-event-http")
    greeting = site.http.get("/hello", params={"name": "Ada"})
    assert (greeting.status_code, greeting.text) == (200, "Hello, Ada!\n")
    assert site.http.post("/hello", content="Grace").text == "Hello, Grace!\n"
    assert site.http.get("/elsewhere").status_code == 404


def test_flask_keeps_its_state_between_requests(deploy, python):
    site = deploy("flask")
    assert site.http.get("/").json() == {"notes": []}
    added = site.http.post("/notes", json={"text": "milk"})
    assert (added.status_code, added.json()) == (201, {"notes": ["milk"]})
    assert site.http.get("/").json() == {"notes": ["milk"]}
    assert site.http.get("/gone").status_code == 404


def test_fastapi_validates_and_streams(deploy, python):
    asked = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    version = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    if version != [str(part) for part in sys.version_info[:2]]:
        pytest.skip("the instance's Python is another one than these packages were compiled for")
    site = deploy("fastapi")
    assert site.http.get("/").json() == {"hello": "world"}
    assert site.http.post("/orders", json={"item": "tea"}).json() == {"item": "tea", "count": 1}
    assert site.http.post("/orders", json={"count": "many"}).status_code == 422
    with site.http.stream("GET", "/countdown/3") as answer:
        assert [line for line in answer.iter_lines() if line] == ["3", "2", "1"]


def test_django_runs_under_gunicorn(deploy, python):
    site = deploy("django")
    assert site.http.get("/").json() == {"items": ["coffee", "tea"]}
    assert site.http.get("/items/tea/").json() == {"name": "tea", "price": 4}
    assert site.http.get("/items/milk/").status_code == 404


def npm_install(folder: Path) -> None:
    done = subprocess.run(
        [program("npm"), "ci", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
    )
    if done.returncode:
        pytest.skip(f"npm cannot install packages here: {done.stderr.strip()[-200:]}")


def test_express_answers(deploy):
    program("node")
    site = deploy("express", prepare=npm_install)
    assert site.http.get("/", params={"name": "Ada"}).json() == {"hello": "Ada"}
    order = site.http.post("/orders", json={"item": "tea"})
    assert (order.status_code, order.json()) == (201, {"item": "tea"})
    wait_until(lambda: "order of tea" in read_log(site.server, site.name))


def join(site: Site) -> ClientConnection:
    return connect(
        f"ws://{site.host}/",
        sock=socket.create_connection(("127.0.0.1", site.server.port)),
        proxy=None,
    )


def test_who_is_connected_to_the_websocket_hears_the_others(deploy, python):
    site = deploy("websocket")
    with join(site) as ada:
        assert ada.recv(timeout=30) == "welcome; 1 here"
        with join(site) as grace:
            assert grace.recv(timeout=10) == "welcome; 2 here"
            ada.send("hello")
            assert grace.recv(timeout=10) == "hello"
            assert ada.recv(timeout=10) == "hello"


def test_events_come_while_the_answer_goes_on(deploy, python):
    site = deploy("sse")
    assert "EventSource" in site.http.get("/").text
    with site.http.stream("GET", "/ticks") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) < next(lines)  # the answer has no end
    # It is frozen when nobody asks, so it notices while it answers something else.
    wait_until(
        lambda: site.http.get("/") and "the browser has left" in read_log(site.server, site.name)
    )


def test_a_bootstrap_makes_a_custom_runtime(deploy, python):
    site = deploy("socket")
    assert site.http.put("/a?b=c", content="body").text == "you asked: PUT /a?b=c HTTP/1.1\nbody"


def test_hooks_are_called_at_the_start_and_the_end(deploy, python):
    site = deploy("hooks")
    assert site.http.get("/").text == "ready: True, requests: 1\n"
    assert site.http.get("/").text == "ready: True, requests: 2\n"
    again = deploy("hooks", change="# another version\n")
    assert again.host == site.host
    wait_until(lambda: "stopping after 2 requests" in read_log(site.server, site.name))


def test_the_addresses_of_a_function_are_there_for_scripts(deploy, anyfc):
    site = deploy("python-event-http")
    shown = json.loads(anyfc("url", site.name, "--json"))
    assert httpx.get(f"{shown['proxy']}/hello", trust_env=False).text == "Hello, world!\n"
