"""One server for each data directory."""

import fcntl
import os
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
