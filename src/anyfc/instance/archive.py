"""ZIP archives from strangers: bytes to a checked tree of paths. Touches no file.

Not built on `zipfile`: that makes all entries before they can be counted, shortens names at a NUL
and, in older releases, takes entries that share bytes. Here an archive is refused before anything
is written, except for what only its content can show; `read_content` stops at the first wrong byte.
"""

import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from anyfc.errors import InvalidArgument

KIB = 1024
MIB = 1024 * KIB

# An archive may hold this many entries, and these may lie in as many folders again that have no
# entry of their own.
MAX_ENTRIES = 100_000
MAX_DEPTH = 128  # folders; far below what removing a tree takes in stack and open files
MAX_PATH_BYTES = 4095
MAX_NAME_BYTES = 255
MAX_LINKS_BYTES = 1 * MIB  # the targets of all links together
PIECE_BYTES = 1 * MIB
PACKED_PIECE_BYTES = 64 * KIB

END = struct.Struct("<4s4H2LH")
END64_LOCATOR_BYTES = 20
END64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s2B5H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
EXTRA = struct.Struct("<2H")

STORED, DEFLATED = 0, 8
ENCRYPTED, PATCHED, STRONGLY_ENCRYPTED, UTF8, MASKED = 0x1, 0x20, 0x40, 0x800, 0x2000
UNIX, DARWIN = 3, 19  # systems whose entries carry a Unix mode
EXTRA_ZIP64, EXTRA_TIME = 0x0001, 0x5455
IN_EXTRA = 0xFFFFFFFF  # the true value is in the zip64 field


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, folder or link as the archive lists it. `start` is where its content begins."""

    path: str
    mode: int  # with its type
    modified_s: float | None
    method: int
    crc: int
    start: int
    packed_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What an archive unpacks to: relative paths, none of which leads through a link."""

    folders: Mapping[str, int]  # path → permissions; a folder comes before what is in it
    files: Mapping[str, Entry]
    links: Mapping[str, str]  # path → target


def read_tree(data: bytes, *, limit_bytes: int) -> Tree:
    """Check an archive that unpacks to at most `limit_bytes`. Raises InvalidArgument."""
    try:
        entries = _read_entries(data)
    except (struct.error, OverflowError) as error:
        raise refused("it is damaged or incomplete") from error
    if sum(entry.size_bytes for entry in entries) > limit_bytes:
        raise refused(f"it unpacks to more than {limit_bytes} bytes")
    return _grow_tree(data, entries)


def read_content(data: bytes, entry: Entry) -> Iterator[bytes | memoryview]:
    """Yield the content in pieces, never more than the entry's size. Raises InvalidArgument."""
    packed = memoryview(data)[entry.start : entry.start + entry.packed_bytes]
    size_bytes = crc = 0
    for piece in _inflate(packed) if entry.method == DEFLATED else _cut(packed):
        size_bytes += len(piece)
        if size_bytes > entry.size_bytes:
            raise refused(f"{shown(entry.path)} is longer than it says")
        crc = zlib.crc32(piece, crc)
        yield piece
    if size_bytes != entry.size_bytes or crc != entry.crc:
        raise refused(f"{shown(entry.path)} is damaged")


def refused(reason: str) -> InvalidArgument:
    return InvalidArgument(f"the code package cannot be used: {reason}")


def shown(name: str) -> str:
    """Quote a stranger's text for a message."""
    return repr(name if len(name) <= 200 else name[:200] + "…")


def _cut(packed: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(packed), PIECE_BYTES):
        yield packed[start : start + PIECE_BYTES]


def _inflate(packed: memoryview) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, len(packed), PACKED_PIECE_BYTES):
            rest: bytes | memoryview = packed[start : start + PACKED_PIECE_BYTES]
            while rest and not inflater.eof:
                yield inflater.decompress(rest, PIECE_BYTES)
                rest = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise refused("its compressed data is damaged") from error


def _read_entries(data: bytes) -> list[Entry]:
    """Read the directory at the archive's end, and check that no two entries share bytes."""
    start, end, shift, count = _find_directory(data)
    entries: list[Entry] = []
    places: list[tuple[int, int]] = []
    position = start
    while position < end:
        if len(entries) == MAX_ENTRIES:
            raise refused(f"it holds more than {MAX_ENTRIES} entries")
        entry, header, position = _read_entry(data, position, shift)
        entries.append(entry)
        places.append((header, entry.start + entry.packed_bytes))
    if position != end or len(entries) & 0xFFFF != count & 0xFFFF:
        raise refused("its directory is damaged")
    places.sort()
    places.append((start, end))
    for (_, previous_end), (following, _) in pairwise(places):
        if previous_end > following:
            raise refused("its entries overlap")
    return entries


