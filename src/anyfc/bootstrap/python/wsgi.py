"""Calls a handler the WSGI way: an HTTP request in, its whole answer out.

It takes more than PEP 3333 allows, because handlers return more: text, bare bytes, a status without
a reason. Texts of HTTP are latin-1 here, one character for each byte, as the PEP has it.

Source: "HTTP handlers" of FC 2.0's Python runtimes; runtime.md 3.
"""

import io
import json
import os
import re
import sys

import output
from answer import RESULT_BYTES, Failure, description

KIB = 1024
# More than any head that the server takes (8 KiB of names and values) can be as JSON.
HEAD_BYTES = 128 * KIB

STATUS = re.compile(r"\s*([2-9]\d\d)(?!\d)")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
ESCAPE = re.compile("%([0-9A-Fa-f]{2})")

_encode = json.JSONEncoder(separators=(",", ":")).encode


def call(handler, http, body, context):
    """Return what `handler` answers to a request, as the dialogue has it: length, head, body.

    `http` is the request without its body, as DIALOGUE.md describes it.
    """
    response = Response()
    response.take(handler(make_environ(http, body, context), response.start))
    return response.encode()


def make_environ(http, body, context):
    """A request as `environ`, over a copy of the process's environment."""
    environ = dict(os.environ)
    headers = _join(http["headers"])
    for name, value in headers.items():
        environ["HTTP_" + name] = value
    environ.update(
        {
            "HTTP": "on",
            "HTTP_X_FC_FUNCTION_HANDLER": context.function.handler,
            "REQUEST_METHOD": http["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": ESCAPE.sub(_unescape, http["path"]) or "/",
            "QUERY_STRING": http["query"],
            "SERVER_PROTOCOL": http["protocol"],
            "SERVER_NAME": "FCRUNTIME",
            "SERVER_PORT": "9000",
            "SERVER_SOFTWARE": "FCRUNTIME/1.0",
            "REMOTE_ADDR": http["client_ip"],
            "CONTENT_TYPE": headers.get("CONTENT_TYPE", "application/octet-stream"),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": getattr(sys, "stderr", None),  # user code may have deleted it
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "fc.context": context,
            "fc.request_uri": http["request_uri"],
        }
    )
    return environ


def _join(pairs):
    """Headers by the name they have in `environ`, less those that a client has no say in."""
    headers = {}
    for name, value in pairs:
        name = name.upper().replace("-", "_")
        # The body has come whole: who still sees that it was sent in chunks would not read it.
        if name.startswith("X_FC_") or name == "TRANSFER_ENCODING":
            continue
        headers[name] = headers[name] + "," + value if name in headers else value
    return headers


def _unescape(match):
    return chr(int(match.group(1), 16))


class Response:
    """Collects what the handler says, in whichever order it says it."""

    def __init__(self):
        self._status = None
        self._headers = []
        self._pieces = []
        self._bytes = 0

    def start(self, status, response_headers, exc_info=None):
        """`start_response`. Nothing has been sent yet, so a later call replaces an earlier one."""
        self._status, self._headers = _status(status), [_header(*pair) for pair in response_headers]
        return self.write

    def write(self, body_data):
        if isinstance(body_data, str):
            piece = body_data.encode("utf-8", "surrogateescape")
        elif isinstance(body_data, (bytes, bytearray, memoryview)):
            piece = bytes(body_data)
        else:
            raise _invalid(body_data, "neither bytes nor text")
        self._bytes += len(piece)
        if self._bytes > RESULT_BYTES:
            # Said at once: a generator may have no end.
            raise Failure("ResponseTooLarge", "The body is longer than %d bytes" % RESULT_BYTES)
        self._pieces.append(piece)

    def take(self, result):
        """Add the body that the handler returned; an iterable is read to its end and closed."""
        try:
            if isinstance(result, (str, bytes, bytearray, memoryview)):
                self.write(result)
            elif hasattr(result, "__iter__") or hasattr(result, "__getitem__"):
                for piece in result:
                    self.write(piece)
            else:
                raise _invalid(result, "no iterable of bytes or text")
        finally:
            _close(result)

    def encode(self):
        if self._status is None:
            raise Failure("ResponseNotStarted", "The handler did not call start_response")
        head = _encode({"status": self._status, "headers": self._headers}).encode()
        if len(head) > HEAD_BYTES:
            raise Failure("ResponseTooLarge", "The response headers are far too long")
        return b"".join([len(head).to_bytes(4, "big"), head, *self._pieces])


def _close(result):
    """Close what the handler returned; its answer is complete, or failed already."""
    try:
        close = getattr(result, "close", None)
        if callable(close):
            close()
    except Exception as error:
        output.log_failure("The response could not be closed: " + description(error))


def _invalid(value, problem):
    text = "invalid response type: '%s' is %s" % (type(value).__name__, problem)
    return Failure("InvalidResponseType", text)


def _status(given):
    """The number a status begins with; the words behind it do not travel."""
    found = STATUS.match(_text(given))
    if found is None:
        raise ValueError("%r is no status of an HTTP response" % (given,))
    return int(found.group(1))


def _header(name, value):
    name, value = _text(name), _text(value).strip(" \t\r\n")
    if not (HEADER_NAME.match(name) and HEADER_VALUE.match(value)):
        raise ValueError("HTTP cannot send the header %r: %r" % (name, value))
    return name, value


def _text(given):
    """One character for each byte: what is not latin-1 goes as UTF-8."""
    if isinstance(given, bytes):
        return given.decode("latin-1")
    if isinstance(given, int):
        return "%d" % given
    if not isinstance(given, str):
        raise TypeError("%r is no text" % (given,))
    try:
        given.encode("latin-1")
    except UnicodeEncodeError:
        return given.encode("utf-8", "surrogateescape").decode("latin-1")
    return given
