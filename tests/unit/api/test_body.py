"""Bodies: base64 in steps, and large packages that go around the JSON parser."""

import base64
import json
import os
import random

import pytest

from anyfc.api import body as body_module
from anyfc.api.body import LARGE_BYTES, STEP_BYTES, Base64, parse
from anyfc.errors import InvalidArgument

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
