"""A full disk: what needs it fails and says so, all else goes on, and nothing is left half done."""

import os
import subprocess
from contextlib import contextmanager

import pytest
from support import KEY, ServerProcess, read_log, wait_until, zip_base64

from anyfc.client import ApiError, Client
from anyfc.instance.buffer import NOTICE

DISK_BYTES = 24 * 1024 * 1024

CODE = """
import os
def handler(event, context):
    print("printed", event.decode())
    return os.environ.get("MARK", "none")
"""


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("a small disk: only root can mount one")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "anyfc-test", folder],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def server(disk):
    server = ServerProcess(disk / "data")
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.fixture
def client(server):
    with Client(server.endpoint, access_key_id=KEY[0], access_key_secret=KEY[1]) as client:
        yield client


@contextmanager
def full(folder):
    """While it lasts, not one more byte fits."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as filler:
        for piece in (b"x" * 65536, b"x"):
            try:
                while True:
                    filler.write(piece)
            except OSError:
                continue
    try:
        yield
    finally:
        path.unlink()


def settings(name, code=CODE):
    return {
        "functionName": name,
        "runtime": "python3.10",
        "handler": "index.handler",
        "code": {"zipFile": zip_base64({"index.py": code, "ballast": os.urandom(300_000)})},
    }


def files(server):
    """What is stored of code, whole or half."""
    data = server.data_dir
    found = [path.name for path in (data / "blobs").iterdir()]
    found += [path.name for path in (data / "code").glob("*/*")]
    return sorted(found)


def test_what_cannot_be_stored_is_refused_and_works_again_when_there_is_room(server, client, disk):
    client.create_function(settings("before"))
    before = files(server)
    with full(disk):
        for _ in range(3):
            with pytest.raises(ApiError, match="No space left") as caught:
                client.create_function(settings("during"))
            assert (caught.value.code, caught.value.status) == ("StoreUnavailable", 503)
        assert files(server) == before
        assert [f["functionName"] for f in client.list_functions()] == ["before"]
    client.create_function(settings("during"))
    assert client.invoke("during", b"").body == b"none"


def test_a_change_that_cannot_be_stored_is_not_made(server, client, disk):
    client.create_function(settings("f"))
    change(client, "before")
    with full(disk):
        # The database's log may have a little room left, for a while.
        made = ["before", *(mark for mark in map(str, range(100)) if change(client, mark))]
        assert len(made) < 50
        assert not change(client, "no")
        assert client.get_function("f")["environmentVariables"]["MARK"] == made[-1]
    assert change(client, "after")
    assert client.invoke("f", b"").body == b"after"


def change(client, mark):
    """Change the function; False if the server says that there is no room."""
    try:
        client.update_function("f", {"environmentVariables": {"MARK": mark, "BALLAST": "x" * 3000}})
    except ApiError as error:
        if (error.code, error.status) != ("StoreUnavailable", 503):
            raise
        return False
    return True


def test_what_was_changed_before_the_disk_was_full_survives_a_kill(disk):
    server = ServerProcess(disk / "data")
    with Client(server.endpoint, access_key_id=KEY[0], access_key_secret=KEY[1]) as client:
        client.create_function(settings("f"))
        assert change(client, "before")
        with full(disk):
            made = ["before", *(mark for mark in map(str, range(100)) if change(client, mark))]
            server.kill()
    server = ServerProcess(disk / "data")
    with Client(server.endpoint, access_key_id=KEY[0], access_key_secret=KEY[1]) as client:
        assert client.invoke("f", b"").body == made[-1].encode()
    assert server.stop() == 0


def test_functions_run_on_and_start_while_the_disk_is_full(server, client, disk):
    for name in ("warm", "cold"):
        client.create_function(settings(name))
    client.invoke("warm", b"")
    with full(disk):
        assert client.invoke("warm", b"").body == b"none"
        assert client.invoke("cold", b"").body == b"none"


def test_log_lines_that_find_no_room_are_counted_and_later_ones_are_there(server, client, disk):
    client.create_function(settings("f"))
    client.invoke("f", b"before")
    wait_until(lambda: "printed before" in read_log(server, "f"))
    with full(disk):
        for number in range(300):
            client.invoke("f", b"%d " % number + b"x" * 1000)
        wait_until(lambda: "function log not written" in server.output)
    client.invoke("f", b"after")
    wait_until(lambda: "printed after" in read_log(server, "f"))
    lines = read_log(server, "f")
    assert "printed before" in lines
    assert any(NOTICE in line for line in lines)
    assert server.output.count("function log not written") == 1
    server.lines[:] = [line for line in server.lines if "Traceback" not in line]  # of that one


def test_a_server_that_finds_no_room_at_all_says_so(disk):
    with full(disk):
        with pytest.raises(AssertionError, match=r"No space left|disk is full") as caught:
            ServerProcess(disk / "data").kill()
        assert "Traceback" not in str(caught.value)
    server = ServerProcess(disk / "data")
    assert server.stop() == 0
