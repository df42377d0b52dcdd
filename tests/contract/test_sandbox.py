"""What every level of isolation promises, with real zygotes and real processes.

Run as a program, this file is a server with one busy process in a box, until it is killed.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from boxes import (
    below_zygotes,
    find_interpreter,
    open_boxes,
    open_cgroups,
    wait_alone,
    wait_for,
    zygotes,
)
from support import descendants, wait_until

from anyfc.runtime.channel import ChannelClosed
from anyfc.sandbox.box import Level
from anyfc.sandbox.cgroup import V1, V2
from anyfc.sandbox.failure import SandboxFailed
from anyfc.sandbox.process import GRACE_S

# A child, and a daemon that has left the session and the family.
FAMILY = """
import os, subprocess
subprocess.Popen(["sleep", "1000"])
begun, end = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "2000"])
    os._exit(0)
os.wait()
os.close(end)
os.read(begun, 1)  # until the daemon's end is closed by its exec
answer = "ready"
"""

CHILD_OF_A_THREAD = """
import subprocess, threading
begun = threading.Event()
def run():
    subprocess.Popen(["sleep", "1000"])
    begun.set()
    threading.Event().wait()
threading.Thread(target=run, daemon=True).start()
begun.wait()
answer = ""
"""


@pytest.fixture(params=[None, V2, V1], ids=["signals", "v2", "v1"])
def cgroups(request):
    with open_cgroups(request.param) as cgroups:
        yield cgroups


@pytest.fixture(params=list(Level), ids=[level.value for level in Level])
def level(request):
    return request.param


def alive(pids):
    return {pid for pid in pids if state(pid) not in ("", "Z")}


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def sleepers(pid):
    """The `sleep` processes below one."""
    found = set()
    for child in descendants(pid):
        with suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                found.add(child)
    return found


def open_descriptors(pid="self"):
    return len(os.listdir(f"/proc/{pid}/fd"))


@asynccontextmanager
async def watched(level, cgroups=None, *, spares=0):
    """Boxes, and no processes or descriptors of theirs afterwards."""
    asyncio.get_running_loop().run_in_executor(None, int)  # its threads count as ours
    before = open_descriptors()
    async with open_boxes(level, cgroups, spares=spares) as boxes:
        yield boxes
    assert not zygotes()
    assert open_descriptors() == before


def test_a_process_answers_and_is_gone_afterwards(level, cgroups):
    async def main():
        async with watched(level, cgroups) as boxes:
            async with boxes.start() as started:
                assert await started.do("answer = 'hello'") == b"hello"
                assert not started.process.exited.done()
            assert started.process.exited.done()

    asyncio.run(main())


@pytest.mark.parametrize("status", [0, 1, 70, 255])
def test_the_exit_code_of_a_process_is_told(level, status):
    async def main():
        async with watched(level) as boxes, boxes.start() as started:
            with pytest.raises(ChannelClosed):
                await started.do(f"import os; os._exit({status})")
            assert await started.process.exited == status

    asyncio.run(main())


def test_a_signal_reaches_the_process(level):
    async def main():
        async with watched(level) as boxes:
            async with boxes.start() as started:
                started.process.signal(signal.SIGTERM)
                assert await started.process.exited == 143
                started.process.signal(signal.SIGKILL)  # too late, and no harm
            async with boxes.start() as started:
                started.process.signal(signal.SIGKILL)
                assert await started.process.exited == -signal.SIGKILL

    asyncio.run(main())


HEEDS = """
import os, signal
def end(number, frame):
    os.write(2, b"last words")
    os._exit(5)
