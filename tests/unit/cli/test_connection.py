import pytest
from typer.testing import CliRunner

from anyfc.cli.main import app


@pytest.fixture(autouse=True)
def data_dir(monkeypatch, tmp_path):
    for name in ("ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET"):
        monkeypatch.delenv(f"ANYFC_{name}", raising=False)
    monkeypatch.setenv("ANYFC_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def run(*words):
    return CliRunner().invoke(app, ["list", *words])


def test_a_missing_key_comes_with_advice_and_makes_no_folder(data_dir):
    result = run()
    assert result.exit_code == 2
    assert "anyfc: could not list the functions" in result.stderr
    assert "no access key" in result.stderr
    assert "anyfc serve" in result.stderr
    assert not data_dir.exists()


def test_half_a_key_is_named(monkeypatch):
    monkeypatch.setenv("ANYFC_ACCESS_KEY_ID", "id")
    result = run()
    assert result.exit_code == 2
    assert "only one of them is set" in result.stderr


def test_a_setting_that_cannot_be_read_is_named(monkeypatch):
    monkeypatch.setenv("ANYFC_PORT", "many")
    result = run()
    assert result.exit_code == 2
    assert "ANYFC_PORT: 'many'" in result.stderr


def test_a_script_that_deletes_is_not_asked():
    result = CliRunner().invoke(app, ["delete", "f"], input="")
    assert result.exit_code == 2  # there is no key here: the command went on to need one
    assert "could not delete f" in result.stderr
