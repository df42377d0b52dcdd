import pytest

from anyfc.cli.changes import find_mistakes, is_source, render_changes

ROOT = "/home/ada/.git/hello"


@pytest.mark.parametrize(
    "path",
    [
        "index.py",
        "lib/words.txt",
        "node_modules/left-pad/index.js",
        "templates/.hidden",
        ".env",
        ".cache/kept",
        "static/logo.swf",
    ],
)
def test_a_file_of_the_function_counts(path):
    assert is_source(f"{ROOT}/{path}", ROOT)


@pytest.mark.parametrize(
    "path",
    [
        ".git/index",
        "lib/__pycache__/words.cpython-312.pyc",
        "node_modules/.cache/babel/x.json",
        "web/node_modules/.cache/y",
        ".index.py.swp",
        ".index.py.swx",
        "index.py~",
        ".#index.py",
        "#index.py#",
        "4913",
        "index.pyc",
        ".___jb_tmp___",
        ".goutputstream-ABC123",
        ".mypy_cache/3.12/x.json",
    ],
)
def test_what_tools_and_editors_write_beside_it_does_not(path):
    assert not is_source(f"{ROOT}/{path}", ROOT)


def test_one_change_is_named_and_more_are_counted():
    assert render_changes([f"{ROOT}/lib/a.py"], ROOT) == "lib/a.py"
    assert render_changes([f"{ROOT}/{name}.py" for name in "abc"], ROOT) == "a.py and 2 more"


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
    first, second = find_mistakes(paths)
    assert first == f"{tmp_path}/open.py:2: SyntaxError: '(' was never closed"
    assert second.startswith(f"{tmp_path}/zero.py")
