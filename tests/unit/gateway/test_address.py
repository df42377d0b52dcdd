import pytest

from anyfc.gateway.address import cut_port, decode_segment


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"www.example.com", b"www.example.com"),
        (b"www.example.com:9000", b"www.example.com"),
        (b"[::1]:9000", b"[::1]"),
        (b"[::1]", b"[::1]"),
        (b"", b""),
    ],
)
def test_a_host_is_named_without_its_port(host, name):
    assert cut_port(host) == name


def test_a_segment_is_decoded_and_what_is_not_utf_8_is_replaced():
    assert decode_segment(b"s%24f") == "s$f"
    assert decode_segment(b"%E4%BD%A0%FF") == "你\N{REPLACEMENT CHARACTER}"
