"""What an instance can reach and what becomes of it, the same suite at every level of isolation."""

import json
import os
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import (
    KEY,
    ServerProcess,
    create_function,
    descendants,
    error_of,
    invoke,
    invoke_aside,
    leftovers,
    make_sdk,
    read_log,
    update_function,
    wait_until,
)

LEVELS = ("jail", "userns", "none")

# Does what it is told, and returns what is then called `result`.
LABORATORY = """
import json


def handler(event, context):
    scope = {}
    exec(event.decode(), scope)
    return json.dumps(scope["result"])
"""


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through; the test runner's own may not."""
    with tempfile.TemporaryDirectory(prefix="anyfc-test-") as folder:
        os.chmod(folder, 0o711)
        yield Path(folder)


def start_at(
    level: str, start_server: Callable[..., ServerProcess], data_dir: Path
) -> ServerProcess:
    """A server of the level; the test is skipped, with the reason, where the machine has none."""
    if level == "jail" and os.geteuid():
        pytest.skip("jail: only root can make one")
    try:
        return start_server("--isolation", level, data_dir=data_dir)
    except AssertionError as error:
        reason = str(error)
        if f"{level}: " not in reason:
            raise
        pytest.skip(reason)


def stop_without_a_trace(server: ServerProcess) -> None:
    processes = descendants(server.pid)
    assert server.stop() == 0, server.output
    wait_until(lambda: not leftovers(server, processes), 5)


@dataclass
class Laboratory:
    """A server at one level, and functions on it that do what they are told."""

    level: str
    server: ServerProcess
    sdk: Any

    @property
    def walled(self) -> bool:
        return self.level != "none"

    def create(self, **settings: Any) -> str:
        return create_function(self.sdk, LABORATORY, timeout=20, **settings)

    def do(self, name: str, work: str) -> Any:
        headers, body = invoke(self.sdk, name, textwrap.dedent(work).encode())
        assert "x-fc-error-type" not in headers, body.decode()
        return json.loads(body)


@pytest.fixture(scope="module", params=LEVELS)
def laboratory(
    request: pytest.FixtureRequest, start_server: Callable[..., ServerProcess], open_folder: Path
) -> Iterator[Laboratory]:
    server = start_at(request.param, start_server, open_folder / request.param)
    yield Laboratory(request.param, server, make_sdk(server))
    stop_without_a_trace(server)


@pytest.fixture(scope="module")
def subject(laboratory: Laboratory) -> str:
    """One function for the tests that leave it as it was."""
    return laboratory.create()


class TestWork:
    """What a function can rely on, whatever the level."""

    def test_an_event_is_handled_and_logged(self, laboratory: Laboratory) -> None:
        name = create_function(
            laboratory.sdk, "def handler(e, c):\n    print('seen')\n    return e[::-1]\n"
        )
        headers, body = invoke(laboratory.sdk, name, b"abc")
        assert body == b"cba"
        assert "seen" in read_log(laboratory.server, name, headers["x-fc-request-id"])

    def test_the_current_folder_is_the_code(self, laboratory: Laboratory, subject: str) -> None:
        here, code, names = laboratory.do(
            subject,
            """
            import os
            result = os.getcwd(), os.environ["FC_FUNC_CODE_PATH"], os.listdir()
            """,
        )
        assert here == code
        assert names == ["index.py"]
        assert code == "/code" or not laboratory.walled

    def test_stacks_show_the_code_at_its_documented_place(self, laboratory: Laboratory) -> None:
        name = create_function(laboratory.sdk, "def handler(e, c):\n    raise ValueError\n")
        _, body = invoke(laboratory.sdk, name)
        assert error_of(body)["stackTrace"][0][0] == 'File "/code/index.py"'

    def test_a_failure_of_any_kind_is_followed_by_a_new_instance(
        self, laboratory: Laboratory
    ) -> None:
        name = create_function(laboratory.sdk, LABORATORY, timeout=1)
        for work, message in (
            ("import os; os._exit(1)", "Process exited unexpectedly"),
            ("import time; time.sleep(60)", "Function timed out after 1 second"),
        ):
            _, body = invoke(laboratory.sdk, name, work.encode())
            assert error_of(body)["errorMessage"].startswith(message)
            assert laboratory.do(name, "result = 'well'") == "well"

    def test_child_processes_and_threads_work(self, laboratory: Laboratory, subject: str) -> None:
        assert laboratory.do(
            subject,
            """
            import concurrent.futures, subprocess
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                words = pool.map(lambda n: subprocess.check_output(["echo", str(n)]), range(4))
                result = [int(word) for word in words]
            """,
        ) == [0, 1, 2, 3]

    def test_the_network_of_the_host_is_reached(
        self, laboratory: Laboratory, subject: str, meeting: Any
    ) -> None:
        laboratory.do(
            subject,
            f"import socket; socket.create_connection(('127.0.0.1', {meeting.port})); result = 1",
        )
        meeting.wait_call()


