"""What callers ask for besides the call itself: how to invoke, which version, and the log.

Source: api.md 8.1 and 8.5.
"""

from typing import Final
from urllib.parse import parse_qsl

from anyfc.errors import InvalidArgument
from anyfc.model.version import LATEST

NO_ASYNC: Final = (
    "asynchronous invocation is not supported by this version of anyfc; "
    "leave out X-Fc-Invocation-Type or set it to Sync"
)


def read_qualifier(query: bytes) -> str:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace")
    return dict(pairs).get("qualifier") or LATEST


def is_async(value: bytes | None) -> bool:
    if value is None or (kind := value.strip().lower()) == b"sync":
        return False
    if kind == b"async":
        return True
    raise InvalidArgument(
        f"X-Fc-Invocation-Type must be Sync or Async, not '{value.decode('latin-1')}'"
    )


def read_log_type(value: bytes | None) -> bool:
    if value is None or (kind := value.strip().lower()) == b"none":
        return False
    if kind == b"tail":
        return True
    raise InvalidArgument(f"X-Fc-Log-Type must be None or Tail, not '{value.decode('latin-1')}'")
