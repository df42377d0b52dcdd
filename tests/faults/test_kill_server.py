"""`kill -9` of the server, an instance or a zygote, in the middle of everything."""

import hashlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import KEY, ServerProcess, descendants, error_of, wait_until, zip_base64

from anyfc.client import ApiError, Client

ROUNDS = 10
FUNCTIONS = 1000
START_S = 30.0  # it takes one; this only sees that starting does not look at everything

CODE = """
import os, subprocess
def handler(event, context):
    if event == b"wait":
        subprocess.run(["sleep", "1234"])
    return os.environ["MARK"]
"""


def settings(name, mark):
    return {
        "functionName": name,
        "runtime": "python3.10",
        "handler": "index.handler",
        "timeout": 60,
        "environmentVariables": {"MARK": mark},
        "code": {"zipFile": zip_base64({"index.py": CODE})},
    }


def connect(server):
    return Client(server.endpoint, access_key_id=KEY[0], access_key_secret=KEY[1])


@contextmanager
def running(data_dir, *arguments):
    """A server; stopped at the end if it is still there."""
    server = ServerProcess(data_dir, *arguments)
    try:
        yield server
    finally:
        server.stop()


class Load:
    """Callers who create, change and invoke until the server is gone, and what they were told."""

    def __init__(self, server, round_number, counter):
        self.created = {}  # name → mark, acknowledged
        self.counter = counter  # the value of `changed`: last acknowledged, last tried
        self.invoked = 0
        self.wrong = []
        self._server = server
        self._round = round_number
        jobs = [self.create, self.create, self.create, self.change, self.invoke, self.invoke]
        self._threads = [
            threading.Thread(target=self._run, args=(job, number))
            for number, job in enumerate(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join()
        assert self.wrong == []

    def _run(self, job, number):
        with connect(self._server) as client:
            try:
                for turn in range(1_000_000):
                    job(client, f"{self._round}-{number}-{turn}")
            except ApiError as error:
                if error.status:  # an answer, and not the end of the connection
                    self.wrong.append(error)

    def create(self, client, mark):
        client.create_function(settings(f"f-{mark}", mark))
        self.created[f"f-{mark}"] = mark

    def change(self, client, mark):
        self.counter[1] += 1
        client.update_function("changed", {"environmentVariables": {"MARK": str(self.counter[1])}})
        self.counter[0] = self.counter[1]

    def invoke(self, client, mark):
        assert client.invoke("kept", b"").body == b"kept"
        self.invoked += 1


def alive(pids):
    found = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.add(pid)
    return found


def groups(data_dir):
    """The control groups of a data directory's servers, with their processes."""
    name = "anyfc-" + hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    found = defaultdict(set)
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        for folder in [*root.glob(f"**/{name}/*/"), *Path(root / "freezer").glob(f"{name}/*/")]:
            with suppress(OSError):  # it has just gone
                found[folder] = set(map(int, (folder / "cgroup.procs").read_text().split()))
    return found


def is_frozen(group):
    for name, frozen in (("cgroup.events", "frozen 1"), ("freezer.state", "FROZEN")):
        with suppress(OSError):  # of the other version, or it has just gone
            return frozen in (group / name).read_text()
    return False


def check_nothing_is_left(server, old_processes):
    """All that is on the machine belongs to the server that runs now."""
    wait_until(lambda: not alive(old_processes))
    run = server.data_dir / "run"
    for stage in run.glob("sandbox/stage-*"):
        assert int(stage.name.partition("-")[2]) in descendants(server.pid)
    assert len(list(run.glob("api-*"))) <= 1
    for folder, members in groups(server.data_dir).items():
        assert folder.name.startswith(f"{server.pid}-")
        assert members <= descendants(server.pid)
    mounts = Path("/proc/self/mounts").read_text()
    assert str(server.data_dir) not in mounts


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A data directory with many functions in it."""
    data_dir = tmp_path_factory.mktemp("filled")
    names = iter([f"many-{number:04d}" for number in range(FUNCTIONS)])
    lock = threading.Lock()

    def fill(server):
        with connect(server) as client:
            while True:
                with lock:
                    name = next(names, None)
                if name is None:
                    return
                client.create_function(settings(name, name))

    with running(data_dir) as server:
        threads = [threading.Thread(target=fill, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with connect(server) as client:
            client.create_function(settings("kept", "kept"))
            client.create_function(settings("changed", "0"))
        assert server.stop() == 0
    return data_dir


def test_a_server_that_is_killed_again_and_again_loses_nothing(filled, record_property):
    chance = random.Random(4)
    acknowledged, counter, took_s = {}, [0, 0], []
    old_processes = set()
    for round_number in range(ROUNDS + 1):
        began = time.monotonic()
        with running(filled) as server, connect(server) as client:
            took_s.append(time.monotonic() - began)
            check_nothing_is_left(server, old_processes)
            found = {f["functionName"]: f for f in client.list_functions()}
            assert len([name for name in found if name.startswith("many-")]) == FUNCTIONS
            for name, mark in acknowledged.items():
                assert found[name]["environmentVariables"] == {"MARK": mark}
            # Also what was not acknowledged any more is there whole, or not at all.
            for name in found:
                if name.startswith(f"f-{round_number - 1}-"):
                    assert client.invoke(name, b"").body == name[2:].encode()
            assert client.invoke("kept", b"").body == b"kept"
            value = int(client.invoke("changed", b"").body)
            assert counter[0] <= value <= counter[1]
            counter[0] = value
            if round_number == ROUNDS:
                break
            load = Load(server, round_number, counter)
            if "freezing: by signals" not in server.output:
                wait_until(lambda: any(map(is_frozen, groups(filled))))  # there is one at least
            wanted = chance.randrange(1, 40)
            wait_until(lambda load=load, n=wanted: len(load.created) >= n and load.invoked)
            old_processes = descendants(server.pid)
            assert server.kill() == -signal.SIGKILL
            load.join()
            acknowledged |= load.created
    record_property("start_s", max(took_s))
    assert max(took_s) < START_S, took_s


def test_a_server_that_is_told_twice_to_stop_leaves_nothing_either(filled):
    with running(filled) as server, connect(server) as client:
        client.invoke("kept", b"")
        waiting = threading.Thread(target=try_to_invoke, args=(server, "kept", b"wait"))
        waiting.start()
        wait_until(lambda: find_sleep(server))
        old_processes = descendants(server.pid)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in server.output)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 1
        waiting.join()
    with running(filled) as server:
        check_nothing_is_left(server, old_processes)
        assert server.stop() == 0


# --- parts of it ---


def try_to_invoke(server, name, event):
    try:
        with connect(server) as client:
            return client.invoke(name, event)
    except ApiError as error:
        return error


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def find_sleep(server):
    """The process that a waiting handler waits for."""
    for pid in descendants(server.pid):
        try:
            if Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
                return pid
        except OSError:
            continue
    return None


def chain(server, pid):
    """A process and those above it, up to the server."""
    found = []
    while pid != server.pid:
        found.append(pid)
        pid = parent(pid)
    return found


@pytest.fixture
def open_folder():
    """A folder that the users whom instances run as can pass through; pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.mark.parametrize("isolation", ["auto", "userns", "none"])
@pytest.mark.parametrize("victim", ["handler", "guard", "zygote"])
def test_when_a_process_is_killed_its_caller_is_told_and_the_next_is_served(
    open_folder, isolation, victim
):
    arguments = (open_folder / "data", "--isolation", isolation)
    with running(*arguments) as server, connect(server) as client:
        client.create_function(settings("f", "well"))
        answers = []
        caller = threading.Thread(
            target=lambda: answers.append(try_to_invoke(server, "f", b"wait"))
        )
        caller.start()
        sleep = wait_until(lambda: find_sleep(server))
        _, handler, guard, *zygotes = chain(server, sleep)
        family = descendants(guard) | {guard}
        pid = {"handler": handler, "guard": guard, "zygote": zygotes[-1]}[victim]
        os.kill(pid, signal.SIGKILL)
        caller.join()
        (answer,) = answers
        assert answer.error_type == "UnhandledInvocationError"
        assert "Process exited unexpectedly" in error_of(answer.body)["errorMessage"]
        assert client.invoke("f", b"").body == b"well"
        wait_until(lambda: not alive(family))
        assert server.stop() == 0
        assert "Traceback" not in server.output
