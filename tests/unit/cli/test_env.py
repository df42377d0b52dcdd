import json

import pytest
from typer.testing import CliRunner

from anyfc.cli.env import render_exports
from anyfc.cli.main import app
from anyfc.identity.key import read_pair


@pytest.fixture
def data_dir(monkeypatch, tmp_path):
    for name in ("ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "ACCOUNT_ID", "REGION"):
        monkeypatch.delenv(f"ANYFC_{name}", raising=False)
    path = tmp_path / "data"
    monkeypatch.setenv("ANYFC_DATA_DIR", str(path))
    return path


def run(*words):
    return CliRunner().invoke(app, ["env", *words])


def test_a_shell_reads_back_every_value():
    assert render_exports({"A": "1", "B": "x'y z"}) == "export A=1\nexport B='x'\"'\"'y z'"


def test_the_key_counts_as_shown_once_it_was_printed(data_dir):
    result = run("--json")
    assert result.exit_code == 0
    pair = read_pair(data_dir)
    assert pair.shown
    assert json.loads(result.stdout) == {
        "FC_CLIENT_CUSTOM_ENDPOINT": "http://127.0.0.1:9000",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": pair.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": pair.access_key_secret,
        "FC_ACCOUNT_ID": "123456789012345",
        "FC_REGION": "cn-hangzhou",
    }
    assert "made a new key" in result.stderr
    again = run("--json")
    assert (again.stdout, again.stderr) == (result.stdout, "")


def test_keys_of_the_environment_win_and_no_file_is_made(data_dir, monkeypatch):
    monkeypatch.setenv("ANYFC_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("ANYFC_ACCESS_KEY_SECRET", "secret")
    result = run()
    assert "export ALIBABA_CLOUD_ACCESS_KEY_ID=mine\n" in result.stdout
    assert not data_dir.exists()


def test_the_endpoint_is_that_of_the_running_server(data_dir):
    data_dir.mkdir()
    (data_dir / "server.json").write_text('{"endpoint": "http://127.0.0.1:4567", "pid": 1}')
    assert "FC_CLIENT_CUSTOM_ENDPOINT=http://127.0.0.1:4567\n" in run().stdout
    assert "FC_CLIENT_CUSTOM_ENDPOINT=http://h:1\n" in run("--endpoint", "http://h:1").stdout


def test_a_directory_that_is_made_for_the_key_lets_nobody_else_in(data_dir):
    run()
    assert data_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("endpoint", ["foo bar;rm", "http://foo bar;rm", "http://h:1/path"])
def test_an_endpoint_that_is_no_address_is_refused(data_dir, endpoint):
    result = run("--endpoint", endpoint)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "InvalidEndpoint" in result.stderr
    assert not data_dir.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", "1"])
def test_a_damaged_server_file_is_named(data_dir, content):
    data_dir.mkdir()
    (data_dir / "server.json").write_text(content)
    result = run()
    assert result.exit_code == 2
    assert "server.json cannot be read" in result.stderr


def test_a_damaged_key_file_is_named(data_dir):
    data_dir.mkdir()
    (data_dir / "credentials.json").write_text("{")
    result = run()
    assert result.exit_code == 2
    assert "credentials.json cannot be read" in result.stderr
