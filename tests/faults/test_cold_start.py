"""A cold start whose nth step breaks: the caller is told, and nothing is left over."""

import asyncio
import errno
import io
import os
import socket
import subprocess
import zipfile
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import count

import pytest
import uvloop
from boxes import UID, below_zygotes, open_boxes, open_cgroups, wait_alone, wait_for, zygotes
from fake_instances import make_function, make_policy, version_of

from anyfc.errors import FunctionComputeError
from anyfc.identity.key import Credentials
from anyfc.instance import opening
from anyfc.instance.code import Packages
from anyfc.instance.logs import open_logs
from anyfc.instance.opening import open_instance
from anyfc.instance.spec import Specs
from anyfc.model.invocation import Invocation, Returned
from anyfc.runtime.context import Place
from anyfc.sandbox.box import Level
from anyfc.sandbox.cgroup import V2
from anyfc.scheduler.opening import open_scheduler
from anyfc.store.blobs import Blobs

# What a cold start asks of the machine, on the server's side.
STEPS = (
    (os, "dup"),
    (os, "mkdir"),
    (os, "open"),
    (os, "pipe2"),
    (os, "set_blocking"),
    (socket, "send_fds"),
    (socket, "socketpair"),
    (subprocess, "Popen"),
    (opening, "Channel"),
)
MOST_STEPS = 60


class Faults:
    """Breaks the nth of the steps that are taken while it is armed."""

    def __init__(self, nth, happen):
        self._nth = nth
        self._happen = happen
        self._taken = 0
        self._armed = False
        self.broken = None
        self.task = None

    @property
    def happened(self):
        return self._taken >= self._nth

    def __repr__(self):
        return f"step {self._nth}: {self.broken}"

    @contextmanager
    def armed(self):
        self._armed = True
        yield
        self._armed = False

    def wrap(self, call):
        def step(*arguments, **settings):
            if self._armed:
                self._taken += 1
                if self._taken == self._nth:
                    self.broken = call
                    self._happen()
            return call(*arguments, **settings)

        return step


def refuse():
    raise OSError(errno.EMFILE, "too many open files, says the test")


def package():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("index.py", "def handler(event, context): return event")
    return file.getvalue()


class Stand:
    """All that a cold start needs, but for HTTP."""

    def __init__(self, boxes, logs, packages, code):
        self.boxes = boxes
        self._logs = logs
        self._numbers = count()
        self.function = make_function(code=code)
        self._specs = Specs(
            sandbox=boxes.sandbox,
            packages=packages,
            interpreters=[boxes.interpreter],
            place=Place(region="cn-hangzhou", account_id="1"),
            derive=lambda role: Credentials(),
            modules_folder=boxes.code / "none",
            spool_folder=boxes.code / "none",
            new_id=lambda: f"c-{next(self._numbers)}",
            start_s=30.0,
            server_start_s=30.0,
        )

    async def flush(self):
        """Have the log file opened, which then stays open."""
        async for _ in self._logs.read("f"):
            pass

    def scheduler(self):
        def opened(function, born):
            stack = AsyncExitStack()

            class Opening:
                async def __aenter__(_):
                    spec = await self._specs.write(function)
                    return await stack.enter_async_context(
                        open_instance(
                            spec,
                            self.boxes.sandbox,
                            None,
                            self._logs,
                            new_request_id=lambda: "hook",
                            born=born,
                        )
                    )

                async def __aexit__(_, *error):
                    return await stack.__aexit__(*error)

            return Opening()

        return open_scheduler(make_policy(freeze_after_s=1000.0), opened)

    async def invoke(self, scheduler):
        request = Invocation(request_id="1-2-3", payload=b"well")
        async with scheduler.lease(self.function, version_of(self.function)) as instance:
            report = await instance.run(request)
            assert report.result == Returned(body=b"well")


