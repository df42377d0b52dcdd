"""Requests without a connection, and the replies to them."""

from collections.abc import AsyncIterable, Sequence
from typing import Any

from anyfc.web.message import Body, Header, Request, Response, Rest, Underway


class Valve:
    """The way to a sender that never needs to be stopped."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Sent:
    """A reply that keeps its response, the body whole; and who has been entrusted with it."""

    def __init__(self) -> None:
        self.started = False
        self.response = Response(status=0)
        self.body = b""
        self.underway: Underway | None = None  # who was entrusted with the answer
        self.rest: Rest | None = None  # what a task would have to do

    async def send(self, response: Response) -> None:
        assert not self.started
        self.started = True
        self.response = response
        if isinstance(response.body, AsyncIterable):
            self.body = b"".join([piece async for piece in response.body])
        else:
            self.body = response.body

    def entrust(self, call: Underway) -> None:
        self.underway = call

    def send_now(self, response: Response) -> None:
        assert self.underway is not None
        assert not self.started
        assert isinstance(response.body, bytes)
        self.started = True
        self.response = response
        self.body = response.body

    def resume(self, rest: Rest) -> None:
        assert self.underway is not None
        assert self.rest is None
        self.rest = rest

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case, those of `head` too; a name that is there twice is a mistake."""
        lines = [line.split(b": ", 1) for line in self.response.head.split(b"\r\n") if line]
        pairs = [*self.response.headers, *((name, value) for name, value in lines)]
        named = {name.decode().lower(): value.decode("latin-1") for name, value in pairs}
        assert len(named) == len(pairs), pairs
        return named


def make_body(*pieces: bytes, complete: bool = True, declared_bytes: int | None = None) -> Body:
    body = Body(Valve(), declared_bytes)
    for piece in pieces:
        body.feed(piece)
    if complete:
        body.end()
    return body


def make_request(
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: Sequence[Header] = (),
    *,
    body: bytes | Body = b"",
    peer: str = "192.0.2.1",
    **settings: Any,
) -> Request:
    """A request as the server hands it over; a body of bytes is here as a whole."""
    lines = list(headers)
    return Request(
        method=method,
        target=target,
        headers=lines,
        fields=dict(lines),
        body=make_body(body, declared_bytes=len(body)) if isinstance(body, bytes) else body,
        keep_alive=True,
        peer=peer,
        **settings,
    )
