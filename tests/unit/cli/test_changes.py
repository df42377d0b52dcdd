import pytest

from anyfc.cli.changes import is_source, render_changes

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


def test_a_new_folder_and_a_name_that_is_not_utf_8_can_be_named():
    assert render_changes([ROOT, f"{ROOT}/a.py"], ROOT) == "the whole folder"
    assert render_changes([f"{ROOT}/caf\udce9"], ROOT) == "caf\\xe9"


def test_what_a_server_or_an_interpreter_keeps_in_the_folder_does_not_count(tmp_path):
    for name, files in {
        "data": ("credentials.json", "anyfc.db"),
        "env": ("pyvenv.cfg",),
        "named": (),
        "lib": (),
    }.items():
        (tmp_path / name / "sub").mkdir(parents=True)
        for file in files:
            (tmp_path / name / file).touch()
    counted = [
        name
        for name in ("data", "env", "named", "lib")
        for path in (name, f"{name}/sub/x")
        if is_source(str(tmp_path / path), str(tmp_path), tmp_path / "named")
    ]
    assert counted == ["lib", "lib"]
    assert is_source(str(tmp_path), str(tmp_path))
