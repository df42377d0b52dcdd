"""Large bodies: written to a file as they arrive, so that memory stays flat."""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anyfc.web.message import KIB, Body

IN_MEMORY_BYTES = 256 * KIB
PIECE_BYTES = 256 * KIB


@dataclass(slots=True)
class Spooled:
    """A body in a file without a name; see `model.invocation.Payload`."""

    size_bytes: int
    _file: IO[bytes]

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()


class Kept:
    """A spooled body that outlives the connection it came from; see `model.invocation.Stream`.

    Its file goes when it has been read, or with the last who knows of it.
    """

    def __init__(self, spooled: Spooled) -> None:
        self.size_bytes = spooled.size_bytes
        self._spooled = spooled

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._spooled.pieces():
                yield piece
        finally:
            self._spooled.close()

    def __del__(self) -> None:
        self._spooled.close()


@asynccontextmanager
async def collect(body: Body, folder: Path) -> AsyncIterator[tuple[bytes | Spooled, bytes]]:
    """Yield a whole body and its SHA-256; the body is there until the end of the block.

    Nobody is made to wait for a slow sender's large body but the sender: no instance is leased
    before it is complete. Raises EntityTooLarge, PeerLost, RequestTimeout.
    """
    digest = hashlib.sha256()
    content = await _gather(body, folder, digest.update)
    try:
        yield content, digest.digest()
    finally:
        if isinstance(content, Spooled):
            content.close()


async def keep(body: Body, folder: Path, *, limit_bytes: int) -> bytes | Kept:
    """Return a whole body of at most `limit_bytes`. Raises EntityTooLarge, PeerLost."""
    body.set_limit(limit_bytes)
    content = await _gather(body, folder, None)
    return content if isinstance(content, bytes) else Kept(content)


async def _gather(
    body: Body, folder: Path, look_at: Callable[[bytes], None] | None
) -> bytes | Spooled:
    pieces: list[bytes] = []
    size_bytes = 0
    file: IO[bytes] | None = None
    try:
        async for piece in body:
            if look_at is not None:
                look_at(piece)
            size_bytes += len(piece)
            if file is None and size_bytes > IN_MEMORY_BYTES:
                file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # whoever gets it closes it
                file.writelines(pieces)
                pieces.clear()
            if file is None:
                pieces.append(piece)
            else:
                file.write(piece)
    except BaseException:
        if file is not None:
            file.close()
        raise
    return b"".join(pieces) if file is None else Spooled(size_bytes, file)
