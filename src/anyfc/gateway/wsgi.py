"""WSGI calls: what a handler of that kind is given, and its answer as a response.

Source: runtime.md 3 and 13.4; "HTTP handlers" in the Function Compute 2.0 documentation.
"""

import re
from collections.abc import AsyncIterator, Iterable

from anyfc.gateway.call import Call
from anyfc.gateway.event import JSON_TYPE, WITHOUT_BODY
from anyfc.gateway.headers import check_size, may_be_set
from anyfc.model.invocation import HttpCall, Stream
from anyfc.runtime.wsgi import decode_http_answer
from anyfc.web.message import Header, Response

LENGTH = re.compile(rb"[0-9]{1,18}")


def build_http_call(call: Call) -> HttpCall:
    """Return the head of a call as `bootstrap/DIALOGUE.md` has it: texts in latin-1."""
    request = call.request
    path, _, query = call.target.partition(b"?")
    return HttpCall(
        method=request.method.decode("latin-1"),
        path=path.removeprefix(call.door.base_path).decode("latin-1"),
        query=query.decode("latin-1"),
        request_uri=request.target.decode("latin-1"),
        protocol="HTTP/1.0" if request.old else "HTTP/1.1",
        client_ip=request.peer,
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in call.headers],
    )


async def read_answer(body: bytes | Stream, *, head_only: bool) -> Response:
    """Return the response that a handler has given.

    With `head_only`, its request was a HEAD: most apps answer those without a body, but with the
    length that it would have. Raises BadResponse, BadFrame, ChannelClosed.
    """
    content: bytes | AsyncIterator[bytes]
    length_bytes: int | None
    if isinstance(body, bytes):
        answer = decode_http_answer(body)
        content = answer.piece
        length_bytes = len(content)
    else:
        pieces = aiter(body)
        first = await anext(pieces)
        answer = decode_http_answer(first)
        content = _go_on(answer.piece, pieces)
        length_bytes = body.size_bytes - (len(first) - len(answer.piece))
    headers = [header for header in answer.headers if may_be_set(header[0])]
    check_size(sum(len(name) + len(value) for name, value in headers))
    if answer.status not in WITHOUT_BODY:
        if _find(headers, b"content-type") is None:
            headers.append(JSON_TYPE)
        if head_only and not length_bytes:
            declared = _find(answer.headers, b"content-length") or b""
            length_bytes = int(declared) if LENGTH.fullmatch(declared) else None
            content = _nothing()
    return Response(status=answer.status, headers=headers, body=content, length_bytes=length_bytes)


def _find(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Return the value of a header, given by its name in lower case; of a repeated one the last."""
    return {key.lower(): value for key, value in headers}.get(name)


async def _go_on(piece: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield piece
    async for piece in pieces:
        yield piece


async def _nothing() -> AsyncIterator[bytes]:
    """A body whose length is another's."""
    return
    yield b""
