"""The hot path: which modules are compiled, and what mypyc asks of them (decision 13)."""

import ast
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from anyfc.cli.serve import is_compiled

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
MODULES = WHEEL["hooks"]["custom"]["modules"]


def async_generators(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Yield)]
            if inner:
                yield node.name


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_hot_path_can_be_compiled(module: str):
    tree = ast.parse((ROOT / "src" / f"{module.replace('.', '/')}.py").read_text())
    assert not list(async_generators(tree)), "mypyc has no asynchronous generators"
    eaten = [n for node in ast.walk(tree) if isinstance(node, ast.Call) for n in node.args]
    for node in ast.walk(tree):
        if isinstance(node, ast.GeneratorExp):
            assert node in eaten, f"mypyc makes a list of it: line {node.lineno}"
        if isinstance(node, ast.ClassDef):
            # They would lose what is said with the keywords, such as `frozen`, without a word.
            assert not node.keywords, f"{node.name} is made with keywords"


@pytest.mark.parametrize("module", MODULES)
def test_all_of_the_hot_path_is_compiled_where_some_of_it_is(module: str):
    if not is_compiled():
        pytest.skip("anyfc is interpreted here; `make test-compiled` runs this")
    assert str(import_module(module).__file__).endswith(".so")