def _find_directory(data: bytes) -> tuple[int, int, int, int]:
    """Return where the directory starts and ends, how far offsets are shifted, and its count.

    A shift comes from something in front of the archive, such as the script of a runnable JAR.
    """
    end = len(data)
    earliest = max(0, len(data) - END.size - 0xFFFF)
    while (end := data.rfind(b"PK\x05\x06", earliest, end + 3)) >= 0:
        if len(data) - end >= END.size:
            _, disk, first_disk, _, count, size, offset, comment = END.unpack_from(data, end)
            if end + END.size + comment <= len(data):
                break
    else:
        raise refused("it is not a ZIP archive, or it is incomplete")
    if end >= END64_LOCATOR_BYTES and data[end - END64_LOCATOR_BYTES : end].startswith(
        b"PK\x06\x07"
    ):
        end -= END64_LOCATOR_BYTES + END64.size
        if end < 0:
            raise refused("its directory is damaged")
        magic, _, _, _, disk, first_disk, _, count, size, offset = END64.unpack_from(data, end)
        if magic != b"PK\x06\x06":
            raise refused("its directory is damaged")
    if disk or first_disk:
        raise refused("it is one part of several")
    if size + offset > end:
        raise refused("it is damaged or incomplete")
    return end - size, end, end - size - offset, count


def _read_entry(data: bytes, position: int, shift: int) -> tuple[Entry, int, int]:
    """Return the entry listed at a position, where its own header is, and the next position."""
    fields = CENTRAL.unpack_from(data, position)
    magic, _, system, _, flags, method, time, date, crc, packed_bytes, size_bytes = fields[:11]
    name_bytes, extra_bytes, comment_bytes, _, _, attributes, offset = fields[11:]
    name_start = position + CENTRAL.size
    extra_start = name_start + name_bytes
    extra_end = extra_start + extra_bytes
    raw_name = data[name_start:extra_start]
    if magic != b"PK\x01\x02" or extra_end + comment_bytes > len(data):
        raise refused("its directory is damaged")
    name = _decode(raw_name, flags)
    if flags & (ENCRYPTED | STRONGLY_ENCRYPTED | MASKED):
        raise refused(f"{shown(name)} is encrypted")
    if flags & PATCHED or method not in (STORED, DEFLATED):
        raise refused(f"{shown(name)} is compressed in a way other than deflate")
    modified_s = _dos_time(date, time)
    for kind, field in _fields(data[extra_start:extra_end]):
        if kind == EXTRA_ZIP64:
            size_bytes, packed_bytes, offset = _widen(field, size_bytes, packed_bytes, offset)
        elif kind == EXTRA_TIME and len(field) >= 5 and field[0] & 1:
            (modified_s,) = struct.unpack_from("<l", field, 1)
    header = offset + shift
    entry = Entry(
        path=_check_path(name),
        mode=_mode(attributes >> 16 if system in (UNIX, DARWIN) else 0, name),
        modified_s=modified_s,
        method=method,
        crc=crc,
        start=_find_content(data, header, raw_name),
        packed_bytes=packed_bytes,
        size_bytes=size_bytes,
    )
    if method == STORED and packed_bytes != size_bytes:
        raise refused(f"{shown(name)} has two different sizes")
    return entry, header, extra_end + comment_bytes


def _find_content(data: bytes, header: int, raw_name: bytes) -> int:
    """Check an entry's own header, and say where the content after it begins."""
    magic, _, flags, *_, name_bytes, extra_bytes = LOCAL.unpack_from(data, header)
    start = header + LOCAL.size
    if magic != b"PK\x03\x04" or data[start : start + name_bytes] != raw_name:
        raise refused("an entry and the directory disagree")
    if flags & ENCRYPTED:
        raise refused("it is encrypted")
    return int(start + name_bytes + extra_bytes)


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + EXTRA.size <= len(extra):
        kind, size = EXTRA.unpack_from(extra, position)
        position += EXTRA.size
        yield kind, extra[position : position + size]
        position += size


def _widen(field: bytes, *values: int) -> Iterator[int]:
    """Take the values that did not fit from the zip64 field, which holds only those."""
    position = 0
    for value in values:
        if value == IN_EXTRA:
            (value,) = struct.unpack_from("<Q", field, position)
            position += 8
        yield value


def _dos_time(date: int, time: int) -> float | None:
    """Read a clock without a time zone as UTC, which is what the cloud's machines run on."""
    try:
        return datetime(
            1980 + (date >> 9),
            date >> 5 & 0xF,
            date & 0x1F,
            time >> 11,
            time >> 5 & 0x3F,
            (time & 0x1F) * 2,
            tzinfo=UTC,
        ).timestamp()
    except ValueError:
        return None


