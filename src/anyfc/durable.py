"""Small private files that outlive a power cut."""

import os
import secrets
from pathlib import Path


def write_once(path: Path, text: str) -> bool:
    """Make a file for its owner alone, whole and durable when this returns; never replace one.

    False if there is one already: of two programs that start at once one wins. Raises OSError.
    """
    fresh = _write_aside(path, text)
    try:
        os.link(fresh, path)  # unlike a rename, a link never replaces
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    sync_folder(path.parent)
    return True


def replace_file(path: Path, text: str) -> None:
    """Write a file for its owner alone in place of another one. Raises OSError."""
    _write_aside(path, text).rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk know which files a folder holds. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_aside(path: Path, text: str) -> Path:
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return aside
