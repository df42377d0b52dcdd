"""Code packages: the zip that is made of a folder or a file."""

import io
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Left out of a package: what tools keep beside the code and can make again.
SKIPPED = frozenset(
    {
        ".DS_Store",
        ".git",
        ".hg",
        ".idea",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".vscode",
        "__pycache__",
    }
)

# The oldest time a zip can hold: equal code gives equal packages and checksums.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class PackageError(Exception):
    """The code cannot be packed; the message names the file and says why."""


def read_package(source: Path, *, compressed: bool = True) -> bytes:
    """Return the zip of a folder or file; a zip is taken as it is.

    Equal code gives equal bytes. Modes survive, symbolic links become what they point to.
    Compressing takes half of the time. Raises PackageError.
    """
    try:
        if source.suffix == ".zip" and source.is_file():
            return _read_zip(source)
        entries = list(walk(source)) if source.is_dir() else [(source.name, source)]
        if not entries:
            raise PackageError(f"{source} holds no files")
        return pack(entries, compressed=compressed)
    except OSError as error:
        raise PackageError(f"{error.filename or source}: {error.strerror}") from error


def _read_zip(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        raise PackageError(f"{path} is not a zip archive")
    return path.read_bytes()


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield names inside a package and the files and folders they stand for, links followed.

    Raises PackageError for a link that leads into a folder around it.
    """

    def inside(folder: Path, prefix: str, around: frozenset[Path]) -> Iterator[tuple[str, Path]]:
        real = folder.resolve()
        if real in around:
            raise PackageError(f"{folder} is a link to a folder that holds it")
        for path in sorted(folder.iterdir()):
            if path.name in SKIPPED:
                continue
            if path.is_dir():
                yield f"{prefix}{path.name}/", path
                yield from inside(path, f"{prefix}{path.name}/", around | {real})
            else:
                yield prefix + path.name, path

    return inside(folder, "", frozenset())


def pack(entries: Sequence[tuple[str, Path]], *, compressed: bool) -> bytes:
    """Zip files and folders under the given names.

    Raises PackageError for what is neither, and OSError.
    """
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, path in entries:
            mode = path.stat().st_mode
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, also when packed elsewhere: the mode counts
            entry.external_attr = mode << 16
            if stat.S_ISDIR(mode):
                entry.external_attr |= 0x10
                archive.writestr(entry, b"")
            elif stat.S_ISREG(mode):
                entry.compress_type = method
                archive.writestr(entry, path.read_bytes())
            else:
                raise PackageError(f"{path} is neither a file nor a folder")
    return buffer.getvalue()
