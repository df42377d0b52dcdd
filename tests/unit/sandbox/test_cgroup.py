import os
import signal
import subprocess
from pathlib import Path, PosixPath

import pytest
from boxes import open_cgroups
from support import wait_until

from anyfc.sandbox import cgroup as cgroup_module
from anyfc.sandbox.cgroup import V1, V2, Cgroups, find_cgroups


class Folder(PosixPath):
    """A folder that behaves as one of the kernel's, as far as these tests look."""

    freezers = ("freezer.state", "cgroup.freeze")

    def mkdir(self, *arguments, **settings):
        there = self.exists()
        super().mkdir(*arguments, **settings)
        if not there:
            for name in ("cgroup.procs", *self.freezers):
                (self / name).touch()

    def rmdir(self):
        if any(path.is_dir() for path in self.iterdir()) or (self / "cgroup.procs").read_text():
            raise OSError(16, "Device or resource busy")
        for path in self.iterdir():
            path.unlink()
        super().rmdir()


class V2Folder(Folder):
    freezers = ("cgroup.freeze",)


class V1Folder(Folder):
    freezers = ("freezer.state",)


@pytest.fixture
def killed(monkeypatch):
    """Processes end when they are told to; the list of who was."""
    killed = []

    def kill(pid, number):
        assert number == signal.SIGKILL
        killed.append(pid)
        for folder in kill.folders:
            path = folder / "cgroup.procs"
            if path.exists():
                left = [word for word in path.read_text().split() if int(word) not in killed]
                path.write_text("\n".join(left))

    kill.folders = []
    monkeypatch.setattr(cgroup_module.os, "kill", kill)
    killed_by = kill

    def watch(folder):
        killed_by.folders.append(folder)
        return killed

    return watch


@pytest.fixture(params=[V1, V2], ids=["v1", "v2"])
def freezer(request):
    return request.param


@pytest.fixture
def cgroups(tmp_path, freezer):
    folder = Folder(tmp_path / "anyfc")
    folder.mkdir()
    return Cgroups(folder, freezer)


def ours(tmp_path, text):
    path = tmp_path / "ours"
    path.write_text(text)
    return path


# --- one group ---


def test_a_group_is_frozen_and_thawed_by_what_is_written_to_its_file(cgroups, freezer):
    group = cgroups.make("c-1")
    state = cgroups.folder / "c-1" / freezer.file
    group.freeze()
    assert state.read_bytes() == freezer.freeze
    state.write_bytes(b"")
    group.thaw()
    assert state.read_bytes().strip(b"\0") == freezer.thaw
    group.remove()


def test_a_group_is_gone_when_it_is_removed(cgroups):
    assert cgroups.make("c-1").remove() is True
    assert not (cgroups.folder / "c-1").exists()


def test_a_group_that_somebody_else_removed_is_gone_too(cgroups):
    group = cgroups.make("c-1")
    (cgroups.folder / "c-1").rmdir()
    assert group.remove() is True


def test_who_is_left_in_a_group_that_is_removed_is_killed_and_thawed(cgroups, freezer, killed):
    group = cgroups.make("c-1")
    folder = cgroups.folder / "c-1"
    list_of_killed = killed(folder)
    (folder / "cgroup.procs").write_text("11\n12\n")
    group.freeze()
    assert group.remove() is True
    assert list_of_killed == [11, 12]


def test_a_process_of_another_namespace_is_not_taken_for_ourselves(cgroups, killed):
    group = cgroups.make("c-1")
    folder = cgroups.folder / "c-1"
    list_of_killed = killed(folder)
    (folder / "cgroup.procs").write_text("0\n12\n")
    group.kill()
    assert list_of_killed == [12]
    (folder / "cgroup.procs").write_text("")
    group.remove()


def test_a_group_that_the_kernel_holds_is_left_and_that_is_told(cgroups, killed, monkeypatch):
    monkeypatch.setattr(cgroup_module, "EMPTY_WITHIN_S", 0.0)
    group = cgroups.make("c-1")
    folder = cgroups.folder / "c-1"
    killed(cgroups.folder / "elsewhere")
    (folder / "cgroup.procs").write_text("12\n")  # does not go away
    assert group.remove() is False
    assert folder.exists()


