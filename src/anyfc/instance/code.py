"""Code packages on this machine: checked when they come in, unpacked once, found by digest.

The archive in the blob store is the truth; the unpacked tree is made from it and can be made again.

    folder/<boot id>/<digest>/code/…   trees, complete from the moment they are there
    folder/half-<random>/…             trees that are coming or going

The `code` below the digest is what makes a tree a layer of a root folder (`bootstrap/jail.py`).

A tree is written without waiting for the disk, so it is good only until the machine stops: trees of
an earlier boot are not used again.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from math import inf
from pathlib import Path
from threading import Lock
from uuid import uuid4
from weakref import WeakValueDictionary

import fastcrc

from anyfc.errors import InvalidArgument, StoreUnavailable
from anyfc.instance.archive import Entry, read_content, read_tree
from anyfc.model.function import Code
from anyfc.store.blobs import Blobs

# From the arrival of a package, or from a request for its tree, to the moment when the function or
# the instance it is for counts as using it, with a wide margin.
PIN_S = 15 * 60.0

# Instances that run as another user get to the code they were given, and cannot look around.
PASSABLE = 0o711
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def read_boot_id() -> str:
    """Return what identifies the time since the machine was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return uuid4().hex  # not told by this system: nothing is used again


class Packages:
    """The code packages in a blob store, and the trees unpacked from them.

    `limit_bytes` is what one package may unpack to. Trees belong to `uid` and `gid` if given.
    """

    def __init__(
        self,
        blobs: Blobs,
        folder: Path,
        *,
        uid: int | None,
        gid: int | None,
        limit_bytes: int,
        boot_id: Callable[[], str] = read_boot_id,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._blobs = blobs
        self._folder = folder
        self._trees = folder / boot_id()
        self._half = folder / f"half-{uuid4().hex}"
        self._uid = -1 if uid is None else uid
        self._gid = -1 if gid is None else gid
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._pins: dict[str, float] = {}  # digest → when it was last asked for
        self._pinning = Lock()
        self._restoring: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._trees.mkdir(parents=True, exist_ok=True)
        self._trees.chmod(PASSABLE)
        self._half.mkdir()

    async def add(self, data: bytes, *, checksum: str | None) -> Code:
        """Take in a package: check it, unpack it, store it. Nothing of it stays if that fails.

        `checksum` is what the sender says the CRC-64 is. `sweep` leaves the package alone for long
        enough to store the function it came with. Raises InvalidArgument, StoreUnavailable.
        """
        return await asyncio.to_thread(self._add, data, checksum)

    def folder(self, code: Code) -> Path:
        """Say where a package is unpacked, if it is."""
        return self._trees / code.digest / "code"

    async def ensure(self, code: Code) -> Path:
        """Return the folder of a stored package, unpacked again if need be.

        Raises StoreUnavailable.
        """
        self._pin(code.digest)
        folder = self.folder(code)
        if not folder.exists():
            async with self._restoring.setdefault(code.digest, asyncio.Lock()):
                if not folder.exists():
                    await asyncio.to_thread(self._restore, code.digest)
        return folder

    async def sweep(self, in_use: set[str]) -> None:
        """Delete what earlier runs left half done, and packages that nobody refers to.

        `in_use` are the digests of all functions and of all instances. Packages that were added or
        asked for a short while ago stay too.
        """
        await asyncio.to_thread(self._sweep, in_use)

    def _add(self, data: bytes, checksum: str | None) -> Code:
        code = Code(
            digest=sha256(data).hexdigest(),
            checksum=str(fastcrc.crc64.xz(data)),
            size_bytes=len(data),
        )
        if checksum is not None and checksum != code.checksum:
            raise InvalidArgument(
                f"the code's checksum is {code.checksum}, not {checksum}; was it cut off?"
            )
        self._pin(code.digest)
        if not (self.folder(code).exists() and self._blobs.path(code.digest).exists()):
            with self._unpacked(data) as tree:
                self._blobs.put(data)
                self._settle(tree, code.digest)
        return code

    def _restore(self, digest: str) -> None:
        try:
            data = self._blobs.path(digest).read_bytes()
        except OSError as error:
            raise StoreUnavailable(f"code {digest} cannot be read: {error.strerror}") from error
        if sha256(data).hexdigest() != digest:
            raise StoreUnavailable(f"code {digest} was damaged after it was stored")
        with self._unpacked(data) as tree:
            self._settle(tree, digest)

    @contextmanager
    def _unpacked(self, data: bytes) -> Iterator[Path]:
        """Unpack an archive into a half-done tree, which is gone on exit unless it was moved."""
        tree = self._half / uuid4().hex
        try:
            os.makedirs(tree)
            # It is the lowest layer of a box's root folder, and whoever made the box lists that.
            tree.chmod(0o755)
            _unpack(
                data, tree / "code", uid=self._uid, gid=self._gid, limit_bytes=self._limit_bytes
            )
            yield tree
        except OSError as error:
            raise StoreUnavailable(f"the code cannot be unpacked: {error.strerror}") from error
        finally:
            shutil.rmtree(tree, ignore_errors=True)

    def _settle(self, tree: Path, digest: str) -> None:
        """Move a complete tree to its place; when another one got there first, that is as good."""
        try:
            os.rename(tree, self._trees / digest)
        except OSError:
            if not (self._trees / digest).exists():
                raise

    def _pin(self, digest: str) -> None:
        with self._pinning:
            self._pins[digest] = self._clock()

    def _sweep(self, in_use: set[str]) -> None:
        # Whatever cannot be deleted now is met again by the next start's sweep.
        for leftover in self._folder.iterdir():
            if leftover not in (self._trees, self._half):
                shutil.rmtree(leftover, ignore_errors=True)
        for digest in {*os.listdir(self._trees), *self._blobs.digests()} - in_use:
            self._forget(digest)
        earliest = self._clock() - PIN_S
        with self._pinning:
            self._pins = {digest: at for digest, at in self._pins.items() if at >= earliest}

    def _forget(self, digest: str) -> None:
        going = self._half / uuid4().hex
        # Under the lock, so that whoever pins a package finds it either whole or gone, and then
        # unpacks it again. A tree leaves in one step, and only then bit by bit.
        with self._pinning:
            if self._pins.get(digest, -inf) > self._clock() - PIN_S:
                return
            if (self._trees / digest).exists():
                os.rename(self._trees / digest, going)
            self._blobs.remove(digest)
        shutil.rmtree(going, ignore_errors=True)


def _unpack(data: bytes, root: Path, *, uid: int, gid: int, limit_bytes: int) -> None:
    """Write an archive's tree to a new folder. Raises InvalidArgument, OSError."""
    tree = read_tree(data, limit_bytes=limit_bytes)
    os.mkdir(root, 0o700)
    # All paths start from a descriptor, so that only their own length counts against the limit.
    base = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for path in tree.folders:
            os.mkdir(path, 0o700, dir_fd=base)
        for path, entry in tree.files.items():
            _write_file(path, entry, data, base=base, uid=uid, gid=gid)
        for path, target in tree.links.items():
            os.symlink(target, path, dir_fd=base)
            os.chown(path, uid, gid, dir_fd=base, follow_symlinks=False)
        # Permissions come last: what a folder forbids must not stop us from filling it.
        for path, mode in [*tree.folders.items(), (".", 0o755)]:
            os.chown(path, uid, gid, dir_fd=base)
            os.chmod(path, mode, dir_fd=base)
    finally:
        os.close(base)


def _write_file(path: str, entry: Entry, data: bytes, *, base: int, uid: int, gid: int) -> None:
    with open(os.open(path, NEW_FILE, 0o600, dir_fd=base), "wb") as file:
        for piece in read_content(data, entry):
            file.write(piece)
        file.flush()
        os.chown(file.fileno(), uid, gid)
        os.chmod(file.fileno(), entry.mode & 0o777)
        if entry.modified_s is not None:
            os.utime(file.fileno(), (entry.modified_s, entry.modified_s))