def _decode(raw: bytes, flags: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if flags & UTF8:
            raise refused(f"the name {shown(repr(raw)[2:-1])} is not UTF-8") from error
        return raw.decode("cp437")  # what the format says about names without the flag


def _check_path(name: str) -> str:
    """Return the path a name stands for; empty for the folder of all. Raises InvalidArgument."""
    if "\0" in name or "\\" in name:
        raise refused(f"the name {shown(name)} holds a NUL or a backslash; separate names with '/'")
    if not name or name[0] == "/":
        raise refused(f"the name {shown(name)} is not relative to the package")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refused(f"the name {shown(name)} leaves the package")
    path = "/".join(parts)
    if len(path.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > MAX_NAME_BYTES for part in parts
    ):
        raise refused(f"the name {shown(name)} is too long")
    if len(parts) > MAX_DEPTH:
        raise refused(f"{shown(name)} lies more than {MAX_DEPTH} folders deep")
    return path


def _mode(unix_mode: int, name: str) -> int:
    """Return type and permissions, with the usual ones for an entry from another system.

    The owner may always read, and enter folders: at home a function runs as root, which may.
    """
    kind = stat.S_IFMT(unix_mode)
    if kind in (0, stat.S_IFREG):
        kind = stat.S_IFDIR if name.endswith("/") else stat.S_IFREG
    if kind == stat.S_IFREG:
        return kind | (unix_mode & 0o777 | 0o400 if unix_mode else 0o644)
    if kind == stat.S_IFDIR:
        return kind | (unix_mode & 0o777 | 0o700 if unix_mode else 0o755)
    if kind == stat.S_IFLNK:
        return kind
    raise refused(f"{shown(name)} is neither a file, a folder nor a link")


def _grow_tree(data: bytes, entries: Iterable[Entry]) -> Tree:
    """Sort entries by kind and add the folders they lie in.

    A path that comes twice as the same kind of thing is taken from its last entry, as unpacking
    one by one would. As a folder is never a link at the same time, no path leads through a link.
    """
    kinds = {"": stat.S_IFDIR}
    folders: dict[str, int] = {}
    files: dict[str, Entry] = {}
    links: dict[str, str] = {}
    links_bytes = 0
    for entry in entries:
        path, kind = entry.path, stat.S_IFMT(entry.mode)
        for folder in _new_folders(path, folders):
            if folder in kinds:
                raise refused(f"{shown(folder)} is a folder and also something else")
            kinds[folder] = stat.S_IFDIR
            folders[folder] = 0o755
        if kinds.setdefault(path, kind) != kind:
            raise refused(f"{shown(path)} is two things at once")
        if kind == stat.S_IFREG:
            files[path] = entry
        elif kind == stat.S_IFLNK:
            links_bytes += entry.size_bytes
            if links_bytes > MAX_LINKS_BYTES:
                raise refused("its links are too long")
            links[path] = _read_target(data, entry)
        elif path:
            folders[path] = stat.S_IMODE(entry.mode)
        if len(folders) > MAX_ENTRIES:
            raise refused(f"it holds more than {MAX_ENTRIES} folders")
    for path, target in links.items():
        if not _stays_inside(path, target, links):
            raise refused(f"the link {shown(path)} to {shown(target)} leaves the package")
    return Tree(folders=folders, files=files, links=links)


def _new_folders(path: str, known: Mapping[str, int]) -> list[str]:
    """Return the folders above a path that are not known yet, outermost first."""
    found: list[str] = []
    while (path := path.rpartition("/")[0]) and path not in known:
        found.append(path)
    return found[::-1]


def _read_target(data: bytes, entry: Entry) -> str:
    if not 0 < entry.size_bytes <= MAX_PATH_BYTES:
        raise refused(f"the link {shown(entry.path)} has no target, or one that is too long")
    target = b"".join(read_content(data, entry))
    try:
        text = target.decode()
    except UnicodeDecodeError as error:
        raise refused(f"the target of the link {shown(entry.path)} is not UTF-8") from error
    if "\0" in text:
        raise refused(f"the target of the link {shown(entry.path)} holds a NUL")
    return text


def _stays_inside(path: str, target: str, links: Mapping[str, str]) -> bool:
    """Say whether a link leads to a place in the package, existing or not.

    After a step through another link, `..` would go up from wherever that one leads; such targets
    are refused unseen. Without them, each link stays inside because all others do.
    """
    if target.startswith("/"):
        return False
    place = path.split("/")[:-1]
    through_link = False
    for part in target.split("/"):
        if part == "..":
            if through_link or not place:
                return False
            place.pop()
        elif part not in ("", "."):
            place.append(part)
            through_link = through_link or "/".join(place) in links
    return True
