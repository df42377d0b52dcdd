"""Bodies: base64 in steps, large packages that go around the JSON parser, bodies nobody reads."""

import asyncio
import base64
import hashlib
import json
import os
import random

import pytest

from anyfc.api import body as body_module
from anyfc.api.body import (
    DIGEST_HEADER,
    LARGE_BYTES,
    STEP_BYTES,
    Base64,
    UnreadBodies,
    parse,
)
from anyfc.errors import EntityTooLarge, InvalidArgument, SignatureNotMatch
from anyfc.model.address import UNSIGNED_BODY

SIZES = [0, 1, 2, 3, 4, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES * 3 // 4, STEP_BYTES * 2 + 1]


def body_of(package: bytes, **fields) -> bytearray:
    code = {"zipFile": base64.b64encode(package).decode()}
    return bytearray(json.dumps({"code": code, **fields}).encode())


@pytest.mark.parametrize("size", SIZES)
def test_base64_of_any_length_is_decoded(size):
    package = random.Random(size).randbytes(size)
    assert Base64().read(base64.b64encode(package).decode(), "x") == package


def test_base64_with_line_ends_is_decoded():
    package = os.urandom(1000)
    assert Base64().read(base64.encodebytes(package).decode(), "x") == package


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "abc",
        "ab=c",
        "====",
        "QQ==QQ==",
        "Q Q=",
        "äöüä",
        "-_-_",
        "QUI=" + "A" * STEP_BYTES,
        "A" * (STEP_BYTES - 2) + "==" + "AAAA",
    ],
)
def test_text_that_is_not_base64_is_refused(text):
    with pytest.raises(InvalidArgument, match="x: is not valid base64"):
        Base64().read(text, "x")


@pytest.mark.parametrize("size", [10, LARGE_BYTES, LARGE_BYTES * 5])
def test_a_package_comes_out_of_the_body_whole(size):
    package = os.urandom(size)
    tree = parse(body_of(package, timeout=3))
    assert Base64().read(tree["code"]["zipFile"], "x") == package
    assert tree["timeout"] == 3


def test_a_large_package_is_not_given_to_the_json_parser(monkeypatch):
    parsed = []
    decode = body_module.decode
    monkeypatch.setattr(
        body_module, "decode", lambda text: parsed.append(len(text)) or decode(text)
    )
    parse(body_of(bytes(LARGE_BYTES)))
    assert parsed == [len(body_of(b"")) + 32]


def test_a_large_package_with_escaped_slashes_is_read_as_well():
    package = b"\xff" * LARGE_BYTES
    text = bytes(body_of(package)).replace(b"/", b"\\/")
    assert Base64().read(parse(bytearray(text))["code"]["zipFile"], "x") == package


def test_a_large_package_is_found_whatever_the_spelling_and_spacing():
    package = bytes(LARGE_BYTES)
    text = base64.b64encode(package)
    tree = parse(bytearray(b'{"Code" : {\n"zipfile" :\t"' + text + b'"}}'))
    assert Base64().read(tree["Code"]["zipfile"], "x") == package


def test_large_text_in_another_place_stays_text():
    text = "a" * LARGE_BYTES
    body = {"environmentVariables": {"zipFile": text}, "code": {"zipFile": "QQ=="}}
    assert parse(bytearray(json.dumps(body).encode())) == body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not valid JSON: Input data was truncated"),
        (b'{"a": "\xff"}', "the body is not valid JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"code": {"zipFile": "' + b"A" * LARGE_BYTES, "the body is not valid JSON"),
        (b'{"code": {"zipFile": "' + b"A" * LARGE_BYTES + b'"', "the body is not valid JSON"),
    ],
)
def test_a_body_that_is_not_json_is_refused(body, message):
    with pytest.raises(InvalidArgument, match=message):
        parse(bytearray(body))


def test_an_empty_body_is_an_empty_object():
    assert parse(bytearray()) == {}


def send(method, pieces, headers):
    """Return what an application that comes behind the check receives of a request."""
    received = []

    async def application(scope, receive, send):
        received.extend([await receive(), await receive()])

    async def main():
        messages = [
            {"type": "http.request", "body": piece, "more_body": at < len(pieces) - 1}
            for at, piece in enumerate(pieces)
        ]
        messages.append({"type": "http.disconnect"})
        messages.reverse()

        async def receive():
            return messages.pop()

        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "headers": lines}
        await UnreadBodies(application)(scope, receive, None)

    asyncio.run(main())
    return received


def signed(body):
    return {DIGEST_HEADER: hashlib.sha256(body).hexdigest()}


ENDED = [
    {"type": "http.request", "body": b"", "more_body": False},
    {"type": "http.disconnect"},
]


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "PUT"])
def test_where_an_empty_body_is_signed_there_is_none(method):
    assert send(method, [b""], signed(b"")) == ENDED
    assert send(method, [b"", b""], signed(b"")) == ENDED
    for pieces in ([b"x"], [b"", b"x"], [b"", b"", b"{}"]):
        with pytest.raises(SignatureNotMatch):
            send(method, pieces, signed(b""))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_body_that_no_operation_reads_is_the_signed_one_all_the_same(method):
    assert send(method, [b"a", b"b"], signed(b"ab"))[0]["body"] == b"ab"
    with pytest.raises(SignatureNotMatch):
        send(method, [b"a", b"c"], signed(b"ab"))
    with pytest.raises(EntityTooLarge):
        send(method, [bytes(LARGE_BYTES + 1)], signed(bytes(LARGE_BYTES + 1)))


def test_a_body_that_an_operation_reads_is_left_to_it():
    pieces = [{"type": "http.request", "body": piece, "more_body": piece == b"a"}
              for piece in (b"a", b"b")]  # fmt: skip
    assert send("POST", [b"a", b"b"], signed(b"other")) == pieces


@pytest.mark.parametrize(
    "headers", [{}, {DIGEST_HEADER: ""}, {**signed(b""), UNSIGNED_BODY: "true"}]
)
def test_a_body_that_was_not_signed_is_left_as_it_is(headers):
    assert send("GET", [b"x"], headers)[0]["body"] == b"x"