class TestFiles:
    def test_temporary_files_are_private_and_go_with_the_instance(
        self, laboratory: Laboratory
    ) -> None:
        mine = f"anyfc-{os.urandom(6).hex()}"
        write = f"""
            import os, tempfile
            folder = tempfile.gettempdir()
            open(os.path.join(folder, "{mine}"), "w").close()
            result = folder, os.listdir(folder)
        """
        look = "import os, tempfile; result = os.listdir(tempfile.gettempdir())"
        name, other = laboratory.create(), laboratory.create()
        folder, names = laboratory.do(name, write)
        assert names == [mine]
        assert laboratory.do(name, look) == [mine]
        assert laboratory.do(other, look) == []
        update_function(laboratory.sdk, name, timeout=9)
        assert laboratory.do(name, look) == []
        if laboratory.walled:
            assert folder == "/tmp"
            assert not Path("/tmp", mine).exists()
        else:
            wait_until(lambda: not Path(folder).exists())

    def test_changes_to_the_code_are_private_and_go_with_the_instance(
        self, laboratory: Laboratory
    ) -> None:
        change = """
            import os
            code = os.environ["FC_FUNC_CODE_PATH"]
            with open(code + "/index.py", "a") as file:
                file.write("# changed")
            open(code + "/new", "w").close()
            os.mkdir(code + "/folder")
            result = sorted(os.listdir(code))
        """
        look = """
            import os
            result = os.listdir(os.environ["FC_FUNC_CODE_PATH"]), open("index.py").read()
        """
        name = laboratory.create()
        assert laboratory.do(name, change) == ["folder", "index.py", "new"]
        update_function(laboratory.sdk, name, timeout=9)
        assert laboratory.do(name, look) == [["index.py"], LABORATORY]

    def test_every_folder_can_be_written_to_but_the_hosts(
        self, laboratory: Laboratory, subject: str
    ) -> None:
        if not laboratory.walled:
            pytest.skip("none: there are no folders of the instance's own but code and tmp")
        written, refused = laboratory.do(
            subject,
            """
            def writable(folder):
                try:
                    open(folder + "/probe", "w").close()
                except OSError:
                    return False
                return True
            folders = "/", "/code", "/dev/shm", "/etc", "/opt", "/root", "/run", "/tmp", "/var/log"
            result = [f for f in folders if writable(f)], writable("/usr") or writable("/sys")
            """,
        )
        assert len(written) == 9
        assert refused is False
        assert not Path("/etc/probe").exists()


