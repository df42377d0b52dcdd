import os
from pathlib import Path

import pytest

from anyfc.sandbox.interpreter import Interpreter, default_search, find_interpreters

ELF = b"\x7fELF"


@pytest.fixture
def folder(tmp_path):
    """Makes folders that everybody can enter, with programs in them."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o111)

    def make(name, *programs, content=ELF, mode=0o755):
        made = tmp_path / name
        made.mkdir(parents=True, exist_ok=True)
        for program in programs:
            (made / program).write_bytes(content)
            (made / program).chmod(mode)
        return made

    return make


def find(*folders, for_everybody=False):
    return [
        f"3.{interpreter.version[1]} {interpreter.path}"
        for interpreter in find_interpreters(folders, for_everybody=for_everybody)
    ]


def test_interpreters_are_found_by_their_names_the_newest_first(folder):
    found = folder("bin", "python3.9", "python3.12", "python3.10")
    assert find(found) == [f"3.{n} {found}/python3.{n}" for n in (12, 10, 9)]


def test_what_only_resembles_an_interpreter_is_left_out(folder):
    found = folder("bin", "python", "python3", "python2.7", "python3.10-config", "python3.10m")
    assert find(found) == []


def test_versions_that_the_bootstrap_does_not_speak_are_left_out(folder):
    assert find(folder("bin", "python3.5")) == []
    assert len(find(folder("bin", "python3.6"))) == 1


def test_scripts_of_version_managers_are_left_out(folder):
    assert find(folder("shims", "python3.10", content=b"#!/bin/sh\n")) == []


def test_what_cannot_be_run_is_left_out(folder):
    assert find(folder("bin", "python3.10", mode=0o644)) == []


def test_a_link_that_leads_nowhere_is_left_out(folder):
    found = folder("bin")
    (found / "python3.10").symlink_to("/no/such/python")
    assert find(found) == []


def test_the_first_folder_that_has_a_version_wins(folder):
    first, second = folder("first", "python3.10"), folder("second", "python3.10", "python3.11")
    assert find(first, second) == [f"3.11 {second}/python3.11", f"3.10 {first}/python3.10"]


def test_a_folder_that_is_missing_is_no_problem(folder):
    found = folder("bin", "python3.10")
    assert len(find(Path("/no/such/folder"), found)) == 1


def test_links_are_followed_to_where_the_standard_library_is(folder):
    real = folder("opt/python/bin", "python3.10")
    bin_folder = folder("bin")
    (bin_folder / "python3.10").symlink_to(real / "python3.10")
    (interpreter,) = find_interpreters([bin_folder], for_everybody=False)
    assert interpreter.path == str(real / "python3.10")
    assert interpreter.prefix == str(real.parent)


def test_what_others_cannot_enter_is_not_for_everybody(folder):
    private = folder("private/bin", "python3.10")
    private.parent.chmod(0o700)
    public = folder("public/bin", "python3.9")
    assert find(private, public, for_everybody=True) == [f"3.9 {public}/python3.9"]
    assert len(find(private, public, for_everybody=False)) == 2


def test_a_private_version_gives_way_to_a_public_one(folder):
    private = folder("private/bin", "python3.10")
    private.parent.chmod(0o700)
    public = folder("public/bin", "python3.10")
    assert find(private, public, for_everybody=True) == [f"3.10 {public}/python3.10"]


def test_an_interpreter_introduces_itself():
    assert str(Interpreter((3, 10), "/usr/bin/python3.10")) == "Python 3.10 (/usr/bin/python3.10)"


def test_the_search_path_comes_first_and_version_managers_last(tmp_path):
    for name in (".pyenv/versions/3.10.1/bin", ".local/share/uv/python/cpython-3.12/bin"):
        (tmp_path / name).mkdir(parents=True)
    assert list(default_search("/a::/b", tmp_path)) == [
        Path("/a"),
        Path("/b"),
        Path("/usr/local/bin"),
        Path("/usr/bin"),
        tmp_path / ".pyenv/versions/3.10.1/bin",
        tmp_path / ".local/share/uv/python/cpython-3.12/bin",
    ]
