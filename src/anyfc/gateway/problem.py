"""Problems: service errors in words, and request ids, for all doors."""

import time
from random import getrandbits

import msgspec

from anyfc.errors import FunctionComputeError, Unauthorized
from anyfc.web.message import Response


def new_request_id() -> str:
    """Return an id in the form that the cloud uses: time, and chance."""
    chance = f"{getrandbits(80):020x}"
    return f"1-{int(time.time()):08x}-{chance[:8]}-{chance[8:]}"


def describe(problem: FunctionComputeError, request_id: str) -> Response:
    """Put a service error into words, in both spellings that clients read."""
    content = {
        "Code": problem.code,
        "Message": problem.message,
        "RequestId": request_id,
        "ErrorCode": problem.code,
        "ErrorMessage": problem.message,
    }
    headers = [
        (b"Content-Type", b"application/json"),
        (b"X-Fc-Request-Id", request_id.encode()),
    ]
    if isinstance(problem, Unauthorized):
        headers.append((b"WWW-Authenticate", problem.challenge.encode()))
    return Response(
        status=problem.status,
        headers=headers,
        body=msgspec.json.encode(content),
    )
