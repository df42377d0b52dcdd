"""A function's log as lines of JSON: what there is, or as it goes on."""

import math
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from anyfc.api.functions import name_of
from anyfc.api.parts import Parts
from anyfc.api.shape import Flag
from anyfc.errors import InvalidArgument
from anyfc.instance.lines import Entry

PATH = "/anyfc/functions/{functionName}/logs"
MEDIA_TYPE = "application/x-ndjson"
PIECE_BYTES = 64 * 1024


async def read(request: Request, parts: Parts) -> Response:
    name = name_of(request)
    parts.catalog.get(name)
    query = request.query_params
    since = read_since(query.get("since", ""))
    request_id = query.get("requestId") or None
    if Flag().read(query.get("follow") or False, "follow"):
        lines = encode_all(parts.logs.follow(name, since=since, request_id=request_id))
    else:
        lines = join(encode_all(parts.logs.read(name, since=since, request_id=request_id)))
    return StreamingResponse(lines, media_type=MEDIA_TYPE)


def read_since(text: str) -> float | None:
    try:
        since = float(text) if text else None
    except ValueError:
        since = math.nan
    if since is not None and not math.isfinite(since):
        raise InvalidArgument(f"since: '{text}' is not a time in seconds since 1970")
    return since


def encode(entry: Entry) -> bytes:
    line = {
        "time": entry.time,
        "requestId": entry.request_id,
        "instanceId": entry.instance_id,
        "message": entry.message.decode(errors="replace"),
    }
    return msgspec.json.encode(line) + b"\n"


async def encode_all(entries: AsyncIterator[Entry]) -> AsyncIterator[bytes]:
    async for entry in entries:
        yield encode(entry)


async def join(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Put lines together to pieces that are worth a write to the socket."""
    piece = bytearray()
    async for line in lines:
        piece += line
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
