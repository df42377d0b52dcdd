"""Code packages and layers as they were uploaded: found by SHA-256, written once."""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from anyfc.durable import sync_folder
from anyfc.errors import StoreUnavailable

DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """Files in a folder, made when it is missing, each named by its own content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder.parent)
        for leftover in folder.glob("*.part"):
            leftover.unlink()

    def put(self, data: bytes) -> str:
        """Store content, whole and durable when this returns, and return its digest.

        Raises StoreUnavailable, and leaves nothing behind then.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            if not self.path(digest).exists():
                self._write(digest, data)
            # Also for content that is here: who wrote it may not have come this far yet.
            sync_folder(self._folder)
        except OSError as error:
            raise StoreUnavailable(f"the code cannot be stored: {error.strerror}") from error
        return digest

    def path(self, digest: str) -> Path:
        """Say where content is, if it is here."""
        return self._folder / digest

    def remove(self, digest: str) -> None:
        """Delete content; fine when it is not here."""
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> set[str]:
        """Return the digests of all content that is here."""
        return {name for name in os.listdir(self._folder) if DIGEST.fullmatch(name)}

    def _write(self, digest: str, data: bytes) -> None:
        descriptor, part = mkstemp(dir=self._folder, suffix=".part")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.rename(part, self.path(digest))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise
