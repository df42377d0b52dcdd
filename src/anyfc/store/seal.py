"""Seal: what keeps secrets in the database from whoever reads its file alone."""

import base64
import binascii
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from anyfc.durable import write_once
from anyfc.errors import StoreUnavailable

KEY_FILE = "store.key"
KEY_BYTES = 32


class KeyUnusable(Exception):
    """The text is no key; the message says what one looks like."""


class Seal:
    """Encrypts and authenticates texts. `key` is 32 bytes in base64, of either alphabet.

    Raises KeyUnusable.
    """

    def __init__(self, key: str) -> None:
        try:
            raw = base64.b64decode(key.strip().translate({45: 43, 95: 47}), validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        if len(raw) != KEY_BYTES:
            raise KeyUnusable(f"a key is {KEY_BYTES} random bytes in base64")
        self._fernet = Fernet(base64.urlsafe_b64encode(raw))

    def close(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises StoreUnavailable for what was sealed with another key, or has been changed."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise StoreUnavailable(
                "the database holds what was not sealed with this key; start with the key that it "
                f"was written with: {KEY_FILE} from a backup, or ANYFC_STORE_KEY"
            ) from error


def ensure_seal(data_dir: Path, *, make: bool) -> Seal:
    """Return the seal whose key lies in the data directory; with `make`, make the key at first.

    Raises StoreUnavailable.
    """
    path = data_dir / KEY_FILE
    try:
        if make and not path.exists():
            write_once(path, Fernet.generate_key().decode() + "\n")
        return Seal(path.read_text("ascii"))
    except FileNotFoundError:
        raise StoreUnavailable(
            f"{path} is missing, and the database cannot be read without it; restore it from a "
            "backup, or set ANYFC_STORE_KEY"
        ) from None
    except (OSError, UnicodeDecodeError, KeyUnusable) as error:
        raise StoreUnavailable(f"{path} cannot be used: {error}") from error
