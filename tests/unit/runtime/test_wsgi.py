"""The head of an answer to a WSGI call."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.runtime.frame import BadFrame
from anyfc.runtime.wsgi import HttpAnswer, decode_http_answer


def http(head: object, body: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("!I", len(text)) + text + body


NAMES = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=20)
VALUES = st.text([chr(n) for n in (9, *range(32, 127), *range(128, 256))], max_size=20)


@given(st.integers(200, 999), st.lists(st.tuples(NAMES, VALUES)), st.binary(max_size=200))
def test_an_http_answer_is_what_was_sent(status, headers, body):
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    piece = http({"status": status, "headers": headers}, body)
    assert decode_http_answer(piece) == HttpAnswer(status, pairs, body)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(http))
def test_garbage_is_no_http_answer(piece):
    with pytest.raises(BadFrame):
        decode_http_answer(piece)


@given(st.integers(0, 60))
def test_a_head_that_is_cut_off_is_no_http_answer(kept):
    whole = http({"status": 200, "headers": [["Content-Type", "text/plain"]]})
    with pytest.raises(BadFrame):
        decode_http_answer(whole[: min(kept, len(whole) - 1)])


@pytest.mark.parametrize(
    "head",
    [
        {"status": 199, "headers": []},
        {"status": 1000, "headers": []},
        {"status": "200", "headers": []},
        {"headers": []},
        {"status": 200},
        {"status": 200, "headers": {"a": "b"}},
        {"status": 200, "headers": [["a"]]},
        {"status": 200, "headers": [["a", 1]]},
        {"status": 200, "headers": [["", "b"]]},
        {"status": 200, "headers": [["a b", "c"]]},
        {"status": 200, "headers": [["a\n", "b"]]},
        {"status": 200, "headers": [["a", "b\r\nc: d"]]},
        {"status": 200, "headers": [["a", "\0"]]},
        {"status": 200, "headers": [["a", "\u0100"]]},
        b'{"status": 200, "headers": [["a", "\xff"]]}',
    ],
)
def test_a_head_that_http_cannot_send_is_bad(head):
    with pytest.raises(BadFrame):
        decode_http_answer(http(head))
