import base64
import io
import json
import stat
import zipfile

import httpx
import pytest
from typer.testing import CliRunner

import anyfc.client
from anyfc.cli.deploy import (
    PackageError,
    default_handler,
    default_name,
    hooks,
    parse_variables,
    read_package,
)
from anyfc.cli.main import app


@pytest.fixture
def folder(tmp_path):
    """A function with a bit of everything."""
    root = tmp_path / "greeter"
    (root / "lib").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.py").write_text("def handler(event, context):\n    return event\n")
    (root / "lib" / "words.txt").write_text("héllo")
    (root / "bootstrap").write_text("#!/bin/sh\n")
    (root / "bootstrap").chmod(0o755)
    (root / "index.py").chmod(0o640)
    return root


def unpacked(package):
    return zipfile.ZipFile(io.BytesIO(package))


def test_a_folder_is_packed_with_its_files_and_empty_folders(folder):
    archive = unpacked(read_package(folder))
    assert archive.namelist() == ["bootstrap", "empty/", "index.py", "lib/", "lib/words.txt"]
    assert archive.read("lib/words.txt") == "héllo".encode()
    assert archive.testzip() is None


def test_modes_survive(folder):
    archive = unpacked(read_package(folder))
    modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes["bootstrap"] == stat.S_IFREG | 0o755
    assert modes["index.py"] == stat.S_IFREG | 0o640
    assert stat.S_ISDIR(modes["empty/"])
    assert all(entry.create_system == 3 for entry in archive.infolist())


def test_equal_code_gives_equal_packages(folder, tmp_path):
    first = read_package(folder)
    (folder / "index.py").touch()
    other = tmp_path / "elsewhere" / "greeter"
    other.parent.mkdir()
    folder.rename(other)
    assert read_package(other) == first


@pytest.mark.parametrize("name", ["__pycache__", ".git", ".mypy_cache"])
def test_what_tools_leave_behind_is_not_packed(folder, name):
    for parent in (folder, folder / "lib"):
        (parent / name).mkdir()
        (parent / name / "x").write_text("x")
    assert not [path for path in unpacked(read_package(folder)).namelist() if name in path]


def test_links_become_what_they_point_to(folder):
    (folder / "lib" / "again.py").symlink_to("../index.py")
    (folder / "words").symlink_to("lib")
    archive = unpacked(read_package(folder))
    assert archive.read("lib/again.py") == archive.read("index.py")
    assert archive.read("words/words.txt") == "héllo".encode()
    assert all(not stat.S_ISLNK(entry.external_attr >> 16) for entry in archive.infolist())


def test_a_link_to_a_folder_around_it_is_refused(folder):
    (folder / "lib" / "up").symlink_to("..")
    with pytest.raises(PackageError, match="up is a link to a folder that holds it"):
        read_package(folder)


def test_a_link_to_nothing_is_named(folder):
    (folder / "gone").symlink_to("nowhere")
    with pytest.raises(PackageError, match="gone: No such file"):
        read_package(folder)


def test_one_file_is_packed_under_its_own_name(folder):
    assert unpacked(read_package(folder / "index.py")).namelist() == ["index.py"]


def test_a_zip_is_taken_as_it_is(folder, tmp_path):
    package = read_package(folder)
    path = tmp_path / "made.zip"
    path.write_bytes(package)
    assert read_package(path) == package


def test_what_cannot_be_packed_is_named(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    (tmp_path / "void").mkdir()
    for name, why in {
        "bad.zip": "is not a zip archive",
        "void": "holds no files",
        "gone": "No such file",
        "gone.zip": "No such file",
    }.items():
        with pytest.raises(PackageError, match=f"{name}.*{why}"):
            read_package(tmp_path / name)


def test_names_and_handlers_come_from_the_source(folder, monkeypatch):
    assert default_name(folder) == "greeter"
    assert default_handler(folder) == "index.handler"
    assert default_name(folder / "index.py") == "index"
    (folder / "main.py").write_text("")
    assert default_handler(folder / "main.py") == "main.handler"
    monkeypatch.chdir(folder)
    assert default_name(type(folder)(".")) == "greeter"


def test_variables_may_hold_equals_signs():
    assert parse_variables(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}


@pytest.mark.parametrize("pair", ["A", "=1", ""])
def test_a_variable_without_a_name_or_value_is_refused(pair):
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_variables([pair])


def test_hooks_are_left_out_when_they_are_not_given():
    assert hooks(initializer=(None, 3), preStop=(None, 3)) is None
    assert hooks(initializer=("index.init", 9), preStop=(None, 3)) == {
        "initializer": {"handler": "index.init", "timeout": 9}
    }


class Functions:
    """A server that keeps settings and knows nothing else."""

    def __init__(self):
        self.settings = {}
        self.sent = []

    def __call__(self, request):
        name = request.url.path.partition("/functions/")[2]
        if request.method == "GET" and name not in self.settings:
            return httpx.Response(404, json={"Code": "FunctionNotFound", "Message": "none"})
        if request.method != "GET":
            sent = json.loads(request.content)
            self.sent.append(sent)
            name = name or sent["functionName"]
            self.settings[name] = {**self.settings.get(name, {}), **sent}
        return httpx.Response(200, json=self.settings[name])


@pytest.fixture
def server(monkeypatch, tmp_path):
    functions, real = Functions(), anyfc.client.Client
    monkeypatch.setattr(
        anyfc.client,
        "Client",
        lambda *place, **keys: real(*place, **keys, transport=httpx.MockTransport(functions)),
    )
    monkeypatch.delenv("ANYFC_ENDPOINT", raising=False)
    monkeypatch.setenv("ANYFC_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("ANYFC_ACCESS_KEY_SECRET", "secret")
    monkeypatch.setenv("ANYFC_DATA_DIR", str(tmp_path / "data"))
    return functions


def run(*words):
    return CliRunner().invoke(app, ["deploy", *map(str, words)])


def test_a_new_function_is_created_with_defaults(server, folder):
    result = run(folder, "--env", "A=1", "--initializer", "index.init")
    assert result.exit_code == 0
    assert result.stdout.startswith("created greeter · python3.12 · index.handler")
    (sent,) = server.sent
    package = base64.b64decode(sent.pop("code")["zipFile"])
    assert package == read_package(folder)
    assert sent == {
        "functionName": "greeter",
        "runtime": "python3.12",
        "handler": "index.handler",
        "environmentVariables": {"A": "1"},
        "instanceLifecycleConfig": {"initializer": {"handler": "index.init", "timeout": 3}},
    }


def test_an_existing_function_keeps_the_settings_that_are_not_given(server, folder):
    run(folder, "--name", "f", "--runtime", "python3.10", "--timeout", "9")
    result = run(folder, "--name", "f", "--memory", "256", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["timeout"] == 9
    assert set(server.sent[1]) == {"code", "memorySize"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--env", "A"], "--env: 'A' is not of the form KEY=VALUE"),
        (["--endpoint", "nowhere"], "InvalidEndpoint"),
    ],
)
def test_a_mistake_ends_with_2_and_an_explanation(server, folder, words, why):
    result = run(folder, *words)
    assert result.exit_code == 2
    assert "anyfc: could not deploy greeter" in result.stderr
    assert why in result.stderr
    assert result.stdout == ""
    assert server.sent == []


def test_code_that_cannot_be_packed_never_reaches_the_server(server, tmp_path):
    result = run(tmp_path / "gone")
    assert result.exit_code == 2
    assert "packing failed" in result.stderr
    assert server.sent == []
