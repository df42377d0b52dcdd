"""Large bodies go to a file that has no name."""

import hashlib
from pathlib import Path

import pytest
from clock import run_on_clock

from anyfc.errors import EntityTooLarge, RequestTimeout
from anyfc.web.message import Body
from anyfc.web.spool import IN_MEMORY_BYTES, PIECE_BYTES, Spooled, collect


class Valve:
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def body_of(content: bytes, piece_bytes: int = 50_000) -> Body:
    body = Body(Valve(), None)
    for start in range(0, len(content), piece_bytes):
        body.feed(content[start : start + piece_bytes])
    return body


@pytest.mark.parametrize("size", [0, 1, IN_MEMORY_BYTES])
def test_a_small_body_stays_in_memory(size: int, tmp_path: Path):
    async def main() -> None:
        content = bytes(size)
        body = body_of(content)
        body.end()
        async with collect(body, tmp_path) as (whole, digest):
            assert whole == content
            assert digest == hashlib.sha256(content).digest()

    run_on_clock(main())


def test_a_large_body_can_be_read_more_than_once_and_leaves_nothing_behind(tmp_path: Path):
    async def main() -> None:
        content = bytes(range(256)) * 8192
        body = body_of(content)
        body.end()
        async with collect(body, tmp_path) as (spooled, digest):
            assert isinstance(spooled, Spooled)
            assert spooled.size_bytes == len(content)
            assert digest == hashlib.sha256(content).digest()
            for _ in range(2):
                pieces = list(spooled.pieces())
                assert b"".join(pieces) == content
                assert max(map(len, pieces)) <= PIECE_BYTES
        assert spooled._file.closed
        assert list(tmp_path.iterdir()) == []

    run_on_clock(main())


@pytest.mark.parametrize("failure", [RequestTimeout(), EntityTooLarge(5)])
def test_a_body_that_does_not_come_to_its_end_leaves_nothing_behind(failure, tmp_path: Path):
    async def main() -> None:
        body = body_of(bytes(2 * IN_MEMORY_BYTES))
        body.fail(failure)
        with pytest.raises(type(failure)):
            async with collect(body, tmp_path):
                pytest.fail("it never came to its end")
        assert list(tmp_path.iterdir()) == []

    run_on_clock(main())