async def open_stand(stack, level, cgroups, tmp_path):
    boxes = await stack.enter_async_context(open_boxes(level, cgroups))
    logs = await stack.enter_async_context(open_logs(tmp_path / "logs", limit_bytes=1 << 20))
    owner = UID if os.geteuid() == 0 else None
    trees = boxes.code.parent / "trees"
    packages = Packages(Blobs(tmp_path / "blobs"), trees, uid=owner, gid=owner, limit_bytes=1 << 20)
    for folder in (trees, *trees.iterdir()):
        folder.chmod(0o711)
    code = await packages.add(package(), checksum=None)
    return Stand(boxes, logs, packages, code)


def open_files():
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
    return sorted(found)


def measure(stand, cgroups):
    """What there is on the machine that a cold start may add to."""
    groups = [path.name for path in cgroups.folder.iterdir() if path.is_dir()] if cgroups else []
    scratch = [path.name for path in stand.boxes.sandbox.folder.glob("c-*")]
    return open_files(), len(below_zygotes()), groups, scratch


def play(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # Threads of the loop open descriptors when they are first needed.
        runner.run(asyncio.to_thread(int))
        runner.run(main)


@pytest.fixture(params=list(Level), ids=[level.value for level in Level])
def level(request):
    return request.param


@pytest.fixture(params=[None, V2], ids=["signals", "v2"])
def cgroups(request):
    with open_cgroups(request.param) as cgroups:
        yield cgroups


async def check(stand, cgroups, before, faults):
    """Cold start with a fault: a clean failure, or a success; then nothing is left."""
    async with stand.scheduler() as scheduler:
        task = asyncio.create_task(stand.invoke(scheduler))
        faults.task = task
        with faults.armed():
            await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            assert isinstance(error, FunctionComputeError), error
        await stand.invoke(scheduler)  # the next one is served
    with suppress(TimeoutError):
        await wait_for(lambda: measure(stand, cgroups) == before)
    assert measure(stand, cgroups) == before, faults


@pytest.mark.parametrize("how", ["refused", "cancelled"])
def test_a_cold_start_that_breaks_at_any_step_leaves_nothing_behind(
    level, cgroups, how, tmp_path, monkeypatch
):
    async def main():
        async with AsyncExitStack() as stack:
            stand = await open_stand(stack, level, cgroups, tmp_path)
            async with stand.scheduler() as scheduler:
                await stand.invoke(scheduler)
            await stand.flush()
            await wait_alone(level)
            before = measure(stand, cgroups)
            for nth in range(1, MOST_STEPS):
                happen = refuse if how == "refused" else lambda: faults.task.cancel()  # noqa: B023
                faults = Faults(nth, happen)
                with monkeypatch.context() as patch:
                    for module, name in STEPS:
                        patch.setattr(module, name, faults.wrap(getattr(module, name)))
                    await check(stand, cgroups, before, faults)
                if not faults.happened:
                    break
            assert 5 < nth < MOST_STEPS - 1

    monkeypatch.setattr("logging.Logger.exception", lambda *a, **k: None)
    play(main())


def test_a_first_start_that_breaks_at_any_step_leaves_nothing_behind(level, tmp_path, monkeypatch):
    async def round_with(faults, folder):
        async with AsyncExitStack() as stack:
            stand = await open_stand(stack, level, None, folder)
            async with stand.scheduler() as scheduler:
                with faults.armed():
                    try:
                        await stand.invoke(scheduler)
                    except FunctionComputeError:
                        assert faults.happened
                await stand.invoke(scheduler)

    async def main():
        await round_with(Faults(MOST_STEPS, refuse), tmp_path / "0")
        await wait_for(lambda: not zygotes())
        fresh = open_files()
        for nth in range(1, MOST_STEPS):
            faults = Faults(nth, refuse)
            with monkeypatch.context() as patch:
                for module, name in STEPS:
                    patch.setattr(module, name, faults.wrap(getattr(module, name)))
                await round_with(faults, tmp_path / str(nth))
            await wait_for(lambda: not zygotes())
            assert open_files() == fresh
            if not faults.happened:
                break
        assert 8 < nth < MOST_STEPS - 1

    monkeypatch.setattr("logging.Logger.exception", lambda *a, **k: None)
    play(main())
