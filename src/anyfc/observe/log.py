"""Structured lines: a constant text, and what varies as `key=value` behind it."""

import json
import logging
import sys
import time
from typing import TextIO

STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class Lines(logging.Formatter):
    """`2025-01-02T03:04:05.678Z INFO invocation function=f took_ms=1.2`"""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        extra = {k: v for k, v in record.__dict__.items() if k not in STANDARD}
        words = [self.formatTime(record), record.levelname, record.getMessage()]
        words += [f"{name}={_quote(value)}" for name, value in extra.items()]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quote(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not set(text) & set(' "=')
    return text if text and plain else json.dumps(text, ensure_ascii=False)


def start_logging(level: str, stream: TextIO = sys.stderr) -> None:
    """Send the program's own lines to a stream. Called once, by the command line."""
    formatter = Lines()
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("anyfc")
    logger.setLevel(level.upper())
    logger.addHandler(handler)
    logger.propagate = False
