"""Servers of many kinds as functions: deployed by the SDK, called by HTTP and through the API.

Each of the programs answers 201 with its method, target, control path and body, names the function
in a header, and prints the request id. All of them listen on port 9000.

Source: runtime.md 4 (web calls), 5 (event calls), 8.3 and 8.6 (hooks).
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import ServerProcess, error_of, update_function, wait_until, zip_entries
from web_functions import FUNCTIONS, Web, deploying, need_networks, read_folder, read_packages
from wire import Raw

# Where an instance looks for programs.
SEARCH_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
# Kind → folder, packages, start command.
PYTHON = {
    "http.server": ("served_http_server", (), "python3 server.py"),
    "Flask": ("served_flask", ("flask",), "python3 app.py"),
    "FastAPI": ("served_fastapi", ("fastapi", "uvicorn"), "python3 main.py"),
    "Tornado": ("served_tornado", ("tornado",), "python3 main.py"),
    "gunicorn": (
        "served_flask",
        ("flask", "gunicorn"),
        "python3 -m gunicorn -b 0.0.0.0:9000 app:app",
    ),
    "gunicorn with two workers": (
        "served_flask",
        ("flask", "gunicorn"),
        "python3 -m gunicorn -w 2 -b 0.0.0.0:9000 app:app",
    ),
    # It runs itself a second time, and watches over that.
    "Django": ("served_django", ("django",), "python3 manage.py runserver 0.0.0.0:9000"),
}
OTHERS = {
    "Node.js": ("served_node", "node", "node server.js"),
    "PHP": ("served_php", "php", "php -S 0.0.0.0:9000 index.php"),
    "Ruby": ("served_ruby", "ruby", "ruby server.rb"),
    "Java": ("served_java", "java", "java Server.java"),
}
# What was compiled for the tests' own Python runs on the instances' only if it is the same.
COMPILED = {"FastAPI"}
BYTES = "application/octet-stream"
NPM_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def create(server: ServerProcess) -> Iterator[Callable[..., Web]]:
    """Deploy programs with their start command; they are deleted at the end."""
    with deploying(server) as deploy:
        yield lambda files, command, **settings: deploy(files, *command.split(), **settings)


def need(program: str) -> str:
    found = shutil.which(program, path=SEARCH_PATH)
    if found is None:
        pytest.skip(f"{program} is not installed where instances can see it")
    return found


def need_same_python() -> None:
    program = need("python3")
    say = "import sys; print(*sys.version_info[:2])"
    version = subprocess.run([program, "-c", say], capture_output=True, text=True, check=True)
    if version.stdout.split() != [str(number) for number in sys.version_info[:2]]:
        pytest.skip(f"{program} cannot load what was compiled for {sys.version.split()[0]}")


def check(web: Web) -> None:
    """It answers by HTTP and through the API as all of the programs do, and prints."""
    answer = web.ask("PUT", "/a/b?c=%20d", b"hello", [("content-type", BYTES)])
    assert (answer.status, answer.body) == (201, b"PUT /a/b?c=%20d /http-invoke hello")
    assert answer.headers[b"function-name"].decode() == web.name
    assert web.ask("GET", "/").body.rstrip() == b"GET / /http-invoke"
    headers, body = web.invoke(b"an event", content_type="application/json")
    assert body == b"POST /invoke /invoke an event"
    assert "x-fc-error-type" not in headers
    assert "function-name" not in headers
    for request_id in (answer.headers[b"x-fc-request-id"].decode(), headers["x-fc-request-id"]):
        web.wait_line(f"served {request_id}")


@pytest.mark.parametrize("kind", PYTHON)
def test_python(create: Callable[..., Web], kind: str) -> None:
    folder, packages, command = PYTHON[kind]
    if kind in COMPILED:
        need_same_python()
    files = read_folder(folder) | read_packages(*packages)
    check(create(files, command, environmentVariables={"PYTHONUNBUFFERED": "1"}))


@pytest.mark.parametrize("kind", OTHERS)
def test_another_language(create: Callable[..., Web], kind: str) -> None:
    folder, program, command = OTHERS[kind]
    need(program)
    check(create(read_folder(folder), command))


def test_a_shell_script(create: Callable[..., Web]) -> None:
    need("socat")
    files = read_folder("served_shell")
    modes = {"bootstrap": 0o100755, "answer.sh": 0o100644}
    package = zip_entries([(name, mode, files[name]) for name, mode in modes.items()])
    check(create(files, "", code={"zipFile": package}))


def test_express(create: Callable[..., Web], tmp_path: Path) -> None:
    need("node")
    folder = tmp_path / "code"
    shutil.copytree(FUNCTIONS / "served_express", folder)
    install = ["npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=0"]
    try:
        subprocess.run(
            install, cwd=folder, capture_output=True, text=True, check=True, timeout=NPM_WITHIN_S
        )
    except (OSError, subprocess.SubprocessError) as problem:
        said = getattr(problem, "stderr", None) or problem
        pytest.skip(f"npm cannot install Express here: {said}")
    files: dict[str, str | bytes] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    check(create(files, "node server.js"))


@pytest.fixture(scope="module")
def files() -> dict[str, str | bytes]:
    return read_folder("with_hooks") | read_packages("flask")


@pytest.fixture(scope="module")
def sample(create: Callable[..., Web], files: dict[str, str | bytes]) -> Web:
    return create(files, "python3 app.py")


class TestSample:
    """A program as the documentation's samples have them, which cannot be told another port."""

    HOOKS = {  # noqa: RUF012  # nobody changes it
        "initializer": {"handler": "any", "timeout": 10},
        "preStop": {"handler": "any", "timeout": 10},
    }

    def test_an_event_has_a_body_and_nothing_else(self, sample: Web) -> None:
        headers, body = sample.invoke(b'{"key": "value"}')
        assert body == b"Hello, World!"
        assert "x-fc-error-type" not in headers
        assert "author" not in headers
        request_id = headers["x-fc-request-id"]
        lines = sample.log(request_id)
        # Said twice: once by the program, once by the platform.
        assert lines.count(f"FC Invoke Start RequestId: {request_id}") == 2
        assert lines.count(f"FC Invoke End RequestId: {request_id}") == 2
        assert """b'{"key": "value"}'""" in lines

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
    def test_a_call_has_all_that_its_client_sent(self, sample: Web, method: str) -> None:
        answer = sample.ask(method, "/x/y?z=1", b"data")
        assert (answer.status, answer.body) == (200, b"Hello, World!")
        assert answer.headers[b"function-name"].decode() == sample.name
        lines = sample.log(answer.headers[b"x-fc-request-id"].decode())
        assert "Path: x/y" in lines
        assert "Data: b'data'" in lines

    def test_four_instances_serve_at_once_on_the_same_port(self, sample: Web) -> None:
        need_networks(sample.server)
        before = len(sample.log())
        clients = [Raw(sample.server) for _ in range(4)]
        for client in clients:  # all of a request but its end
            client.send(sample.request("POST", "/x", b"12345")[:-1])
        wait_until(lambda: sum("Invoke Start" in line for line in sample.log()[before:]) >= 8)
        for client in clients:
            client.send(b"5")
        answers = [client.read() for client in clients]
        for client in clients:
            client.socket.close()
        assert [answer.body for answer in answers] == [b"Hello, World!"] * 4
        assert len({answer.headers[b"host-name"] for answer in answers}) == 4

    def test_hooks_are_called_when_an_instance_comes_and_goes(
        self, create: Callable[..., Web], files: dict[str, str | bytes]
    ) -> None:
        web = create(files, "python3 app.py", instanceLifecycleConfig=self.HOOKS)
        assert web.ask("GET", "/").status == 200
        update_function(web.sdk, web.name, description="new", timeout=9)
        web.wait_line("FC PreStop End")
        for name in ("Initialize", "PreStop"):
            marks = [line for line in web.log() if line.startswith(f"FC {name} ")]
            request_id = marks[0].rpartition(" ")[2]
            assert marks == [  # as said by the platform and by the program
                f"FC {name} Start RequestId: {request_id}",
                f"FC {name} Start RequestId: {request_id}",
                f"FC {name} End RequestId: {request_id}",
                f"FC {name} End RequestId: {request_id}",
            ]

    @pytest.mark.parametrize("status", ["404", "500"])
    def test_a_failed_initializer_is_what_callers_see(
        self, create: Callable[..., Web], files: dict[str, str | bytes], status: str
    ) -> None:
        web = create(
            files,
            "python3 app.py",
            instanceLifecycleConfig=self.HOOKS,
            environmentVariables={"INITIALIZE": status},
        )
        headers, body = web.invoke()
        assert headers["x-fc-error-type"] == "InitializationError"
        assert f"status {status}" in error_of(body)["errorMessage"]
