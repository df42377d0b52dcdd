import os
import stat

import pytest

from anyfc.errors import StoreUnavailable
from anyfc.store.lock import lock_data_dir


def test_a_second_server_on_the_same_data_directory_is_refused_and_told_who_is_there(tmp_path):
    with (
        lock_data_dir(tmp_path / "data"),
        pytest.raises(StoreUnavailable, match=f"process {os.getpid()} is already serving"),
        lock_data_dir(tmp_path / "data"),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with lock_data_dir(tmp_path):
            assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_new_data_directory_is_for_its_owner_only(tmp_path):
    with lock_data_dir(tmp_path / "a" / "data"):
        assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_data_directory_that_others_can_write_to_is_refused(mode, tmp_path):
    tmp_path.chmod(mode)
    with (
        pytest.raises(StoreUnavailable, match=f"run: chmod go-w {tmp_path}"),
        lock_data_dir(tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_a_data_directory_that_others_can_read_is_served(mode, tmp_path):
    tmp_path.chmod(mode)
    with lock_data_dir(tmp_path):
        assert (tmp_path / "lock").exists()


def test_a_data_directory_of_another_user_is_refused_but_to_root(tmp_path, monkeypatch):
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with (
        pytest.raises(StoreUnavailable, match=f"belongs to user {owner} and not to {owner + 1}"),
        lock_data_dir(tmp_path),
    ):
        pass
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with lock_data_dir(tmp_path):
        pass


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreUnavailable, match="cannot hold the data"),
        lock_data_dir(tmp_path / "file"),
    ):
        pass