signal.signal(signal.SIGTERM, end)
answer = "ready"
"""
IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); answer = 'ready'"


@pytest.mark.parametrize("frozen", [False, True])
def test_a_process_that_is_told_to_end_may_do_so_itself(level, cgroups, frozen):
    async def main():
        async with watched(level, cgroups) as boxes, boxes.start() as started:
            await started.do(HEEDS)
            if frozen:
                started.process.freeze()
                started.process.thaw()
            await started.process.terminate()
            async with asyncio.timeout(10):  # on a busy machine the moment may be too short
                assert await started.process.exited == 5
            assert os.read(started.process.log, 100).endswith(b"last words")
            await started.process.terminate()  # once more, and no harm

    asyncio.run(main())


def test_a_process_that_does_not_heed_it_ends_all_the_same_and_soon(level, cgroups):
    async def main():
        async with watched(level, cgroups) as boxes:
            async with boxes.start() as started:
                await started.do(IGNORES)
                began = asyncio.get_running_loop().time()
                await started.process.terminate()
                assert not started.process.exited.done()
                assert asyncio.get_running_loop().time() - began < 2 * GRACE_S + 1
            assert started.process.exited.done()

    asyncio.run(main())


def test_everything_that_a_process_started_ends_with_it(level, cgroups):
    async def main():
        async with watched(level, cgroups) as boxes:
            async with boxes.start() as started:
                await started.do(FAMILY)
                family = set().union(*map(sleepers, zygotes()))
                assert len(family) == 2
            await wait_for(lambda: not alive(family))

    asyncio.run(main())


def test_daemons_end_when_their_process_ends_by_itself(level):
    async def main():
        async with watched(level) as boxes, boxes.start() as started:
            await started.do(FAMILY)
            family = set().union(*map(sleepers, zygotes()))
            with pytest.raises(ChannelClosed):
                await started.do("import os; os._exit(3)")
            assert await started.process.exited == 3
            await wait_for(lambda: not alive(family))

    asyncio.run(main())


def test_daemons_of_one_box_leave_those_of_another_alone(level):
    async def main():
        async with watched(level) as boxes, boxes.start() as one:
            await one.do(FAMILY)
            ones = sleepers(os.getpid())
            async with boxes.start() as other:
                await other.do(FAMILY)
                others = sleepers(os.getpid()) - ones
            await wait_for(lambda: not alive(others))
            assert alive(ones) == ones

    asyncio.run(main())


def test_a_frozen_process_stands_still_until_it_is_thawed(level, cgroups):
    async def main():
        async with watched(level, cgroups) as boxes, boxes.start() as started:
            await started.do(CHILD_OF_A_THREAD)
            for _ in range(3):
                started.process.freeze()
                await wait_for(lambda: is_frozen(cgroups))
                answer = asyncio.ensure_future(started.do("answer = 'thawed'"))
                await asyncio.sleep(0)
                started.process.thaw()
                assert await answer == b"thawed"

    def is_frozen(cgroups):
        if cgroups is None:
            return {state(pid) for pid in below_zygotes() - inner_zygotes()} == {"T"}
        (folder,) = (path for path in cgroups.folder.iterdir() if path.is_dir())
        if cgroups.freezer is V1:
            return (folder / "freezer.state").read_text() == "FROZEN\n"
        return "frozen 1" in (folder / "cgroup.events").read_text()

    def inner_zygotes():
        """At level userns, the first process of the namespace is a child of the one we started."""
        if level is not Level.USERNS:
            return set()
        return {
            int(pid)
            for zygote in zygotes()
            for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
        }

    asyncio.run(main())


def test_a_frozen_process_ends_all_the_same(level, cgroups):
    async def main():
        async with watched(level, cgroups) as boxes:
            async with boxes.start() as started:
                await started.do(FAMILY)
                family = set().union(*map(sleepers, zygotes()))
                started.process.freeze()
            assert started.process.exited.done()
            await wait_for(lambda: not alive(family))

    asyncio.run(main())


def test_a_process_has_its_streams_and_the_channel_open_and_nothing_else(level, cgroups):
    program = """
import os
answer = []
for number in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        kind = os.path.basename(os.readlink("/proc/self/fd/%d" % number)).partition(":")[0]
        answer.append([number, kind, os.get_inheritable(number)])
    except FileNotFoundError:
        pass  # of the listing itself
