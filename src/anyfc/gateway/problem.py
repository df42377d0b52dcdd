"""Problems: service errors in words, and request ids, for all doors."""

import time
from secrets import token_hex
from typing import Final

import msgspec

from anyfc.errors import FunctionComputeError, Unauthorized
from anyfc.web.message import Response

ID_BYTES: Final = 10
IDS: Final = 256


class RequestIds:
    """Makes ids in the form that the cloud uses: time, and chance.

    Chance is taken from the system for many of them at once.
    """

    def __init__(self) -> None:
        self._second = 0
        self._start = ""
        self._chance = ""
        self._used = 0

    def new(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._start = f"1-{second:08x}-"
        at = self._used
        if at == len(self._chance):
            self._chance = token_hex(ID_BYTES * IDS)
            at = 0
        self._used = at + 2 * ID_BYTES
        chance = self._chance
        return f"{self._start}{chance[at : at + 8]}-{chance[at + 8 : at + 20]}"


new_request_id = RequestIds().new


def describe(problem: FunctionComputeError, request_id: str) -> Response:
    """Put a service error into words."""
    headers = [
        (b"Content-Type", b"application/json"),
        (b"X-Fc-Request-Id", request_id.encode()),
    ]
    if isinstance(problem, Unauthorized):
        headers.append((b"WWW-Authenticate", problem.challenge.encode()))
    return Response(
        status=problem.status,
        headers=headers,
        body=msgspec.json.encode(problem.describe(request_id)),
    )
