"""WSGI calls: what a handler of that kind is given, and its answer as a response.

Source: runtime.md 3; "HTTP handlers" in the Function Compute 2.0 documentation.
"""

from collections.abc import AsyncIterator

from anyfc.gateway.call import Call
from anyfc.gateway.headers import check_size, may_be_set
from anyfc.model.invocation import HttpCall, Stream
from anyfc.runtime.wsgi import decode_http_answer
from anyfc.web.message import Response


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


async def read_answer(body: bytes | Stream) -> Response:
    """Return the response that a handler has given. Raises BadResponse, BadFrame, ChannelClosed."""
    if isinstance(body, bytes):
        answer = decode_http_answer(body)
        content: bytes | AsyncIterator[bytes] = answer.piece
        length_bytes = len(answer.piece)
    else:
        pieces = aiter(body)
        first = await anext(pieces)
        answer = decode_http_answer(first)
        content = _go_on(answer.piece, pieces)
        length_bytes = body.size_bytes - (len(first) - len(answer.piece))
    headers = [header for header in answer.headers if may_be_set(header[0])]
    check_size(sum(len(name) + len(value) for name, value in headers))
    return Response(status=answer.status, headers=headers, body=content, length_bytes=length_bytes)


async def _go_on(piece: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield piece
    async for piece in pieces:
        yield piece
