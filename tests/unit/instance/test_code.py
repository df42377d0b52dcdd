import asyncio
import io
import os
import stat
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace

import pytest

from anyfc.errors import InvalidArgument, StoreUnavailable
from anyfc.instance import code as code_module
from anyfc.instance.code import PIN_S, Packages, read_boot_id
from anyfc.store.blobs import Blobs

EMPTY = b"PK\x05\x06" + bytes(18)


def packed(files, mode=stat.S_IFREG | 0o644):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2024, 2, 29, 12, 30, 58))
            info.external_attr = (stat.S_IFLNK | 0o777 if name.endswith("link") else mode) << 16
            made.writestr(info, content)
    return file.getvalue()


GOOD = packed({"index.py": b"def handler(e, c): return e\n", "lib/a.py": b"", "link": b"lib/a.py"})


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(tmp_path, clock):
    def make(*, uid=None, gid=None, limit_bytes=1 << 30, boot="boot-1"):
        return Packages(
            Blobs(tmp_path / "blobs"),
            tmp_path / "code",
            uid=uid,
            gid=gid,
            limit_bytes=limit_bytes,
            boot_id=lambda: boot,
            clock=clock,
        )

    return make


@pytest.fixture
def packages(make):
    return make()


@pytest.fixture
def left(tmp_path):
    """What is on the disk, but for the folders that are always there."""

    def left():
        blobs = {path.name for path in (tmp_path / "blobs").iterdir()}
        trees = {path.name for path in (tmp_path / "code").glob("*/*")}
        return blobs | trees

    return left


def add(packages, data, checksum=None):
    return asyncio.run(packages.add(data, checksum=checksum))


def ensure(packages, code):
    return asyncio.run(packages.ensure(code))


def sweep(packages, *in_use):
    asyncio.run(packages.sweep(set(in_use)))


# Coming in


def test_a_package_is_unpacked_where_its_code_says(packages):
    code = add(packages, GOOD)
    folder = packages.folder(code)
    assert (folder / "index.py").read_bytes() == b"def handler(e, c): return e\n"
    assert os.readlink(folder / "link") == "lib/a.py"
    assert (folder / "index.py").stat().st_mtime == 1709209858
    assert code.size_bytes == len(GOOD)
    assert ensure(packages, code) == folder


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"123456789", "11051210869376104954"),
        (b"", "0"),
        (b"hello world", "5981764153023615706"),
    ],
)
def test_the_checksum_is_crc_64_xz_in_decimal(packages, data, checksum):
    with pytest.raises(InvalidArgument, match=f"checksum is {checksum}, not 1"):
        add(packages, data, checksum="1")


def test_the_right_checksum_is_accepted_and_an_empty_package_too(packages):
    code = add(packages, EMPTY, checksum="2220831586920633690")
    assert code.checksum == "2220831586920633690"
    assert list(packages.folder(code).iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_permissions_do_not_depend_on_how_the_server_was_started(packages, umask):
    before = os.umask(umask)
    try:
        folder = packages.folder(add(packages, packed({"bin/run": b""}, stat.S_IFREG | 0o755)))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / "bin", folder / "bin/run")]
    assert modes == [0o755, 0o755, 0o755]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_tree_belongs_to_the_user_that_functions_run_as(make):
    packages = make(uid=64321, gid=64322)
    folder = packages.folder(add(packages, GOOD))
    for path in (folder, *folder.rglob("*")):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (64321, 64322), path


@pytest.mark.parametrize(
    "data",
    [
        b"not a zip",
        GOOD[:-30],
        packed({"ok.py": b"x", "../evil.py": b"x"}),
        packed({"ok.py": b"x", "evil-link": b"../../.."}),
        packed({"ok.py": b"x", "fifo": b""}, stat.S_IFIFO | 0o644),
        packed({"a.py": b"x", "z.py": b"content"}).replace(b"content", b"c0ntent"),
        packed({"ok.py": b"x", "bomb": bytes(2000)}),
    ],
    ids=["no zip", "cut off", "slip", "link", "fifo", "no deflate", "bomb"],
)
def test_a_package_that_is_refused_leaves_nothing(make, left, data):
    with pytest.raises(InvalidArgument):
        add(make(limit_bytes=1000), data)
    assert left() == set()


def test_content_that_is_found_wrong_half_way_leaves_nothing(packages, left):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.py", b"fine")
        made.writestr("z.py", b"content")
    with pytest.raises(InvalidArgument, match=r"'z\.py' is damaged"):
        add(packages, file.getvalue().replace(b"content", b"c0ntent"))
    assert left() == set()


def test_a_wrong_checksum_leaves_nothing(packages, left):
    with pytest.raises(InvalidArgument):
        add(packages, GOOD, checksum="7")
    assert left() == set()


STEPS = ("chmod", "chown", "fsync", "mkdir", "open", "rename", "symlink", "utime")


