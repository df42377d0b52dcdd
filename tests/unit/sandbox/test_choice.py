import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from anyfc.sandbox import choice
from anyfc.sandbox.box import Level
from anyfc.sandbox.choice import candidates, gives_up_rights_early, open_strongest
from anyfc.sandbox.failure import SandboxFailed
from anyfc.sandbox.interpreter import Interpreter

PYTHON = Interpreter((3, 11), "/usr/bin/python3.11")


class FakeSandbox:
    """A sandbox of one level that works, or says why not."""

    def __init__(self, level, folder, problem):
        self.level = level
        self.folder = folder
        self.uid = self.gid = -1  # leaves the owner of a file as it is
        self._problem = problem
        self.probed = []

    def scratch_path(self, name):
        return None

    async def probe(self, interpreter, box):
        self.probed.append((interpreter, box))
        if self._problem:
            raise SandboxFailed(self._problem)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine on which some levels fail; the list of what was opened and closed."""
    problems, seen = {}, []

    @asynccontextmanager
    async def open_fake(level, *, uid, gid, folder, cgroups, spares):
        folder.mkdir(exist_ok=True)
        seen.append(f"open {level.value}")
        yield FakeSandbox(level, folder, problems.get(level))
        seen.append(f"close {level.value}")

    monkeypatch.setattr(choice, "open_sandbox", open_fake)

    def choose(levels, *, failing=None, without_python=()):
        problems.update(failing or {})

        async def main():
            interpreters = {level: None if level in without_python else PYTHON for level in Level}
            async with open_strongest(
                levels,
                interpreters,
                uid=1,
                gid=1,
                folder=tmp_path / "sandbox",
                cgroups=None,
                spares=1,
            ) as (sandbox, reasons):
                seen.append("use")
                return sandbox, reasons

        return asyncio.run(main())

    choose.seen = seen
    return choose


@pytest.mark.parametrize(
    ("wanted", "root", "levels"),
    [
        ("auto", True, [Level.JAIL, Level.USERNS, Level.NONE]),
        ("auto", False, [Level.USERNS, Level.NONE]),
        ("jail", False, [Level.JAIL]),
        ("none", True, [Level.NONE]),
    ],
)
def test_the_strongest_level_is_tried_first_and_a_wish_is_a_wish(wanted, root, levels):
    assert list(candidates(wanted, root=root)) == levels


@pytest.mark.parametrize(
    ("level", "root", "early"),
    [
        (Level.JAIL, True, False),
        (Level.USERNS, True, True),
        (Level.NONE, True, True),
        (Level.USERNS, False, False),
    ],
)
def test_only_a_jail_reads_the_interpreter_with_the_servers_rights(level, root, early):
    assert gives_up_rights_early(level, root=root) is early


def test_the_first_level_that_works_is_used_and_closed_at_the_end(machine):
    sandbox, reasons = machine(list(Level))
    assert (sandbox.level, reasons) == (Level.JAIL, [])
    assert machine.seen == ["open jail", "use", "close jail"]


def test_a_level_that_does_not_work_is_closed_and_its_reason_kept(machine):
    sandbox, reasons = machine(list(Level), failing={Level.JAIL: "mount: not permitted"})
    assert (sandbox.level, reasons) == (Level.USERNS, ["jail: mount: not permitted"])
    assert machine.seen == ["open jail", "close jail", "open userns", "use", "close userns"]


def test_a_level_without_an_interpreter_is_not_opened(machine):
    sandbox, reasons = machine(list(Level), without_python=(Level.JAIL,))
    assert sandbox.level is Level.USERNS
    assert reasons == ["jail: no Python that instances could read was found"]
    assert "open jail" not in machine.seen


def test_when_no_level_works_all_reasons_are_told(machine):
    failing = {Level.JAIL: "one", Level.USERNS: "two"}
    with pytest.raises(SandboxFailed, match="jail: one; userns: two"):
        machine([Level.JAIL, Level.USERNS], failing=failing)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's instances run as another user")
@pytest.mark.parametrize(("level", "told"), [(Level.JAIL, False), (Level.NONE, True)])
def test_a_folder_that_bars_the_way_is_named(machine, tmp_path, level, told):
    tmp_path.chmod(0o700)
    with pytest.raises(SandboxFailed) as failure:
        machine([level], failing={level: "Permission denied"})
    assert (f"may not pass through {tmp_path}" in str(failure.value)) is told


def test_the_probe_enters_an_empty_box_and_leaves_no_folder(machine, tmp_path):
    sandbox, _ = machine([Level.JAIL])
    ((interpreter, box),) = sandbox.probed
    assert (interpreter, box.code) == (PYTHON, str(tmp_path / "sandbox/probe/code"))
    assert list((tmp_path / "sandbox").iterdir()) == []
