import os
import zipfile
from pathlib import Path

import pytest

from anyfc.cli.check import (
    SettingsRefused,
    check,
    default_handler,
    default_settings,
    settle_name,
)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "greeter"
    root.mkdir()
    return root


def write(folder, name, mode=0o644):
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_names_and_handlers_come_from_the_source(folder, monkeypatch):
    index, main = write(folder, "index.py"), write(folder, "main.py")
    assert settle_name("", folder) == "greeter"
    assert settle_name("mine", folder) == "mine"
    assert default_handler(folder) == "index.handler"
    assert settle_name("", index) == "index"
    assert default_handler(main) == "main.handler"
    monkeypatch.chdir(folder)
    assert settle_name("", Path(".")) == "greeter"


@pytest.mark.parametrize("name", ["my app", "my.app", "1st", os.fsdecode(b"caf\xe9")])
def test_a_folder_whose_name_no_function_can_have_is_asked_about(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(SettingsRefused) as caught:
        settle_name("", tmp_path / name)
    assert "must begin with a letter" in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.hint == "Give one with --name."


def test_a_bootstrap_that_can_be_executed_makes_a_custom_runtime(folder):
    write(folder, "bootstrap", 0o755)
    assert default_settings(folder, {}) == {
        "runtime": "custom.debian12",
        "handler": "index.handler",
        "timeout": 60,
    }


def test_a_bootstrap_beside_an_index_or_without_its_mode_does_not(folder):
    bootstrap = write(folder, "bootstrap", 0o644)
    assert default_settings(folder, {})["runtime"] == "python3.12"
    bootstrap.chmod(0o755)
    write(folder, "index.py")
    assert default_settings(folder, {}) == {"runtime": "python3.12", "handler": "index.handler"}


def test_a_command_makes_a_custom_runtime_and_a_port_alone_does_not(folder):
    runtimes = [
        default_settings(folder, {"customRuntimeConfig": custom})["runtime"]
        for custom in ({"command": ["node", "x.js"]}, {"port": 80})
    ]
    assert runtimes == ["custom.debian12", "python3.12"]


def test_a_runtime_that_is_given_is_not_guessed(folder):
    write(folder, "bootstrap", 0o755)
    assert default_settings(folder, {"runtime": "python3.10"})["runtime"] == "python3.10"
    assert default_settings(folder, {"runtime": "custom"})["timeout"] == 60


def refused(source, given, function=None, *, handler_chosen=False):
    with pytest.raises(SettingsRefused) as caught:
        check(source, given, function or given, handler_chosen=handler_chosen)
    return str(caught.value), caught.value.hint


def accept(source, given, function=None, *, handler_chosen=False):
    check(source, given, function or given, handler_chosen=handler_chosen)


PYTHON = {"runtime": "python3.12", "handler": "index.handler"}


def test_settings_of_a_server_need_a_custom_runtime(folder):
    write(folder, "index.py")
    why, hint = refused(folder, {**PYTHON, "customRuntimeConfig": {"port": 80}})
    assert why == "--port: for custom runtimes, and the runtime is python3.12"
    assert "--runtime custom.debian12" in hint


def test_those_of_an_earlier_runtime_are_nobodys_mistake(folder):
    write(folder, "index.py")
    accept(folder, PYTHON, {**PYTHON, "customRuntimeConfig": {"port": 80}})


def test_a_custom_runtime_needs_something_to_start(folder):
    custom = {"runtime": "custom.debian12", "handler": "index.handler"}
    why, hint = refused(folder, {**custom, "customRuntimeConfig": {"port": 80}})
    assert "holds no file bootstrap" in why
    assert "--command" in hint
    write(folder, "bootstrap", 0o644)
    why, hint = refused(folder, custom)
    assert "it is not executable" in why
    assert hint.startswith("chmod +x")
    (folder / "bootstrap").chmod(0o755)
    accept(folder, custom)
    accept(folder / "bootstrap", custom)
    (folder / "bootstrap").unlink()
    accept(folder, {**custom, "customRuntimeConfig": {"args": ["x"]}})


def test_a_folder_without_the_usual_handler_is_asked_about(folder):
    write(folder, "app.py")
    why, hint = refused(folder, PYTHON)
    assert "holds no index.py" in why
    assert "--handler" in hint
    assert "--command" in hint
    accept(folder, PYTHON, handler_chosen=True)
    accept(folder, {**PYTHON, "handler": "app.handler"})
    accept(folder, {**PYTHON, "runtime": "nodejs20"})
    (folder / "index").mkdir()
    accept(folder, PYTHON)


@pytest.mark.parametrize("name", ["srv.js", "bootstrap", "x.tar.gz"])
def test_one_file_that_is_no_python_is_asked_about(folder, name):
    why, hint = refused(write(folder, name), PYTHON)
    assert f"{name} is no Python file, and the runtime is python3.12" in why
    assert "--command" in hint


def zipped(folder, name, *entries):
    with zipfile.ZipFile(folder / name, "w") as archive:
        for entry, mode in entries:
            info = zipfile.ZipInfo(entry)
            info.external_attr = mode << 16
            archive.writestr(info, "")
    return folder / name


def test_a_zip_is_looked_into(folder):
    accept(zipped(folder, "a.zip", ("index.py", 0)), PYTHON)
    accept(zipped(folder, "b.ZIP", ("index/__init__.py", 0)), PYTHON)
    deep = zipped(folder, "deep.zip", ("greeter/index.py", 0o644))
    assert "deep.zip holds no index.py" in refused(deep, PYTHON)[0]
    custom = {"runtime": "custom"}
    server = zipped(folder, "server.zip", ("bootstrap", 0o755), ("lib/bootstrap", 0))
    accept(server, custom)
    assert default_settings(server, {})["runtime"] == "custom.debian12"
    plain = zipped(folder, "plain.zip", ("bootstrap", 0o644), ("lib/bootstrap", 0o755))
    why, hint = refused(plain, custom)
    assert "bootstrap in" in why
    assert hint == "chmod +x bootstrap, and zip it again."
    assert default_settings(plain, {})["runtime"] == "python3.12"


@pytest.mark.parametrize("program", [".venv/bin/python", "/code/.venv/bin/gunicorn"])
def test_a_program_that_is_left_out_cannot_be_started(folder, program):
    (folder / ".venv" / "bin").mkdir(parents=True)
    custom = {"runtime": "custom", "customRuntimeConfig": {"command": [program, "app.py"]}}
    accept(folder, custom)
    (folder / ".venv" / "pyvenv.cfg").touch()
    why, hint = refused(folder, custom)
    assert f"{program} is in a virtual environment" in why
    assert "pip install --target" in hint


def test_a_timeout_needs_its_hook(folder):
    write(folder, "index.py")
    given = {"instanceLifecycleConfig": {"initializer": {"timeout": 9}}}
    why, hint = refused(folder, {**PYTHON, **given})
    assert why == "--initializer-timeout: the function has no initializer"
    assert "--initializer HANDLER" in hint
    whole = {"instanceLifecycleConfig": {"initializer": {"timeout": 9, "handler": "index.init"}}}
    accept(folder, given, {**PYTHON, **whole})
    given = {"instanceLifecycleConfig": {"preStop": {"timeout": 9, "handler": ""}}}
    assert "--pre-stop-timeout" in refused(folder, {**PYTHON, **given})[0]
