"""Large request bodies: written to a file as they arrive, so that memory stays flat."""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
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


@asynccontextmanager
async def collect(body: Body, folder: Path) -> AsyncIterator[tuple[bytes | Spooled, bytes]]:
    """Yield a whole body and its SHA-256; the body is there until the end of the block.

    Nobody is made to wait for a slow sender's large body but the sender: no instance is leased
    before it is complete. Raises EntityTooLarge, PeerLost, RequestTimeout.
    """
    digest = hashlib.sha256()
    pieces: list[bytes] = []
    size_bytes = 0
    file: IO[bytes] | None = None
    try:
        async for piece in body:
            digest.update(piece)
            size_bytes += len(piece)
            if file is None and size_bytes > IN_MEMORY_BYTES:
                file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed below
                file.writelines(pieces)
                pieces.clear()
            if file is None:
                pieces.append(piece)
            else:
                file.write(piece)
        if file is None:
            yield b"".join(pieces), digest.digest()
        else:
            yield Spooled(size_bytes, file), digest.digest()
    finally:
        if file is not None:
            file.close()
