"""What a handler returned or raised, as the bytes that are sent."""

import datetime
import decimal
import json
import os

import frames

MIB = 1024 * 1024
RESULT_BYTES = 32 * MIB
DESCRIPTION_BYTES = MIB
MESSAGE_CHARACTERS = 64 * 1024
ENCODER_FOLDER = os.path.dirname(json.__file__) + os.sep


class Failure(Exception):
    """The request failed outside of the handler; `kind` is the error type the caller is told."""

    def __init__(self, kind, message, lines=()):
        super().__init__(message)
        self.kind = kind
        self.lines = lines


def result(value):
    """Bytes and text as they are, all else as JSON."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        body = bytes(value)
    else:
        text = value if isinstance(value, str) else _encode(value)
        body = text.encode("utf-8", "surrogateescape")
    if len(body) > RESULT_BYTES:
        message = "The result is %d bytes long, the limit is %d bytes" % (len(body), RESULT_BYTES)
        raise Failure("ResponseTooLarge", message)
    return body


def _encode(value):
    try:
        return ENCODER.encode(value)
    except Exception as error:
        # Where the encoder stood says nothing; where a `to_json` of the user's did, does.
        lines = _stack(error, ENCODER_FOLDER)
        raise Failure(type(error).__name__, message(error), lines) from error


def description(error):
    """The JSON description of an exception, at most DESCRIPTION_BYTES of ASCII."""
    if isinstance(error, Failure):
        kind, trace = error.kind, error.lines
    else:
        kind, trace = type(error).__name__, _stack(error)
    said = {"errorMessage": message(error), "errorType": kind}
    if trace:
        text = ENCODER.encode(dict(said, stackTrace=trace))
        if len(text) <= DESCRIPTION_BYTES:
            return text
    return ENCODER.encode(said)


def message(error):
    try:
        return str(error)[:MESSAGE_CHARACTERS]
    except Exception:
        return "<unprintable %s object>" % type(error).__name__


def _stack(error, *besides):
    try:
        return frames.of_error(error, *besides)
    except Exception:
        return []  # user code left the interpreter unable to find its sources


def _plain(value):
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.date):  # and datetime, which is one
        return value.isoformat()
    if hasattr(value, "to_json"):
        return value.to_json()
    return json.JSONEncoder.default(ENCODER, value)  # raises the usual TypeError


ENCODER = json.JSONEncoder(sort_keys=True, indent=4, default=_plain)
