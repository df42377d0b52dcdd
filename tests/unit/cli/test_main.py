import ast
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

import anyfc.cli
from anyfc import __version__
from anyfc.cli.main import COMMANDS, app, build

HERE = [name for name, (module, _) in COMMANDS.items() if module != "anyfc.cli.serve"]
FOLDER = Path(anyfc.cli.__file__).parent


@pytest.mark.parametrize("name", HERE)
def test_every_command_explains_itself(name):
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    module, function = COMMANDS[name]
    summary = getattr(import_module(module), function).__doc__.splitlines()[0]
    assert summary.split()[0] in result.stdout


@pytest.mark.parametrize("name", HERE)
def test_every_command_has_the_name_it_is_called_by(name):
    module, function = COMMANDS[name]
    assert build(name, getattr(import_module(module), function)).name == name


def test_the_version_is_printed():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"anyfc {__version__}\n"


def test_an_unknown_command_ends_with_2():
    result = CliRunner().invoke(app, ["lsit"])
    assert result.exit_code == 2
    assert "lsit" in result.stderr


def test_a_missing_argument_ends_with_2():
    assert CliRunner().invoke(app, ["invoke"]).exit_code == 2


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_no_command_is_slow_to_start_for_the_sake_of_another(path):
    slow = {"httpx", "rich", "anyfc.client", "anyfc.server", "msgspec", "sqlalchemy", "uvloop"}
    imported = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert not imported & slow
