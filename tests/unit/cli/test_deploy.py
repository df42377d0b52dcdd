import base64
import io
import json
import zipfile

import pytest
from typer.testing import CliRunner

from anyfc.cli.deploy import parse_methods
from anyfc.cli.main import app
from anyfc.cli.package import read_package


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "greeter"
    root.mkdir()
    (root / "index.py").write_text("def handler(event, context):\n    return event\n")
    return root


@pytest.fixture
def server_folder(tmp_path):
    root = tmp_path / "shop"
    root.mkdir()
    (root / "bootstrap").write_text("#!/bin/sh\nexec python3 server.py\n")
    (root / "bootstrap").chmod(0o755)
    return root


def run(*words):
    return CliRunner().invoke(app, ["deploy", *map(str, words)])


def test_a_new_function_is_created_with_defaults(api, folder):
    result = run(folder, "--env", "A=1", "--initializer", "index.init")
    assert result.exit_code == 0
    assert result.stdout.startswith("created greeter · python3.12 · index.handler")
    assert result.stdout.count("\n") == 1
    (sent,) = api.bodies
    package = base64.b64decode(sent.pop("code")["zipFile"])
    assert package == read_package(folder).data
    assert sent == {
        "functionName": "greeter",
        "runtime": "python3.12",
        "handler": "index.handler",
        "environmentVariables": {"A": "1"},
        "instanceLifecycleConfig": {"initializer": {"handler": "index.init"}},
    }


def test_an_existing_function_keeps_the_settings_that_are_not_given(api, folder):
    run(folder, "--name", "f", "--runtime", "python3.10", "--timeout", "9")
    result = run(folder, "--name", "f", "--memory", "256", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["timeout"] == 9
    assert set(api.bodies[1]) == {"code", "memorySize"}


def test_a_folder_with_a_bootstrap_becomes_a_custom_runtime(api, server_folder):
    result = run(server_folder, "--port", "8080", "--concurrency", "20")
    assert result.exit_code == 0
    assert "shop · custom.debian12 · /code/bootstrap · port 8080" in result.stdout
    (sent,) = api.bodies
    assert sent["customRuntimeConfig"] == {"port": 8080}
    assert (sent["instanceConcurrency"], sent["timeout"]) == (20, 60)


def test_an_update_of_the_port_keeps_the_command(api, server_folder):
    run(server_folder, "--command", "python3 server.py", "--health-check", "/up")
    run(server_folder, "--port", "81")
    assert api.bodies[1]["customRuntimeConfig"] == {
        "command": ["python3", "server.py"],
        "healthCheckConfig": {"httpGetUrl": "/up"},
        "port": 81,
    }


@pytest.mark.parametrize("own_networks", [None, True])
def test_nothing_is_said_of_networks_where_instances_have_their_own(
    api, server_folder, own_networks
):
    api.own_networks = own_networks
    assert "network" not in run(server_folder).stdout


def test_turns_at_a_port_are_said_where_instances_have_no_networks(api, server_folder, folder):
    api.own_networks = False
    run(server_folder, "--port", "8080")
    assert "all that listen on port 8080, one runs at a time" in run(server_folder).stdout
    assert "network" not in run(folder).stdout


def test_a_port_that_is_the_servers_own_is_said_too(api, server_folder):
    api.own_networks = False
    said = run(server_folder).stdout
    assert "port 9000 is the server's own" in said
    assert "one runs at a time" not in said
    assert "server's own" not in run(server_folder, "--endpoint", "http://h:9001").stdout


def test_of_a_hook_that_is_there_one_thing_can_be_changed(api, folder):
    run(folder, "--initializer", "index.init", "--initializer-timeout", "90")
    run(folder, "--initializer", "index.other", "--pre-stop", "index.stop")
    run(folder, "--pre-stop-timeout", "7")
    assert [body["instanceLifecycleConfig"] for body in api.bodies[1:]] == [
        {"initializer": {"handler": "index.other", "timeout": 90},
         "preStop": {"handler": "index.stop"}},
        {"initializer": {"handler": "index.other", "timeout": 90},
         "preStop": {"handler": "index.stop", "timeout": 7}},
    ]  # fmt: skip


def test_a_custom_runtime_can_become_a_python_one(api, server_folder):
    run(server_folder, "--port", "8080")
    result = run(server_folder, "--runtime", "python3.12")
    assert "holds no index.py" in result.stderr
    (server_folder / "index.py").touch()
    assert run(server_folder, "--runtime", "python3.12").exit_code == 0
    assert "customRuntimeConfig" not in api.bodies[1]
    result = run(server_folder, "--runtime", "python3.12", "--health-check", "/up")
    assert "--health-check: for custom runtimes" in result.stderr


def test_a_data_directory_in_the_folder_stays_out_of_the_package(api, folder):
    (folder / "state").mkdir()
    (folder / "state" / "credentials.json").write_text("secret")
    (folder / "gone").symlink_to("/nowhere")
    result = run(folder, "--data-dir", folder / "state")
    assert result.exit_code == 0
    assert f"left out: {folder}/state is the data directory of a server" in result.stderr
    assert f"left out: {folder}/gone is a link to nothing" in result.stderr
    package = base64.b64decode(api.bodies[0]["code"]["zipFile"])
    assert zipfile.ZipFile(io.BytesIO(package)).namelist() == ["index.py"]


def test_an_address_is_made_and_printed(api, folder):
    result = run(folder, "--http")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "at http://http-qwertzuiop.cn-hangzhou.fcapp.localhost:9000 · anonymous"
    ]
    assert api.sent[1][:2] == ("POST", "/functions/greeter/triggers/http")
    again = run(folder)
    assert again.stdout.splitlines()[1:] == result.stdout.splitlines()[1:]


