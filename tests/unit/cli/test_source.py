import os
import socket
from contextlib import closing

import pytest

from anyfc.cli.source import PackageError, is_left_out, scan


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "greeter"
    (root / "lib").mkdir(parents=True)
    (root / "index.py").touch()
    (root / "lib" / "words.txt").touch()
    return root


def names(tree):
    return [entry.name for entry in tree.entries]


def links(tree):
    return {entry.name: entry.target for entry in tree.entries if entry.target}


@pytest.mark.parametrize(
    "name",
    ["__pycache__", ".git", ".mypy_cache", "index.py~", ".#index.py", "#index.py#", ".x.py.swp",
     ".___jb_tmp___", ".goutputstream-ABC123"],
)  # fmt: skip
def test_what_tools_and_editors_leave_behind_is_left_out(folder, name):
    for parent in (folder, folder / "lib"):
        (parent / name).mkdir()
        (parent / name / "x").touch()
    assert is_left_out(name)
    assert names(scan(folder)) == ["index.py", "lib/", "lib/words.txt"]


@pytest.mark.parametrize("name", ["4913", "index.pyc", ".env", "a:b", "x.swf", "#1"])
def test_what_only_looks_like_it_is_kept(name):
    assert not is_left_out(name)


def fill_data_dir(path, *files):
    path.mkdir()
    for file in files:
        (path / file).touch()


@pytest.mark.parametrize("beside", ["lock", "anyfc.db"])
def test_the_data_directory_of_a_server_is_left_out_with_its_key(folder, beside):
    fill_data_dir(folder / "lib" / "data", "credentials.json", beside)
    with closing(socket.socket(socket.AF_UNIX)) as taken:
        here = os.getcwd()
        os.chdir(folder)  # a path of a socket must be short
        try:
            taken.bind("lib/data/control.sock")
        finally:
            os.chdir(here)
        tree = scan(folder)
    assert names(tree) == ["index.py", "lib/", "lib/words.txt"]
    (note,) = tree.notes
    assert note == f"{folder}/lib/data is the data directory of a server, with its keys"


def test_so_is_the_one_that_is_named_even_if_it_holds_nothing_but_the_key(folder, tmp_path):
    fill_data_dir(folder / "state", "credentials.json")
    assert "state/credentials.json" in names(scan(folder))
    assert "state/" not in names(scan(folder, data_dir=folder / "lib" / ".." / "state"))
    fill_data_dir(tmp_path / "outside", "credentials.json", "lock")
    (folder / "link").symlink_to(tmp_path / "outside")
    assert not [name for name in names(scan(folder)) if name.startswith("link")]


def test_a_data_directory_is_no_code(folder):
    (folder / "credentials.json").touch()
    scan(folder)
    (folder / "lock").touch()
    with pytest.raises(PackageError, match="is the data directory of a server, with its keys; "):
        scan(folder)


def test_a_virtual_environment_is_left_out_with_a_word(folder):
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "pyvenv.cfg").touch()
    tree = scan(folder)
    assert names(tree) == ["index.py", "lib/", "lib/words.txt"]
    assert tree.notes == [
        f"{folder}/.venv is a virtual environment, which works only where it was made"
    ]


def test_pipes_and_sockets_are_left_out_with_a_word(folder):
    os.mkfifo(folder / "lib" / "pipe")
    (folder / "null").symlink_to("/dev/null")
    tree = scan(folder)
    assert names(tree) == ["index.py", "lib/", "lib/words.txt"]
    assert [note.partition(" is ")[2] for note in tree.notes] == [
        "neither a file, a folder nor a link"
    ] * 2


def test_links_inside_lead_where_they_led_through_no_other_link(folder):
    package = folder / "node_modules" / "tool"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "tool.js").touch()
    (folder / "node_modules" / ".bin").mkdir()
    (folder / "node_modules" / ".bin" / "tool").symlink_to("../alias/bin/tool.js")
    (folder / "node_modules" / "alias").symlink_to(package)
    (folder / "lib" / "up").symlink_to("..")
    (folder / "later").symlink_to("lib/not-yet")
    assert links(scan(folder)) == {
        "later": "lib/not-yet",
        "lib/up": "..",
        "node_modules/.bin/tool": "../tool/bin/tool.js",
        "node_modules/alias": "tool",
    }


def test_links_that_lead_out_become_what_they_point_to(folder, tmp_path):
    shared = tmp_path / "shared"
    (shared / "sub").mkdir(parents=True)
    (shared / "sub" / "a.py").touch()
    (shared / "b.py").symlink_to("sub/a.py")
    (tmp_path / "one.txt").touch()
    (folder / "shared").symlink_to("../shared")
    (folder / "one.txt").symlink_to(tmp_path / "one.txt")
    tree = scan(folder)
    assert names(tree) == [
        "index.py", "lib/", "lib/words.txt", "one.txt",
        "shared/", "shared/b.py", "shared/sub/", "shared/sub/a.py",
    ]  # fmt: skip
    assert links(tree) == {"shared/b.py": "sub/a.py"}  # inside of what is copied
    assert tree.elsewhere == [tmp_path / "one.txt", shared]
    assert tree.notes == []


def test_a_link_out_to_nothing_is_left_out_with_a_word_and_may_come_to_be(folder, tmp_path):
    (folder / "gone").symlink_to("../nowhere")
    tree = scan(folder)
    assert names(tree) == ["index.py", "lib/", "lib/words.txt"]
    assert tree.notes == [f"{folder}/gone is a link to nothing"]
    assert tree.elsewhere == [tmp_path / "nowhere"]


def test_a_link_to_a_folder_around_it_is_refused(folder, tmp_path):
    (folder / "lib" / "up").symlink_to("../..")
    with pytest.raises(PackageError, match="lib/up is a link to a folder that holds it"):
        scan(folder)
    (folder / "lib" / "up").unlink()
    (tmp_path / "other").mkdir()
    (folder / "other").symlink_to("../other")
    (tmp_path / "other" / "back").symlink_to("../greeter")
    with pytest.raises(PackageError, match="other/back is a link to a folder that holds it"):
        scan(folder)


def test_links_in_a_circle_lead_nowhere(folder):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    assert set(links(scan(folder))) == {"a", "b"}