class TestWalls:
    """What one function must not learn of another, or of the server."""

    @pytest.fixture(autouse=True)
    def neighbour(self, laboratory: Laboratory) -> str:
        """Another function, at home while the subject looks around."""
        name = create_function(
            laboratory.sdk,
            "def handler(event, context):\n    return 'at home'\n",
            environmentVariables={"PASSWORD": "neighbours-password"},
        )
        invoke(laboratory.sdk, name)
        return name

    def test_the_data_of_the_server_cannot_be_read(
        self, laboratory: Laboratory, subject: str
    ) -> None:
        if not laboratory.walled and os.geteuid():
            pytest.skip("none: without root, functions run as the user of the server")
        data_dir = str(laboratory.server.data_dir)
        readable = laboratory.do(
            subject,
            f"""
            import os
            result = []
            for top in {data_dir!r}, "/proc/1/root" + {data_dir!r}:
                for folder, _, names in os.walk(top):
                    for name in names:
                        try:
                            open(os.path.join(folder, name), "rb").close()
                        except OSError:
                            continue
                        result.append(os.path.join(folder, name))
            """,
        )
        # At level none the scratch folders of instances belong to the user they all run as.
        allowed = () if laboratory.walled else (f"{data_dir}/run/sandbox", f"{data_dir}/code")
        assert [path for path in readable if not path.startswith(allowed)] == []

    def test_other_code_is_not_in_reach(self, laboratory: Laboratory, subject: str) -> None:
        if not laboratory.walled:
            pytest.skip("none: there is no wall between functions")
        found = laboratory.do(
            subject,
            """
            import os
            result = []
            for folder, folders, names in os.walk("/"):
                folders[:] = [f for f in folders if os.path.join(folder, f) not in
                              ("/proc", "/usr", "/dev")]
                if folder.startswith("/root/.pyenv"):
                    folders.clear()
                result += [os.path.join(folder, name) for name in names
                           if name == "index.py" or name.endswith((".db", ".key"))]
            """,
        )
        assert found == ["/code/index.py"]

    def test_no_other_process_is_seen(self, laboratory: Laboratory, subject: str) -> None:
        if not laboratory.walled:
            pytest.skip("none: processes of the host are seen")
        pids, parent = laboratory.do(
            subject,
            """
            import os
            result = [int(n) for n in os.listdir("/proc") if n.isdigit()], os.getppid()
            """,
        )
        assert len(pids) <= 2
        assert max(pids) < 20
        assert parent in (0, *pids)

    def test_the_servers_key_and_other_variables_cannot_be_read(
        self, laboratory: Laboratory, subject: str
    ) -> None:
        if not laboratory.walled and os.geteuid():
            pytest.skip("none: without root, functions run as the user of the server")
        secrets = [*KEY, "neighbours-password"]
        found = laboratory.do(
            subject,
            f"""
            import glob
            text = b""
            for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
                try:
                    text += open(path, "rb").read()
                except OSError:
                    continue
            result = [word for word in {secrets!r} if word.encode() in text]
            """,
        )
        assert found == []

    def test_no_descriptor_of_the_server_or_the_zygote_is_open(
        self, laboratory: Laboratory, subject: str
    ) -> None:
        found = laboratory.do(
            subject,
            """
            import os
            result = {}
            for number in os.listdir("/proc/self/fd"):
                try:
                    result[number] = os.readlink("/proc/self/fd/" + number)
                except OSError:
                    continue
            """,
        )
        kinds = {int(number): link.partition(":")[0] for number, link in found.items()}
        assert kinds.pop(0) in ("/dev/null", "/null")  # in a box, its path outside
        assert [kinds.pop(1), kinds.pop(2)] == ["pipe", "pipe"]
        assert list(kinds.values()) == ["socket"]

    def test_the_user_is_root_inside_and_nobody_outside(
        self, laboratory: Laboratory, subject: str, meeting: Any
    ) -> None:
        uid = laboratory.do(subject, "import os; result = os.getuid()")
        outside = {
            os.stat(f"/proc/{pid}").st_uid
            for pid in descendants(laboratory.server.pid)
            if "zygote" not in Path(f"/proc/{pid}/cmdline").read_text()
        }
        if laboratory.walled:
            assert uid == 0
        elif os.geteuid() == 0:
            assert uid != 0
        if os.geteuid() == 0:
            assert 0 not in outside

    @pytest.mark.parametrize(
        "attempt",
        [
            "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
            "libc.umount2(b'/code', 2)",
            "libc.unshare(0x10000000)",
            "libc.unshare(0x00020000)",
            "libc.chroot(b'/tmp')",
            "libc.setns(os.open('/proc/self/ns/mnt', 0), 0)",
            "libc.syscall(321, 0, 0, 0)",
            "libc.syscall(425, 1, 0)",
            "libc.syscall(250, 0, 0, 0)",
            "libc.reboot(0)",
            "libc.sethostname(b'other', 5) or libc.kill(-2, 9)",
            "os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))",
            "open('/proc/sys/kernel/hostname', 'w').write('x')",
            "open('/proc/sysrq-trigger', 'w').write('x')",
            "open('/dev/mem', 'rb').read(1)",
            "os.setuid(1)",
        ],
    )
    def test_a_way_out_is_refused(self, laboratory: Laboratory, subject: str, attempt: str) -> None:
        if not laboratory.walled:
            pytest.skip("none: there is no filter")
        assert laboratory.do(
            subject,
            f"""
            import ctypes, os
            libc = ctypes.CDLL(None, use_errno=True)
            try:
                result = {attempt}
            except OSError:
                result = -1
            """,
        ) == -1  # fmt: skip

    def test_no_program_can_raise_its_rights(self, laboratory: Laboratory, subject: str) -> None:
        if not laboratory.walled:
            pytest.skip("none: there is no filter")
        status = laboratory.do(subject, "result = open('/proc/self/status').read()")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"


