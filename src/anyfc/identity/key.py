"""AccessKeys, the pair kept in the data directory, and credentials derived for a function's role.

Reading and writing `credentials.json` stands here and not in `store/`: the command line needs the
pair too, also when no server runs. The rest of the module is pure.
"""

import base64
import hmac
import json
import secrets
import string
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec

from anyfc.durable import replace_file, write_once
from anyfc.errors import AccessDenied, InvalidAccessKeyID

FILE_NAME = "credentials.json"
ID_PREFIX = "anyfc"
ROLE_ID_PREFIX = "STS."
ROLE_CREDENTIALS_S = 36 * 3600

_ALPHABET = string.ascii_letters + string.digits
_TAG_BYTES = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request; `role` is set when it was a function with credentials of its role."""

    account_id: str
    access_key_id: str
    role: str | None = None


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A secret, and whom it speaks for."""

    caller: Caller
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a function gets to call the API as its role; three empty texts without a role."""

    access_key_id: str = ""
    access_key_secret: str = field(default="", repr=False)
    security_token: str = field(default="", repr=False)


class Keys:
    """All keys that may sign a request: long-lived ones, and those derived for roles.

    Derived credentials are not stored. The token carries the role and its expiry under a MAC; key
    id and secret follow from the token, so whoever has `signing_key` can verify them.
    """

    def __init__(self, long_lived: Iterable[AccessKey], *, signing_key: bytes) -> None:
        self._long_lived = {key.caller.access_key_id: key for key in long_lived}
        self._signing_key = signing_key

    def find(self, access_key_id: str, security_token: str, now: float) -> AccessKey:
        """Return the key with this id. `now` is Unix time in seconds.

        Raises InvalidAccessKeyID, AccessDenied (the token is wrong, missing or has expired).
        """
        key = self._long_lived.get(access_key_id)
        if key and not security_token:
            return key
        if not key and not access_key_id.startswith(ROLE_ID_PREFIX):
            raise InvalidAccessKeyID(access_key_id)
        if not security_token:
            raise AccessDenied("this access key is temporary; its security token is missing")
        role, account_id, expires_s = self._read_token(security_token)
        if not hmac.compare_digest(self._id_of(security_token).encode(), access_key_id.encode()):
            raise AccessDenied("the security token does not belong to this access key")
        if now >= expires_s:
            raise AccessDenied("the security token has expired")
        return AccessKey(
            Caller(account_id, access_key_id, role), self._secret_of(security_token).encode()
        )

    def derive(self, role: str, account_id: str, now: float) -> Credentials:
        """Make the credentials of a role, valid for 36 hours from `now` (Unix time in seconds).

        Source: Function Compute, "Grant permissions": AssumeRole credentials of a function's role.
        """
        if not role:
            return Credentials()
        claims = json.dumps([role, account_id, int(now) + ROLE_CREDENTIALS_S]).encode()
        token = base64.urlsafe_b64encode(self._mac(b"token", claims) + claims).decode()
        return Credentials(
            access_key_id=self._id_of(token),
            access_key_secret=self._secret_of(token),
            security_token=token,
        )

    def _read_token(self, token: str) -> tuple[str, str, int]:
        try:
            raw = base64.b64decode(token.encode("ascii"), b"-_", validate=True)
        except ValueError:
            raw = b""
        tag, claims = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._mac(b"token", claims)):
            raise AccessDenied("the security token is not valid")
        role, account_id, expires_s = json.loads(claims)
        return role, account_id, expires_s

    def _id_of(self, token: str) -> str:
        return ROLE_ID_PREFIX + self._mac(b"id", token.encode())[:15].hex()

    def _secret_of(self, token: str) -> str:
        return self._mac(b"secret", token.encode()).hex()

    def _mac(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._signing_key, purpose + b"\0" + content, "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What `credentials.json` holds: a generated key pair and the key that signs role tokens.

    `shown` says that the pair's owner has seen it; until then nobody but this machine may reach
    a server that accepts it.
    """

    access_key_id: str
    access_key_secret: str = field(repr=False)
    signing_key: str = field(repr=False)  # hexadecimal
    shown: bool = False


class PairUnreadable(Exception):
    """`credentials.json` is damaged or cannot be opened; the message names it."""


def read_pair(data_dir: Path) -> Pair | None:
    """Return the pair in the data directory, or None if there is none yet.

    Raises PairUnreadable.
    """
    path = data_dir / FILE_NAME
    try:
        pair = msgspec.json.decode(path.read_bytes(), type=Pair)
        bytes.fromhex(pair.signing_key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise PairUnreadable(
            f"{path} cannot be read ({error}); restore it from a backup, or remove it to have a "
            "new key made"
        ) from error
    return pair


def ensure_pair(data_dir: Path) -> Pair:
    """Return the pair in the data directory; make the pair, and the directory, at first.

    Raises PairUnreadable, OSError.
    """
    pair = read_pair(data_dir)
    if pair:
        return pair
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    pair = Pair(
        access_key_id=ID_PREFIX + _random_text(20),
        access_key_secret=_random_text(40),
        signing_key=secrets.token_hex(_TAG_BYTES),
    )
    if write_once(data_dir / FILE_NAME, _as_text(pair)):
        return pair
    return ensure_pair(data_dir)


def mark_shown(data_dir: Path) -> None:
    """Note in the data directory that the owner of the pair has seen it.

    Raises PairUnreadable, OSError.
    """
    pair = read_pair(data_dir)
    if pair and not pair.shown:
        replace_file(data_dir / FILE_NAME, _as_text(replace(pair, shown=True)))


def open_keys(
    pair: Pair, *, account_id: str, access_key_id: str = "", access_key_secret: str = ""
) -> Keys:
    """Build the keys of one account: the ones given, or else those of the generated pair."""
    if not access_key_id:
        access_key_id, access_key_secret = pair.access_key_id, pair.access_key_secret
    key = AccessKey(Caller(account_id, access_key_id), access_key_secret.encode())
    return Keys([key], signing_key=bytes.fromhex(pair.signing_key))


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _as_text(pair: Pair) -> str:
    return json.dumps(asdict(pair), indent=2)
