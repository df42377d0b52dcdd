"""ETags: a mark for the state of a resource, and changes that are wanted in that state only.

Source: api.md 10.1, for the API before 3.0: `ETag` on create, get and update, `If-Match` on update
and delete.
"""

import hashlib
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from anyfc.errors import PreconditionFailed


def answer_marked(shown: dict[str, Any]) -> Response:
    """Answer with a resource and the mark of its state."""
    content = msgspec.json.encode(shown)
    return Response(content, media_type="application/json", headers={"ETag": mark(content)})


def check_match(request: Request, shown: dict[str, Any]) -> None:
    """Refuse to change a resource that is not in the state that `If-Match` names.

    Raises PreconditionFailed.
    """
    wanted = request.headers.get("if-match", "*")
    marks = [part.strip().removeprefix("W/").strip('"') for part in wanted.split(",")]
    if "*" not in marks and mark(msgspec.json.encode(shown)) not in marks:
        raise PreconditionFailed


def mark(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