class TestEnd:
    """What is left when an instance, or the server, has ended."""

    MULTIPLY = """
        import os, socket, time
        call = socket.create_connection(("127.0.0.1", {port}))
        for n in range(30):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(1000)
                os._exit(0)
        for n in range(30):
            os.wait()
        result = "multiplied"
    """

    def multiply(self, laboratory: Laboratory, name: str, meeting: Any) -> Any:
        """Start daemons in an instance; the call they all hold ends with the last of them."""
        work = self.MULTIPLY.format(port=meeting.port)
        assert laboratory.do(name, work) == "multiplied"
        return meeting.wait_call()

    @pytest.mark.parametrize("end", ["update", "timeout", "exit"])
    def test_daemons_die_with_their_instance(
        self, laboratory: Laboratory, meeting: Any, end: str
    ) -> None:
        name = create_function(laboratory.sdk, LABORATORY, timeout=2)
        call = self.multiply(laboratory, name, meeting)
        match end:
            case "update":
                update_function(laboratory.sdk, name, timeout=9)
            case "timeout":
                invoke(laboratory.sdk, name, b"import time; time.sleep(60)")
            case "exit":
                invoke(laboratory.sdk, name, b"import os; os._exit(1)")
        assert call.recv(1) == b""

    def test_an_instance_with_daemons_still_answers(
        self, laboratory: Laboratory, meeting: Any
    ) -> None:
        name = laboratory.create()
        self.multiply(laboratory, name, meeting)
        assert laboratory.do(name, "result = 'well'") == "well"

    def test_a_function_that_forks_without_end_is_ended_with_all_it_forked(
        self, laboratory: Laboratory, meeting: Any
    ) -> None:
        name = create_function(laboratory.sdk, LABORATORY, timeout=1)
        # Each child forks on and on, bounded by what the host can bear.
        bomb = f"""
            import os, socket, time
            call = socket.create_connection(("127.0.0.1", {meeting.port}))
            for n in range(7):
                os.fork()
            time.sleep(1000)
        """
        running = invoke_aside(laboratory.server, name, textwrap.dedent(bomb).encode())
        call = meeting.wait_call()
        assert b"timed out" in running.result(20)[1]
        assert call.recv(1) == b""
        assert laboratory.do(name, "result = 'well'") == "well"

    def test_nothing_of_a_stopped_server_is_left(
        self,
        laboratory: Laboratory,
        start_server: Callable[..., ServerProcess],
        open_folder: Path,
        meeting: Any,
    ) -> None:
        own = start_at(laboratory.level, start_server, open_folder / os.urandom(4).hex())
        there = Laboratory(laboratory.level, own, make_sdk(own))
        call = self.multiply(there, there.create(), meeting)
        running = invoke_aside(own, there.create(), b"result = 'ready'")
        assert running.result(10)[1] == b'"ready"'
        stop_without_a_trace(own)
        assert call.recv(1) == b""

    def test_nothing_of_a_killed_server_keeps_running(
        self,
        laboratory: Laboratory,
        start_server: Callable[..., ServerProcess],
        open_folder: Path,
        meeting: Any,
    ) -> None:
        own = start_at(laboratory.level, start_server, open_folder / os.urandom(4).hex())
        there = Laboratory(laboratory.level, own, make_sdk(own))
        name = there.create()
        call = self.multiply(there, name, meeting)
        processes = descendants(own.pid)
        own.kill()
        assert call.recv(1) == b""
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
        again = start_server("--isolation", laboratory.level, data_dir=own.data_dir)
        assert Laboratory(laboratory.level, again, make_sdk(again)).do(name, "result = 1") == 1
        stop_without_a_trace(again)

    def test_orphans_that_end_leave_no_zombies(self, laboratory: Laboratory, subject: str) -> None:
        count = """
            import glob
            result = 0
            for path in glob.glob("/proc/[0-9]*/stat"):
                try:
                    words = open(path).read().rpartition(")")[2].split()
                except OSError:
                    continue
                result += words[0] == "Z"
        """
        before = laboratory.do(subject, count)
        for _ in range(5):
            laboratory.do(
                subject,
                """
                import subprocess
                subprocess.run(["sh", "-c", "(true &) ; (true &)"])
                result = 1
                """,
            )
        wait_until(lambda: laboratory.do(subject, count) <= before, 2)
