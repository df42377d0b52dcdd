import sys
from pathlib import Path

import pytest

from anyfc.cli.judge import find_judge, find_mistakes
from anyfc.config import Config
from anyfc.sandbox.interpreter import Interpreter

HERE = [Interpreter((3, 13), "/opt/python3.13"), Interpreter((3, 10), "/opt/python3.10")]


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr("anyfc.cli.modules.find_here", lambda config: HERE)
    monkeypatch.setattr("shutil.which", lambda program, path: f"/usr/bin/{Path(program).name}")

    def ask(runtime, *command, here=True):
        function = {"runtime": runtime, "customRuntimeConfig": {"command": list(command)}}
        return find_judge(function, Config(), here=here)

    return ask


def test_a_python_function_is_judged_by_the_python_that_runs_it(judge):
    assert judge("python3.10") == "/opt/python3.10"
    assert judge("python3.12") == "/opt/python3.13"  # which stands in for it


def test_a_server_elsewhere_may_have_other_ones(judge):
    assert judge("python3.10", here=False) == "/opt/python3.10"
    assert judge("python3.12", here=False) == ""
    assert judge("custom", "python3", here=False) == ""


def test_a_custom_runtime_is_judged_by_the_python_that_it_starts(judge):
    assert judge("custom", "python3", "app.py") == "/usr/bin/python3"
    assert judge("custom", "/usr/bin/python3.11", "app.py") == "/usr/bin/python3.11"
    for command in (("node", "index.js"), ("gunicorn", "app"), ("python2",), ()):
        assert judge("custom.debian12", *command) == ""
    assert judge("nodejs20") == ""


def test_mistakes_are_found_with_their_line(tmp_path):
    texts = {
        "good.py": "x = 1\n",
        "warned.py": "x = 1 is 1\n",
        "open.py": "x = 1\ny = (\n",
        "zero.py": "x\0",
        "page.html": "<p>(",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in (*texts, "gone.py")]
    first, second = find_mistakes(paths, sys.executable)
    assert first == f"{tmp_path}/open.py:2: SyntaxError: '(' was never closed"
    assert second.startswith(f"{tmp_path}/zero.py")


def test_without_a_judge_or_a_python_file_nothing_is_asked(tmp_path):
    (tmp_path / "bad.py").write_text("(")
    assert find_mistakes([str(tmp_path / "bad.py")], "") == []
    assert find_mistakes([str(tmp_path / "page.html")], "/no/such/python") == []


def test_a_judge_that_cannot_do_its_work_is_named(tmp_path):
    (tmp_path / "bad.py").write_text("(")
    (mistake,) = find_mistakes([str(tmp_path / "bad.py")], "/bin/false")
    assert mistake == "/bin/false could not look for mistakes; it says above why"