"""

    async def main():
        async with watched(level, cgroups) as boxes, boxes.start() as started:
            # Others that are there at the same time are none of its business.
            async with boxes.start():
                *streams, channel = json.loads(await started.do(program))
            assert streams == [[0, "null", True], [1, "pipe", True], [2, "pipe", True]]
            assert channel[1:] == ["socket", False]

    asyncio.run(main())


def test_a_box_that_can_be_entered_passes_the_probe(level):
    async def main():
        async with watched(level) as boxes:
            await boxes.sandbox.probe(boxes.interpreter, boxes.make_box())

    asyncio.run(main())


def test_a_box_that_cannot_be_entered_fails_the_probe_with_the_reason(level):
    async def main():
        async with watched(level) as boxes:
            box = boxes.make_box(code="/no/such/code")
            with pytest.raises(SandboxFailed, match=r"No such file|mount"):
                await boxes.sandbox.probe(boxes.interpreter, box)

    asyncio.run(main())


def test_a_hundred_processes_at_once(level, cgroups):
    async def live(boxes, number):
        async with boxes.start() as started:
            assert await started.do(f"answer = '{number}'") == str(number).encode()

    async def main():
        async with watched(level, cgroups) as boxes:
            async with asyncio.TaskGroup() as group:
                for number in range(100):
                    group.create_task(live(boxes, number))
            (zygote,) = zygotes()
            await wait_for(lambda: len(descendants(zygote)) == (level is Level.USERNS))

    asyncio.run(main())


def test_a_process_forked_ahead_is_used_replaced_and_ended(level, cgroups):
    async def main():
        async with watched(level, cgroups, spares=1) as boxes:
            stock = await boxes.sandbox.warm(boxes.interpreter)
            await wait_for(lambda: stock.spares)
            ahead = stock.spares[0]
            async with boxes.start() as started:
                assert started.process.pid == ahead.birth.started.result()
                assert await started.do("answer = 'used'") == b"used"
                await wait_for(lambda: stock.spares)
            killed = stock.spares[0]
            stock.zygote.signal(killed.name, signal.SIGKILL)
            await wait_for(killed.birth.exited.done)
            async with boxes.start() as started:
                assert await started.do("answer = 'another'") == b"another"
            await wait_for(lambda: stock.spares)

    asyncio.run(main())


def test_no_descriptor_stays_open_on_either_side(level, cgroups):
    def forker():
        return max({*zygotes(), *below_zygotes()})  # at level userns, the child of ours forks

    async def main():
        async with watched(level, cgroups) as boxes:
            async with boxes.start():
                pass
            await wait_alone(level)
            ours, theirs = open_descriptors(), open_descriptors(forker())
            for _ in range(20):
                async with boxes.start() as started:
                    await started.do("answer = ''")
            box = boxes.make_box(code="/no/such/code")
            with pytest.raises(SandboxFailed):
                await boxes.sandbox.probe(boxes.interpreter, box)
            assert open_descriptors() == ours
            await wait_for(lambda: open_descriptors(forker()) == theirs)

    asyncio.run(main())


def test_a_caller_who_gives_up_at_any_moment_leaves_nothing_behind(level, cgroups):
    async def start(boxes):
        async with boxes.start():
            pass

    async def main():
        async with watched(level, cgroups) as boxes:
            await boxes.sandbox.warm(boxes.interpreter)
            ours = open_descriptors()
            for turns in range(30):
                task = asyncio.create_task(start(boxes))
                for _ in range(turns):
                    await asyncio.sleep(0 if turns < 15 else 0.001)
                task.cancel()
                await asyncio.wait([task])
                task.cancel()
                assert open_descriptors() == ours
                await wait_alone(level)
            async with boxes.start() as started:
                assert await started.do("answer = 'well'") == b"well"

    asyncio.run(main())


def test_being_cancelled_twice_does_not_keep_a_process_from_ending(level, cgroups):
    async def main():
        async with watched(level, cgroups) as boxes:
            entered = asyncio.Event()

            async def live():
                async with boxes.start() as started:
                    await started.do(FAMILY)
                    entered.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(live())
            await entered.wait()
            family = set().union(*map(sleepers, zygotes()))
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            assert task.cancelled()
            await wait_for(lambda: not alive(family))

    asyncio.run(main())


def test_when_a_zygote_is_killed_its_processes_go_and_the_next_one_is_started(level, cgroups):
    async def main():
        async with watched(level, cgroups) as boxes:
            async with boxes.start() as one, boxes.start() as other:
                # With neither namespaces nor groups, daemons are out of reach without their zygote.
                if level is not Level.NONE or cgroups is not None:
                    await one.do(FAMILY)
                (zygote,) = zygotes()
                family = descendants(zygote)
                os.kill(zygote, signal.SIGKILL)
                assert await one.process.exited == -signal.SIGKILL
                assert await other.process.exited == -signal.SIGKILL
                # While those are still being put away.
                async with boxes.start() as started:
                    assert await started.do("answer = 'well'") == b"well"
            await wait_for(lambda: not alive(family))
            await wait_for(lambda: zygote not in zygotes())  # not even as a zombie

    asyncio.run(main())


def test_zygotes_that_are_killed_again_and_again_leave_nothing_behind(level):
    async def main():
        async with watched(level) as boxes:
            await boxes.sandbox.warm(boxes.interpreter)
            ours = open_descriptors()
            for _ in range(3):
                (zygote,) = zygotes()
                os.kill(zygote, signal.SIGKILL)
                await wait_for(lambda zygote=zygote: zygote not in zygotes())
                await boxes.sandbox.warm(boxes.interpreter)
                await wait_for(lambda: open_descriptors() == ours)
                assert len(list(boxes.sandbox.folder.iterdir())) == 1

    asyncio.run(main())


def test_a_zygote_that_does_not_answer_any_more_is_replaced(level, monkeypatch):
    async def main():
        async with watched(level) as boxes:
            await boxes.sandbox.warm(boxes.interpreter)
            monkeypatch.setattr("anyfc.sandbox.zygote.READY_WITHIN_S", 0.2)
            monkeypatch.setattr("anyfc.sandbox.zygote.GONE_WITHIN_S", 0.2)
            monkeypatch.setattr("anyfc.sandbox.process.GONE_WITHIN_S", 0.2)
            for pid in {*zygotes(), *below_zygotes()}:
                os.kill(pid, signal.SIGSTOP)
            with pytest.raises(SandboxFailed, match="no answer within"):
                async with boxes.start():
                    pass
            monkeypatch.undo()
            async with boxes.start() as started:
                assert await started.do("answer = 'well'") == b"well"

    asyncio.run(main())


def test_an_interpreter_that_is_gone_is_an_error_and_not_the_end(level):
    async def main():
        async with watched(level) as boxes:
            lost = type(boxes.interpreter)((3, 11), "/no/such/python3.11")
            for _ in range(2):
                with pytest.raises(SandboxFailed, match="No such file"):
                    await boxes.sandbox.warm(lost)
            await boxes.sandbox.warm(boxes.interpreter)

    asyncio.run(main())


def test_a_program_that_is_no_python_is_an_error_and_not_the_end(level):
    async def main():
        async with watched(level) as boxes:
            other = type(boxes.interpreter)((3, 11), "/bin/true")
            with pytest.raises(SandboxFailed, match=r"has ended|ended before"):
                await boxes.sandbox.warm(other)

    asyncio.run(main())


def test_everything_ends_when_the_server_is_killed(level):
    find_interpreter(level)  # or skip
    command = [sys.executable, __file__, level.value]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout.readline() == "ready\n"
        family = descendants(server.pid)
        assert len(family) >= 4  # a zygote, a process, a child, a daemon
        server.kill()
    wait_until(lambda: not alive(family))


async def serve(level):
    async with open_boxes(level) as boxes, boxes.start() as started:
        await started.do(FAMILY)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Level(sys.argv[1])))
