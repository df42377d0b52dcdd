"""Code packages: the zip that is made of a folder or a file."""

import io
import os
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anyfc.cli.source import Entry, PackageError, scan
from anyfc.cli.terminal import readable

# The oldest time a zip can hold: equal code gives equal packages and checksums.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Package:
    """A zip; of a folder, also what links led to out of it, and notes on what was left out."""

    data: bytes
    elsewhere: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_package(source: Path, *, compressed: bool = True, data_dir: Path | None = None) -> Package:
    """Return the zip of a folder or file; a zip is taken as it is.

    Equal code gives equal bytes. Modes survive, and so do links that stay in the folder; others
    become what they point to. The server's `data_dir` is left out. Compressing takes half of the
    time. Raises PackageError.
    """
    try:
        if is_zip(source):
            return Package(_read_zip(source))
        if not source.is_dir():
            if not stat.S_ISREG(source.stat().st_mode):
                raise PackageError(f"{readable(source)} is neither a file nor a folder")
            return Package(pack([Entry(source.name, source)], compressed=compressed))
        tree = scan(source, data_dir=data_dir)
        if not tree.entries:
            raise PackageError(f"{readable(source)} holds no files")
        return Package(pack(tree.entries, compressed=compressed), tree.elsewhere, tree.notes)
    except OSError as error:
        raise PackageError(f"{readable(error.filename or source)}: {error.strerror}") from error


def is_zip(source: Path) -> bool:
    """Whether a source is sent as it is."""
    return source.suffix.lower() == ".zip" and source.is_file()


def _read_zip(path: Path) -> bytes:
    try:
        zipfile.ZipFile(path).close()
    except zipfile.BadZipFile:
        raise PackageError(f"{readable(path)} is not a zip archive") from None
    return path.read_bytes()


def pack(entries: Sequence[Entry], *, compressed: bool) -> bytes:
    """Zip files, folders and links; what has vanished is left out.

    Raises PackageError for a name that a zip cannot hold, and OSError.
    """
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for entry in entries:
            info = zipfile.ZipInfo(_text(entry, entry.name), _EPOCH)
            try:
                mode, content = _read(entry)
            except FileNotFoundError:
                continue
            info.create_system = 3  # Unix, also when packed elsewhere: the mode counts
            info.external_attr = mode << 16
            if stat.S_ISDIR(mode):
                info.external_attr |= 0x10
            elif stat.S_ISREG(mode):
                info.compress_type = method
            archive.writestr(info, content)
    return buffer.getvalue()


def _read(entry: Entry) -> tuple[int, bytes]:
    """Return mode and content."""
    if entry.target:
        return stat.S_IFLNK | 0o777, _text(entry, entry.target).encode()
    mode = entry.path.stat().st_mode
    return mode, b"" if stat.S_ISDIR(mode) else entry.path.read_bytes()


def _text(entry: Entry, text: str) -> str:
    """Return a name or a target if it is one that a zip can hold. Raises PackageError."""
    try:
        os.fsencode(text).decode()
    except UnicodeDecodeError:
        raise PackageError(f"{readable(entry.path)}: the name is not UTF-8; rename it") from None
    return text
