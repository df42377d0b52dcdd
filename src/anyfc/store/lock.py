"""One server for each data directory."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anyfc.errors import StoreUnavailable


@contextmanager
def lock_data_dir(path: Path) -> Iterator[None]:
    """Hold the data directory, made when it is missing, for this process alone.

    The lock goes with the process, however that ends. Raises StoreUnavailable.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(path, path.stat())
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot hold the data: {error.strerror}") from error
    with open(descriptor, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreUnavailable(
                f"{path}: process {file.read(20).strip() or 'unknown'} is already serving this "
                "data directory; stop it or choose another one"
            ) from error
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def _check_owner(path: Path, found: os.stat_result) -> None:
    """Refuse a data directory that others may change: what is in it runs, and opens the server.

    root may serve the directory of another user, who could give it any other content as well.
    """
    user = os.geteuid()
    if user not in (0, found.st_uid):
        raise StoreUnavailable(
            f"{path} belongs to user {found.st_uid} and not to {user}, who serves it; choose "
            f"another data directory, or have root run: chown -R {user} {path}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreUnavailable(
            f"other users can write to {path}, and so could replace keys and code; "
            f"run: chmod go-w {path}"
        )