def test_a_group_that_cannot_be_opened_leaves_no_folder(tmp_path, freezer):
    with pytest.raises(FileNotFoundError):  # no kernel made its files
        Cgroups(tmp_path, freezer).make("c-1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("freezer", [V1, V2])
def test_a_process_joins_a_group_through_its_list_of_members(cgroups):
    group = cgroups.make("c-1")
    descriptor = group.open_members()
    assert Path(os.readlink(f"/proc/self/fd/{descriptor}")).name == "cgroup.procs"
    os.close(descriptor)
    group.remove()


@pytest.mark.parametrize(("freezer", "leads_to"), [(V1, None), (V2, "c-1")])
def test_a_process_is_born_in_a_group_of_version_2_only(cgroups, leads_to):
    group = cgroups.make("c-1")
    descriptor = group.open_folder()
    if descriptor is not None:
        assert Path(os.readlink(f"/proc/self/fd/{descriptor}")).name == leads_to
        os.close(descriptor)
    assert (descriptor is None) == (leads_to is None)
    group.remove()


# --- all of them ---


def test_what_a_killed_server_left_is_killed_thawed_and_removed(cgroups, freezer, killed):
    for name, members in (("c-1", "11\n12\n"), ("c-2", "13\n"), ("c-3", "")):
        folder = cgroups.folder / name
        folder.mkdir()
        (folder / "cgroup.procs").write_text(members)
        list_of_killed = killed(folder)
    cgroups.clear()
    assert sorted(list_of_killed) == [11, 12, 13]
    assert [path for path in cgroups.folder.iterdir() if path.is_dir()] == []


def test_closing_takes_everything_away(cgroups, killed):
    cgroups.make("c-1").thaw()
    cgroups.close()
    assert not cgroups.folder.exists()


# --- finding a place ---


def test_version_2_is_preferred(tmp_path):
    root = V2Folder(tmp_path / "cgroup")
    root.mkdir()
    (root / "slice").mkdir()
    found = find_cgroups("anyfc", root, ours(tmp_path, "6:freezer:/\n0::/slice\n"))
    assert (found.folder, found.freezer) == (root / "slice" / "anyfc", V2)
    assert find_cgroups("anyfc", root, tmp_path / "ours").folder == found.folder  # again


def test_version_2_is_found_beside_version_1(tmp_path):
    root = V2Folder(tmp_path / "cgroup")
    root.mkdir()
    (root / "cgroup.procs").unlink()
    (root / "unified").mkdir()
    found = find_cgroups("anyfc", root, ours(tmp_path, "0::/\n"))
    assert (found.folder, found.freezer) == (root / "unified" / "anyfc", V2)


def test_version_1_serves_where_version_2_cannot_freeze(tmp_path):
    root = V1Folder(tmp_path / "cgroup")
    root.mkdir()
    (root / "freezer").mkdir()
    found = find_cgroups("anyfc", root, ours(tmp_path, "6:freezer:/\n0::/\n"))
    assert (found.folder, found.freezer) == (root / "freezer" / "anyfc", V1)
    assert not (root / "anyfc").exists()


def test_a_user_who_may_not_make_groups_gets_none(tmp_path):
    (tmp_path / "cgroup.procs").touch()
    assert find_cgroups("anyfc", tmp_path, ours(tmp_path, "0::/no/such/slice\n")) is None


def test_a_machine_without_control_groups_has_none(tmp_path):
    assert find_cgroups("anyfc", tmp_path, tmp_path / "missing") is None


# --- the kernel's own ---


@pytest.fixture(params=[V1, V2], ids=["v1", "v2"])
def real(request):
    with open_cgroups(request.param) as cgroups:
        yield cgroups


def member(folder, *command):
    """A process in a group."""
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    (folder / "cgroup.procs").write_text(str(started.pid))
    return started


def state(cgroups, name):
    if cgroups.freezer is V1:
        return (cgroups.folder / name / "freezer.state").read_text().strip() == "FROZEN"
    return "frozen 1" in (cgroups.folder / name / "cgroup.events").read_text()


def test_the_kernel_freezes_and_thaws_a_group(real):
    group = real.make("c-1")
    with member(real.folder / "c-1", "cat") as cat:
        group.freeze()
        wait_until(lambda: state(real, "c-1"))
        group.thaw()
        assert cat.communicate(b"well") == (b"well", None)
    assert group.remove()


def test_the_kernel_lets_a_frozen_group_be_removed(real):
    group = real.make("c-1")
    with member(real.folder / "c-1", "sleep", "1000") as sleep:
        group.freeze()
        wait_until(lambda: state(real, "c-1"))
        assert group.remove()
        assert sleep.wait() == -signal.SIGKILL


def test_what_was_left_frozen_is_cleared(real):
    group = real.make("c-1")
    with member(real.folder / "c-1", "sleep", "1000") as sleep:
        group.freeze()
        wait_until(lambda: state(real, "c-1"))
        real.clear()
        assert sleep.wait() == -signal.SIGKILL
    assert group.remove()
