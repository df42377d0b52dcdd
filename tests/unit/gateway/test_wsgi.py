"""WSGI calls: what a handler of that kind is given, and its answer as a response."""

import struct
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from calls import Sent, make_request
from clock import run_on_clock
from fake_instances import make_function, version_of

from anyfc.errors import BadResponse
from anyfc.gateway.call import Call
from anyfc.gateway.door import Door
from anyfc.gateway.guard import Guard
from anyfc.gateway.runnable import Runnable
from anyfc.gateway.wsgi import build_http_call, read_answer
from anyfc.model.access import Anonymous
from anyfc.model.invocation import HttpCall
from anyfc.runtime.frame import BadFrame
from anyfc.web.message import Header, Response

FUNCTION = make_function("s$f", service="s")
NOWHERE: Any = None  # no scheduler


def http_call(
    target: bytes, base_path: bytes = b"", *, asked: bytes = b"", **settings: Any
) -> HttpCall:
    door = Door(
        function="s$f",
        qualifier="LATEST",
        target=target,
        base_path=base_path,
        access=Anonymous(),
        cors=None,
        methods=(),
        attachment=False,
    )
    headers: list[Header] = settings.pop("headers", [])
    request, reply = make_request(b"POST", asked or target, **settings), Sent()
    call = Call(
        request=request,
        reply=reply,
        guard=Guard(request, reply, "r"),
        door=door,
        runnable=Runnable(FUNCTION, version_of(FUNCTION), NOWHERE),
        want_log_tail=False,
        attachment=False,
    )
    call.headers = headers
    return build_http_call(call)


# --- a request becomes the head of a call --------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "base_path", "path", "query"),
    [
        (b"/2016-08-15/proxy/s/f/a/b?x=1", b"/2016-08-15/proxy/s/f", "/a/b", "x=1"),
        (b"/2016-08-15/proxy/s/f/a%2Fb?x=%20", b"/2016-08-15/proxy/s/f", "/a%2Fb", "x=%20"),
        (b"/2016-08-15/proxy/s/f", b"/2016-08-15/proxy/s/f", "", ""),
        (b"/a?b?c", b"", "/a", "b?c"),
    ],
)
def test_the_path_is_without_what_leads_to_the_function(target, base_path, path, query):
    call = http_call(target, base_path)
    assert (call.path, call.query) == (path, query)
    assert call.request_uri == target.decode()


def test_the_uri_is_what_the_client_asked_for_whatever_it_is_rewritten_to():
    call = http_call(b"/new", asked=b"/old?a=b")
    assert (call.path, call.request_uri) == ("/new", "/old?a=b")


def test_the_rest_of_the_head_is_as_it_came():
    call = http_call(b"/", headers=[(b"a", b"1"), (b"a", b"\xe4")])
    assert (call.method, call.protocol, call.client_ip) == ("POST", "HTTP/1.1", "192.0.2.1")
    assert call.headers == [("a", "1"), ("a", "\xe4")]
    assert http_call(b"/", old=True).protocol == "HTTP/1.0"


def test_bytes_that_are_no_text_become_one_character_each():
    call = http_call(b"/\xff?\xfe")
    assert (call.path, call.query, call.request_uri) == ("/\xff", "\xfe", "/\xff?\xfe")


# --- an answer becomes a response ----------------------------------------------------------------


class Streamed:
    """A large answer that arrives in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.size_bytes = sum(map(len, pieces))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def head(status: int = 200, *headers: tuple[str, str]) -> bytes:
    content = msgspec.json.encode({"status": status, "headers": headers})
    return struct.pack("!I", len(content)) + content


def read(body: Any) -> tuple[Response, bytes]:
    async def main() -> tuple[Response, bytes]:
        response = await read_answer(body)
        reply = Sent()
        await reply.send(response)
        return response, reply.body

    return run_on_clock(main())


def test_status_headers_and_body_are_those_of_the_handler():
    response, body = read(head(403, ("A", "1"), ("A", "2")) + b"page")
    assert (response.status, response.headers) == (403, [(b"A", b"1"), (b"A", b"2")])
    assert (body, response.length_bytes) == (b"page", 4)


def test_a_large_body_is_sent_as_it_arrives_with_its_length():
    response, body = read(Streamed(head() + b"one", b"two", b"three"))
    assert (body, response.length_bytes) == (b"onetwothree", 11)


def test_what_the_handler_may_not_set_is_dropped():
    names = ("Server", "Date", "X-Fc-Foo", "Content-Length", "Connection", "content-disposition")
    response, _ = read(head(200, *((name, "x") for name in names), ("A", "b")))
    assert response.headers == [(b"A", b"b")]


def test_headers_that_are_too_large_are_a_bad_response():
    with pytest.raises(BadResponse, match="8192 bytes"):
        read(head(200, ("A", "x" * 9000)))
    read(head(200, ("Server", "x" * 9000)))


@pytest.mark.parametrize("body", [b"", b"\0\0\0\xff{}", Streamed(b"page")])
def test_what_has_no_head_is_not_the_bootstraps(body):
    with pytest.raises(BadFrame):
        read(body)
