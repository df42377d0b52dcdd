import pytest

from anyfc.cli.function import (
    complete,
    custom_runtime,
    hooks,
    parse_variables,
    render_start,
)


def test_variables_may_hold_equals_signs():
    assert parse_variables(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}
    assert parse_variables(None) is None


@pytest.mark.parametrize("pair", ["A", "=1", ""])
def test_a_variable_without_a_name_or_value_is_refused(pair):
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_variables([pair])


def test_hooks_are_left_out_when_they_are_not_given():
    assert hooks(initializer=(None, None), preStop=(None, None)) is None
    assert hooks(initializer=("index.init", None), preStop=(None, 9)) == {
        "initializer": {"handler": "index.init"},
        "preStop": {"timeout": 9},
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


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"handler": "new"}, {"handler": "new", "timeout": 3}),
        ({"timeout": 90}, {"handler": "yes", "timeout": 90}),
        ({"handler": ""}, {"handler": ""}),
    ],
)
def test_of_a_hook_too_what_is_not_given_is_kept(given, sent):
    changed = complete({"instanceLifecycleConfig": {"initializer": given}}, OLD)
    assert changed["instanceLifecycleConfig"]["initializer"] == sent


def test_a_handler_takes_the_place_of_a_command():
    old = {"instanceLifecycleConfig": {"preStop": {"command": ["sh"], "timeout": 4}}}
    changed = complete({"instanceLifecycleConfig": {"preStop": {"handler": "yes"}}}, old)
    assert changed["instanceLifecycleConfig"] == {"preStop": {"handler": "yes", "timeout": 4}}


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