def test_what_is_said_of_the_trigger_includes_it(api, folder, tmp_path):
    (tmp_path / "auth.json").write_text('{"tokens": []}')
    result = run(
        folder, "--auth", "bearer", "--auth-config", tmp_path / "auth.json", "--methods", "get,POST"
    )
    assert result.stdout.endswith(" · bearer · GET,POST\n")
    assert json.loads(api.bodies[1]["triggerConfig"]) == {
        "methods": ["GET", "POST"],
        "authType": "bearer",
        "authConfig": {"tokens": []},
    }


def test_a_domain_is_made_with_a_route_and_printed_with_the_port(api, folder):
    result = run(folder, "--domain", "api.example.com", "--route", "/v1/*")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == ["at http://api.example.com:9000/v1/* · anonymous"]
    assert api.sent[1][1] == "/custom-domains/api.example.com"


def test_json_has_the_function_and_what_leads_to_it(api, folder):
    result = run(folder, "--http", "--domain", "example.com", "--json")
    shown = json.loads(result.stdout)
    assert shown["functionName"] == "greeter"
    assert shown["httpTrigger"]["urlInternet"].startswith("http://http-")
    assert shown["customDomain"]["domainName"] == "example.com"


@pytest.mark.parametrize(
    ("words", "collection", "phase"),
    [
        (["--http"], "triggers", "give greeter an HTTP trigger"),
        (["--domain", "example.com"], "custom-domains", "route example.com/* to greeter"),
    ],
)
def test_a_failure_after_the_function_says_what_is_done_already(
    api, folder, words, collection, phase
):
    api.refuse["POST", collection] = "LimitExceededError"
    result = run(folder, *words)
    assert result.exit_code == 2
    assert f"could not {phase}; greeter itself is created" in result.stderr
    assert "LimitExceededError (400)" in result.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--env", "A"], "--env: 'A' is not of the form KEY=VALUE"),
        (["--endpoint", "nowhere"], "InvalidEndpoint"),
        (["--command", "sh -c '"], "--command: No closing quotation"),
        (["--port", "80"], "the runtime is python3.12"),
        (["--initializer-timeout", "90"], "the function has no initializer"),
        (["--route", "/v1/*"], "--route, --certificate and --private-key need a --domain"),
        (["--certificate", __file__, "--private-key", __file__], "need a --domain"),
        (["--description", "caf\udce9"], "InvalidText: not UTF-8: '"),
        (["--auth-config", "gone.json"], "--auth-config: gone.json: No such file"),
    ],
)
def test_a_mistake_ends_with_2_and_an_explanation(api, folder, words, why):
    result = run(folder, *words)
    assert result.exit_code == 2
    assert "anyfc: could not deploy greeter" in result.stderr
    assert why in result.stderr
    assert result.stdout == ""
    assert api.sent == []


@pytest.mark.parametrize(("text", "why"), [("{", "is not JSON"), ("[]", "holds no JSON object")])
def test_settings_of_the_authentication_must_be_an_object(api, folder, tmp_path, text, why):
    (tmp_path / "auth.json").write_text(text)
    result = run(folder, "--auth", "jwt", "--auth-config", tmp_path / "auth.json")
    assert result.exit_code == 2
    assert why in result.stderr


def test_code_that_cannot_be_packed_never_reaches_the_server(api, tmp_path):
    result = run(tmp_path / "gone")
    assert result.exit_code == 2
    assert "packing failed" in result.stderr
    assert api.sent == []


def test_a_name_that_a_function_cannot_have_is_asked_for(api, folder):
    other = folder.rename(folder.with_name("my app"))
    result = run(other)
    assert result.exit_code == 2
    assert "must begin with a letter" in result.stderr
    assert "Give one with --name." in result.stderr
    assert run(other, "--name", "mine").exit_code == 0


def test_methods_are_read_in_any_case_and_with_spaces():
    assert parse_methods("get, POST,") == ["GET", "POST"]
    assert parse_methods(None) is None
