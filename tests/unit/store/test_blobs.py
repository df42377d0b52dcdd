import hashlib
import os
import stat
from contextlib import contextmanager

import pytest

from anyfc.errors import StoreUnavailable
from anyfc.store.blobs import Blobs


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs")


@contextmanager
def failing(name, nth):
    """Make the nth call of one function of `os` fail, as it does on a full disk."""
    real = getattr(os, name)
    calls = 0

    def call(*args, **options):
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(28, "No space left on device")
        return real(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, call)
        yield


def test_content_is_found_by_its_sha_256(blobs):
    digest = blobs.put(b"content")
    assert digest == hashlib.sha256(b"content").hexdigest()
    assert blobs.path(digest).read_bytes() == b"content"
    assert blobs.digests() == {digest}


def test_the_same_content_is_written_once(blobs):
    digest = blobs.put(b"content")
    first = blobs.path(digest).stat().st_ino
    assert blobs.put(b"content") == digest
    assert blobs.path(digest).stat().st_ino == first


def test_others_on_the_machine_cannot_read_content(blobs):
    path = blobs.path(blobs.put(b"content"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_removed_content_is_gone_and_may_be_removed_again(blobs):
    digest = blobs.put(b"content")
    blobs.remove(digest)
    blobs.remove(digest)
    assert blobs.digests() == set()


def test_half_written_content_of_an_earlier_run_is_removed(tmp_path, blobs):
    digest = blobs.put(b"content")
    (tmp_path / "blobs" / "left-over.part").write_bytes(b"con")
    assert Blobs(tmp_path / "blobs").digests() == {digest}
    assert os.listdir(tmp_path / "blobs") == [digest]


@pytest.mark.parametrize(("name", "nth"), [("fsync", 1), ("rename", 1), ("open", 1)])
def test_a_write_that_fails_at_any_step_is_reported_and_leaves_nothing(tmp_path, blobs, name, nth):
    with failing(name, nth), pytest.raises(StoreUnavailable, match="No space left"):
        blobs.put(b"content")
    assert os.listdir(tmp_path / "blobs") == []


def test_content_that_may_not_be_durable_yet_is_not_acknowledged(blobs):
    with failing("fsync", 2), pytest.raises(StoreUnavailable):
        blobs.put(b"content")
    assert blobs.put(b"content") in blobs.digests()