@contextmanager
def failing(nth):
    """Make the nth step that a full disk can refuse fail; yield whether it came to that."""
    calls = 0

    def wrapped(real):
        def call(*args, **options):
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(28, "No space left on device")
            return real(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(code_module.os, name, wrapped(getattr(os, name)))
        yield lambda: calls >= nth


def test_a_failure_at_any_step_leaves_no_tree_and_the_next_attempt_succeeds(tmp_path):
    for nth in range(1, 1000):
        home = tmp_path / str(nth)
        packages = Packages(
            Blobs(home / "blobs"), home / "code", uid=None, gid=None, limit_bytes=1 << 20
        )
        with failing(nth) as reached:
            try:
                packages._add(GOOD, None)  # on this thread, where the steps are counted
            except StoreUnavailable as error:
                failure = str(error)
            else:
                failure = ""
        if not reached():
            break
        assert "No space left" in failure
        assert not list((home / "code").glob("*/*"))
        assert not list((home / "blobs").glob("*.part"))
        assert packages.folder(add(packages, GOOD)).exists()
    assert nth > 20


def test_the_same_package_added_many_times_at_once_is_there_once(packages, left):
    async def run():
        return await asyncio.gather(*(packages.add(GOOD, checksum=None) for _ in range(8)))

    codes = asyncio.run(run())
    assert len(set(codes)) == 1
    assert left() == {codes[0].digest}


def test_a_package_that_is_there_already_is_not_unpacked_again(packages):
    first = packages.folder(add(packages, GOOD)).stat().st_ino
    assert packages.folder(add(packages, GOOD)).stat().st_ino == first


def test_a_caller_that_leaves_while_its_package_is_unpacked_leaves_no_half_of_it(packages, left):
    async def run():
        leaving = asyncio.ensure_future(packages.add(GOOD, checksum=None))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])

    asyncio.run(run())  # waits for the thread
    assert len(left()) <= 1
    assert add(packages, GOOD).digest in left()


# Coming back


def test_a_missing_tree_is_unpacked_again(make):
    code = add(make(), GOOD)
    packages = make(boot="boot-2")
    assert not packages.folder(code).exists()
    assert (ensure(packages, code) / "lib/a.py").exists()


def test_many_that_miss_the_same_tree_have_it_unpacked_once(make, monkeypatch):
    code = add(make(), GOOD)
    packages = make(boot="boot-2")
    unpacked = []
    real = code_module._unpack
    monkeypatch.setattr(
        code_module, "_unpack", lambda *args, **kw: (unpacked.append(1), real(*args, **kw))
    )

    async def run():
        return await asyncio.gather(*(packages.ensure(code) for _ in range(20)))

    assert set(asyncio.run(run())) == {packages.folder(code)}
    assert unpacked == [1]


def test_code_that_is_lost_or_damaged_is_the_stores_failure(make, tmp_path):
    code = add(make(), GOOD)
    packages = make(boot="boot-2")
    with pytest.raises(StoreUnavailable, match="cannot be read: No such file"):
        ensure(packages, replace(code, digest="0" * 64))
    (tmp_path / "blobs" / code.digest).write_bytes(GOOD.replace(b"handler", b"hackler"))
    with pytest.raises(StoreUnavailable, match="damaged"):
        ensure(packages, code)


def test_trees_of_an_earlier_boot_may_be_incomplete_and_are_not_used(make, left):
    code = add(make(), GOOD)
    after = make(boot="boot-2")
    (make().folder(code) / "index.py").write_bytes(b"")  # what a power cut leaves
    assert (ensure(after, code) / "index.py").read_bytes() != b""


def test_a_boot_has_one_id():
    assert read_boot_id() == read_boot_id() != ""


# Going away


def test_sweeping_deletes_what_nobody_refers_to_and_nothing_else(make, left):
    before = make()
    used, unused = add(before, GOOD), add(before, EMPTY)
    packages = make()  # a later run: nothing was added a short while ago
    sweep(packages, used.digest)
    assert left() == {used.digest}
    assert packages.folder(used).exists()
    assert not packages.folder(unused).exists()


def test_what_was_just_added_waits_for_its_function(packages, clock, left):
    code = add(packages, GOOD)
    sweep(packages)
    assert packages.folder(code).exists()
    clock.now += PIN_S
    sweep(packages)
    assert left() == set()


def test_what_was_just_asked_for_waits_for_its_instance(packages, clock):
    code = add(packages, GOOD)
    clock.now += PIN_S
    ensure(packages, code)
    sweep(packages)
    assert packages.folder(code).exists()


def test_an_old_package_that_is_added_again_while_it_is_swept_survives(packages, clock):
    """Break the sweep open at its most dangerous place: between looking and deleting."""
    code = add(packages, GOOD)
    clock.now += PIN_S
    real, added = packages._forget, []

    def forget(digest):
        thread = threading.Thread(target=lambda: added.append(packages._add(GOOD, None)))
        thread.start()
        thread.join(10)
        real(digest)

    packages._forget = forget
    sweep(packages)
    assert added == [code]
    assert packages.folder(code).exists()
    assert ensure(packages, code).exists()


def test_adding_and_sweeping_at_the_same_time_never_loses_what_was_added_last(packages, clock):
    async def run():
        for _ in range(30):
            clock.now += PIN_S
            code, _ = await asyncio.gather(packages.add(GOOD, checksum=None), packages.sweep(set()))
            assert packages.folder(code).exists()
            assert packages._blobs.path(code.digest).exists()

    asyncio.run(run())


def test_what_an_earlier_run_left_half_done_is_swept(make, tmp_path, left):
    before = make()
    code = add(before, GOOD)
    half = tmp_path / "code" / "half-of-a-killed-server" / "tree"
    half.mkdir(parents=True)
    (half / "index.py").touch()
    packages = make(boot="boot-2")
    sweep(packages, code.digest)
    assert left() == {code.digest}  # the blob: its tree was of another boot
    assert len(list((tmp_path / "code").iterdir())) == 2


def test_a_sweep_does_not_disturb_what_is_being_unpacked(packages, monkeypatch):
    real = code_module._write_file

    def sweep_between(*args, **kw):
        packages._sweep(set())
        real(*args, **kw)

    monkeypatch.setattr(code_module, "_write_file", sweep_between)
    assert (packages.folder(add(packages, GOOD)) / "index.py").exists()
