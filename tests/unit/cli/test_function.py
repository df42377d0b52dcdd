import pytest

from anyfc.cli.function import (
    SettingsRefused,
    check,
    complete,
    custom_runtime,
    default_handler,
    default_name,
    default_settings,
    hooks,
    parse_variables,
    render_start,
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
    assert default_name(folder) == "greeter"
    assert default_handler(folder) == "index.handler"
    assert default_name(index) == "index"
    assert default_handler(main) == "main.handler"
    monkeypatch.chdir(folder)
    assert default_name(type(folder)(".")) == "greeter"


def test_variables_may_hold_equals_signs():
    assert parse_variables(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}
    assert parse_variables(None) is None


@pytest.mark.parametrize("pair", ["A", "=1", ""])
def test_a_variable_without_a_name_or_value_is_refused(pair):
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_variables([pair])


def test_hooks_are_left_out_when_they_are_not_given():
    assert hooks(initializer=(None, 3), preStop=(None, 3)) is None
    assert hooks(initializer=("index.init", 9), preStop=(None, 3)) == {
        "initializer": {"handler": "index.init", "timeout": 9}
    }


def test_a_command_is_read_as_a_shell_reads_words():
    given = custom_runtime(command="python3 'my server.py' -v", port=8080, health_check="/up")
    assert given == {
        "command": ["python3", "my server.py", "-v"],
        "port": 8080,
        "healthCheckConfig": {"httpGetUrl": "/up"},
    }
    assert custom_runtime(command=None, port=None, health_check=None) is None


@pytest.mark.parametrize(("command", "why"), [("sh -c 'x", "No closing quot"), (" ", "empty")])
def test_a_command_that_holds_no_words_is_refused(command, why):
    with pytest.raises(ValueError, match=f"--command: .*{why}"):
        custom_runtime(command=command, port=None, health_check=None)


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


OLD = {
    "customRuntimeConfig": {
        "command": ["python3"],
        "args": ["old.py"],
        "port": 80,
        "healthCheckConfig": {"httpGetUrl": "/old", "periodSeconds": 9},
    },
    "instanceLifecycleConfig": {"initializer": {"handler": "yes", "timeout": 3}},
}


def test_an_update_keeps_what_is_not_given_of_a_group():
    sent = complete({"customRuntimeConfig": {"port": 81}, "timeout": 5}, OLD)
    assert sent == {
        "customRuntimeConfig": {**OLD["customRuntimeConfig"], "port": 81},
        "timeout": 5,
    }
    stop = {"preStop": {"handler": "yes", "timeout": 9}}
    assert complete({"instanceLifecycleConfig": stop}, OLD) == {
        "instanceLifecycleConfig": {**OLD["instanceLifecycleConfig"], **stop}
    }
    health = {"customRuntimeConfig": {"healthCheckConfig": {"httpGetUrl": "/new"}}}
    assert complete(health, OLD)["customRuntimeConfig"]["healthCheckConfig"] == {
        "httpGetUrl": "/new",
        "periodSeconds": 9,
    }


def test_a_new_command_takes_the_arguments_of_the_old_one_away():
    sent = complete({"customRuntimeConfig": {"command": ["sh", "new.sh"]}}, OLD)
    assert sent["customRuntimeConfig"] == {
        "command": ["sh", "new.sh"],
        "port": 80,
        "healthCheckConfig": {"httpGetUrl": "/old", "periodSeconds": 9},
    }
    assert complete({"customRuntimeConfig": {"port": 1}}, {}) == {
        "customRuntimeConfig": {"port": 1}
    }


def refused(folder, function, *, handler_given=False):
    with pytest.raises(SettingsRefused) as caught:
        check(folder, function, handler_given=handler_given)
    return str(caught.value), caught.value.hint


def test_settings_of_a_server_need_a_custom_runtime(folder):
    write(folder, "index.py")
    why, hint = refused(folder, {"runtime": "python3.12", "customRuntimeConfig": {"port": 80}})
    assert "the runtime is python3.12" in why
    assert "--runtime custom.debian12" in hint


def test_a_custom_runtime_needs_something_to_start(folder):
    why, hint = refused(folder, {"runtime": "custom", "customRuntimeConfig": {"port": 80}})
    assert "holds no file bootstrap" in why
    assert "--command" in hint
    write(folder, "bootstrap", 0o644)
    why, hint = refused(folder, {"runtime": "custom.debian12"})
    assert "it is not executable" in why
    assert hint.startswith("chmod +x")
    (folder / "bootstrap").chmod(0o755)
    check(folder, {"runtime": "custom"}, handler_given=False)
    (folder / "bootstrap").unlink()
    check(
        folder, {"runtime": "custom", "customRuntimeConfig": {"args": ["x"]}}, handler_given=False
    )


def test_a_folder_without_the_usual_handler_is_asked_about(folder):
    write(folder, "app.py")
    why, hint = refused(folder, {"runtime": "python3.12"})
    assert "holds no index.py" in why
    assert "--handler" in hint
    assert "--command" in hint
    check(folder, {"runtime": "python3.12"}, handler_given=True)
    check(folder, {"runtime": "nodejs20"}, handler_given=False)
    (folder / "index").mkdir()
    check(folder, {"runtime": "python3.12"}, handler_given=False)


def test_a_zip_is_not_looked_into(folder):
    path = write(folder, "code.zip")
    check(path, {"runtime": "python3.12"}, handler_given=False)
    check(path, {"runtime": "custom"}, handler_given=False)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ({"runtime": "python3.12", "handler": "index.handler"}, "python3.12 · index.handler"),
        (
            {
                "runtime": "custom",
                "handler": "x",
                "customRuntimeConfig": {"command": ["python3"], "args": ["a b.py"], "port": 9000},
            },
            "custom · python3 'a b.py' · port 9000",
        ),
        (
            {"runtime": "custom", "customRuntimeConfig": {"command": [], "args": [], "port": 80}},
            "custom · /code/bootstrap · port 80",
        ),
    ],
)
def test_what_starts_is_said_in_a_few_words(function, text):
    assert render_start(function) == text
