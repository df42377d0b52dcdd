import io
import os

import pytest

from anyfc.cli.terminal import abandon, harmless, is_terminal, readable, tell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("héllo\tworld\n", "héllo\tworld\n"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("over\rwritten\x7f\x9b", "over\\x0dwritten\\x7f\\x9b"),
    ],
)
def test_what_controls_a_terminal_is_shown_instead(text, shown):
    assert harmless(text) == shown


def test_a_path_of_any_bytes_can_be_written():
    assert readable(os.fsdecode(b"caf\xc3\xa9/\xff")) == "café/\\xff"


def test_a_stream_that_was_closed_at_the_start_is_no_terminal():
    assert not is_terminal(None)
    assert not is_terminal(io.StringIO())


@pytest.fixture
def unread(monkeypatch):
    """Standard error as a pipe that nobody reads any more."""
    out, into = os.pipe()
    os.close(out)
    with open(into, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        yield stream


def test_a_line_that_nobody_reads_is_no_failure_and_neither_is_the_next(unread):
    tell("one")
    tell("two")
    unread.flush()


def test_what_can_be_written_is():
    out, into = os.pipe()
    with open(into, "w") as stream:
        stream.write("text")
        abandon(stream)
        assert os.read(out, 10) == b"text"
        os.close(out)
    abandon(None)
