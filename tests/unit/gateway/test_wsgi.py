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


TYPE = ("content-type", "text/html")


def head(status: int = 200, *headers: tuple[str, str]) -> bytes:
    content = msgspec.json.encode({"status": status, "headers": headers})
    return struct.pack("!I", len(content)) + content


def read(body: Any, *, head_only: bool = False) -> tuple[Response, bytes]:
    async def main() -> tuple[Response, bytes]:
        response = await read_answer(body, head_only=head_only)
        reply = Sent()
        await reply.send(response)
        return response, reply.body

    return run_on_clock(main())


def test_status_headers_and_body_are_those_of_the_handler():
    response, body = read(head(403, TYPE, ("A", "1"), ("A", "2")) + b"page")
    assert response.status == 403
    assert response.headers == [(b"content-type", b"text/html"), (b"A", b"1"), (b"A", b"2")]
    assert (body, response.length_bytes) == (b"page", 4)


def test_a_large_body_is_sent_as_it_arrives_with_its_length():
    response, body = read(Streamed(head() + b"one", b"two", b"three"))
    assert (body, response.length_bytes) == (b"onetwothree", 11)


def test_what_the_handler_may_not_set_is_dropped():
    names = ("Server", "Date", "X-Fc-Foo", "Content-Length", "Connection", "content-disposition")
    response, _ = read(head(304, *((name, "x") for name in names), ("A", "b")))
    assert response.headers == [(b"A", b"b")]


@pytest.mark.parametrize("head_only", [False, True])
@pytest.mark.parametrize("body", [b"page", b""])
def test_an_answer_whose_type_the_handler_does_not_say_is_json(body: bytes, head_only: bool):
    response, _ = read(head(404) + body, head_only=head_only)
    assert response.headers == [(b"Content-Type", b"application/json")]


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_has_no_type_either(status: int):
    assert read(head(status), head_only=True)[0].headers == []


@pytest.mark.parametrize(
    ("declared", "length_bytes"),
    [
        ([("Content-Length", "26")], 26),
        ([("content-length", "0")], 0),
        ([], None),
        ([("Content-Length", "-1")], None),
        ([("Content-Length", "26, 26")], None),
        ([("Content-Length", "9" * 19)], None),
        ([("Content-Length", "\xb2")], None),
    ],
)
def test_head_without_a_body_has_the_length_that_the_handler_says(declared, length_bytes):
    response, body = read(head(200, *declared), head_only=True)
    assert (response.length_bytes, body) == (length_bytes, b"")
    assert not isinstance(response.body, bytes)  # of those, the length would be sent


def test_head_with_a_body_has_its_length():
    response, _ = read(head(200, ("Content-Length", "26")) + b"page", head_only=True)
    assert (response.body, response.length_bytes) == (b"page", 4)
    response, _ = read(Streamed(head() + b"one", b"two"), head_only=True)
    assert response.length_bytes == 6


def test_a_head_whose_answer_has_no_body_is_framed_as_such():
    response, _ = read(head(304, ("Content-Length", "26")), head_only=True)
    assert (response.body, response.length_bytes) == (b"", 0)


def test_headers_that_are_too_large_are_a_bad_response():
    with pytest.raises(BadResponse, match="8192 bytes"):
        read(head(200, ("A", "x" * 9000)))
    read(head(200, ("Server", "x" * 9000)))


@pytest.mark.parametrize("body", [b"", b"\0\0\0\xff{}", Streamed(b"page")])
def test_what_has_no_head_is_not_the_bootstraps(body):
    with pytest.raises(BadFrame):
        read(body)
