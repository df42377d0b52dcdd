import sys
from types import ModuleType

import pytest

from anyfc.cli.watching import watch_folder


class Lost(Exception):
    """What the library raises for a name that it cannot decode."""


@pytest.fixture
def system(monkeypatch):
    """The library: what it is asked to watch, and what it has to tell each time it is asked."""
    tells, watched = [], []

    def watch(*folders, **_):
        watched.append(folders)
        while True:
            told = tells.pop(0) if tells else set()
            if isinstance(told, Exception):
                raise told
            yield {("changed", str(path)) for path in told}

    library, inside = ModuleType("watchfiles"), ModuleType("watchfiles._rust_notify")
    library.watch, inside.WatchfilesRustInternalError = watch, Lost
    monkeypatch.setitem(sys.modules, library.__name__, library)
    monkeypatch.setitem(sys.modules, inside.__name__, inside)
    monkeypatch.setattr("anyfc.cli.watching.LOOK_MS", 0)
    return tells, watched


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hello").mkdir()
    return tmp_path / "hello"


def test_what_counts_is_told_and_the_rest_only_wakes(system, folder):
    system[0][:] = [[], [folder / "b.py", folder / "a.py", folder / "a.py~"], [folder / ".git/x"]]
    ticks = watch_folder(folder, list)
    assert [next(ticks) for _ in range(3)] == [[], [f"{folder}/a.py", f"{folder}/b.py"], []]
    assert system[1] == [(str(folder),)]


def test_a_folder_that_another_one_takes_the_place_of_is_watched_anew(system, folder):
    ticks = watch_folder(folder, list)
    assert next(ticks) == []
    folder.rename(folder.with_name("old"))
    assert next(ticks) == []  # it is awaited
    folder.mkdir()
    assert [next(ticks) for _ in range(2)] == [[str(folder)], []]
    assert len(system[1]) == 2


def test_so_is_one_whose_watch_breaks_off(system, folder):
    system[0][:] = [[], Lost(), FileNotFoundError()]
    ticks = watch_folder(folder, list)
    assert [next(ticks) for _ in range(4)] == [[], [], [], [str(folder)]]


def test_other_failures_are_the_callers(system, folder):
    system[0][:] = [OSError("no more watches")]
    with pytest.raises(OSError, match="no more watches"):
        next(watch_folder(folder, list))


def test_what_links_lead_to_is_watched_or_looked_at(system, folder, tmp_path):
    shared, one, missing = tmp_path / "shared", tmp_path / "one.txt", tmp_path / "missing"
    shared.mkdir()
    one.write_text("1")
    elsewhere = []
    ticks = watch_folder(folder, lambda: elsewhere)
    assert next(ticks) == []
    elsewhere += [shared, one, missing]
    assert next(ticks) == [str(folder)]
    assert system[1][1] == (str(folder), str(shared))
    system[0][:] = [[shared / "a.py", shared / ".git/x"]]
    assert next(ticks) == [f"{shared}/a.py"]
    one.write_text("22")
    assert next(ticks) == [str(one)]
    missing.touch()
    assert next(ticks) == [str(missing)]
    assert next(ticks) == []
