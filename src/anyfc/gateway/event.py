"""HTTP for handlers of built-in runtimes: a request becomes an event, a result a response.

Source: "Use an HTTP trigger to invoke a function" in the Function Compute documentation;
runtime.md 15.2.
"""

import binascii
import re
import time
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from anyfc.gateway.address import cut_port
from anyfc.gateway.headers import (
    UNDERSCORE,
    X_FC,
    check_size,
    is_forged,
    may_be_set,
    one_line,
)
from anyfc.web.message import Header

# --- request → event -----------------------------------------------------------------------------

TEXT_TYPES = frozenset(
    (
        b"application/json", b"application/ld+json", b"application/xhtml+xml", b"application/xml",
        b"application/atom+xml", b"application/javascript",
    )
)  # fmt: skip


NOT_SHOWN = frozenset((b"connection", b"keep-alive"))


class Http(msgspec.Struct, rename="camel"):
    method: str
    path: str
    protocol: str
    source_ip: str
    user_agent: str


class RequestContext(msgspec.Struct, rename="camel"):
    account_id: str
    domain_name: str
    domain_prefix: str
    http: Http
    request_id: str
    time: str
    time_epoch: str


class Event(msgspec.Struct, rename="camel"):
    version: str
    raw_path: str
    body: str
    # Spelt out: what the renaming makes of it is another name.
    is_base64_encoded: bool = msgspec.field(name="isBase64Encoded")
    headers: dict[str, str]
    query_parameters: dict[str, str]
    request_context: RequestContext


ENCODER = msgspec.json.Encoder()


def build_event(
    *,
    method: bytes,
    path: bytes,
    query: bytes,
    headers: Iterable[Header],
    body: bytes,
    peer: str,
    request_id: str,
    account_id: str,
    host: bytes,
    protocol: str,
    now: float,
) -> bytes:
    """Return the event that a handler gets for an HTTP call.

    `path` and `query` are as the function is to see them, still encoded; names of headers are in
    lower case. A text that is not UTF-8 goes as base64, whatever its type: JSON could not hold it.
    In a header, the query or the path, what is not UTF-8 is replaced by U+FFFD.
    """
    shown: dict[str, str] = {}
    content_type = b""
    for lower, value in headers:
        if lower in NOT_SHOWN or lower.startswith(X_FC):
            continue
        if UNDERSCORE in lower and is_forged(lower):
            continue
        if lower == b"content-type":
            content_type = value
        name = _canonical(lower)
        text = value.decode(errors="replace")
        shown[name] = f"{shown[name]},{text}" if name in shown else text
    content, encoded = _encode_body(body, content_type)
    domain = cut_port(host).decode(errors="replace")
    event = Event(
        version="v1",
        raw_path=path.decode(errors="replace"),
        body=content,
        is_base64_encoded=encoded,
        headers=shown,
        query_parameters=_read_query(query) if query else {},
        request_context=RequestContext(
            account_id=account_id,
            domain_name=domain,
            domain_prefix=domain.partition(".")[0],
            http=Http(
                method=method.decode("latin-1"),
                path=_unquote(path),
                protocol=protocol,
                source_ip=peer,
                user_agent=shown.get("User-Agent", ""),
            ),
            request_id=request_id,
            time=_format_second(int(now)),
            time_epoch=str(int(now * 1000)),
        ),
    )
    return ENCODER.encode(event)


@lru_cache(maxsize=1024)
def _canonical(lower: bytes) -> str:
    """`x-custom-key` → `X-Custom-Key`."""
    return b"-".join([part.capitalize() for part in lower.split(b"-")]).decode("latin-1")


@lru_cache(maxsize=2)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _encode_body(body: bytes, content_type: bytes) -> tuple[str, bool]:
    """Return the body as JSON can hold it, and whether that is base64."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind.startswith(b"text/") or kind in TEXT_TYPES:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return b64encode(body).decode("ascii"), True


def _read_query(query: bytes) -> dict[str, str]:
    """Return the parameters, decoded; values of one name are joined with `,`."""
    parameters: dict[str, str] = {}
    for pair in query.split(b"&"):
        if not pair:
            continue
        encoded_name, _, encoded_value = pair.replace(b"+", b" ").partition(b"=")
        name, value = _unquote(encoded_name), _unquote(encoded_value)
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _unquote(encoded: bytes) -> str:
    plain = unquote_to_bytes(encoded) if b"%" in encoded else encoded
    return plain.decode(errors="replace")


# --- result → response ---------------------------------------------------------------------------


class BadResult(Exception):
    """A result asks for what HTTP does not have. What that is, the function's log may say."""


class HttpResult(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to the client of an HTTP call, framing and platform's headers aside."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


JSON_TYPE: Header = (b"Content-Type", b"application/json")
FAILED = HttpResult(status=502, headers=(JSON_TYPE,), body=b"Internal Server Error")

# A status of 1xx would not end the response (RFC 9110, 15.2).
STATUSES = range(200, 600)
STATUS = re.compile(r"\s*[0-9]{3}\s*")
WITHOUT_BODY = frozenset((204, 304))


class Structured(msgspec.Struct, rename="camel"):
    """A result that says more than a body. Each field is empty if it is not there.

    The fields are as they stand in the JSON: a large body is not taken apart, and numbers in it
    stay as they were written.
    """

    status_code: msgspec.Raw = msgspec.Raw()
    headers: msgspec.Raw = msgspec.Raw()
    body: msgspec.Raw = msgspec.Raw()
    is_base64_encoded: msgspec.Raw = msgspec.field(name="isBase64Encoded", default=msgspec.Raw())


STRUCTURED = msgspec.json.Decoder(Structured)
TEXT = msgspec.json.Decoder(str)
NOT_JSON = (ValueError, RecursionError)  # ValueError: msgspec's own errors, and bytes not in UTF-8
TRUE = (b"true", b'"true"', b'"True"')

# A surrogate without its other half, where no backslash is escaped.
LONE_SURROGATE = re.compile(
    rb"""\\u[dD](?:
        [89abAB][0-9a-fA-F]{2} (?!\\u[dD][c-fC-F][0-9a-fA-F]{2}) |
        [c-fC-F][0-9a-fA-F]{2} (?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})
    )""",
    re.VERBOSE,
)
SHOWN_BYTES = 64
NUL = b"\0"  # never there in JSON as it is
T = TypeVar("T")


def read_result(body: bytes) -> HttpResult:
    """Return the response that a handler's result stands for.

    An object with a `statusCode` is a response, also inside a JSON string. All else is the body of
    one, as it is; so is what only looks like JSON, such as an object with NaN in it or one that is
    nested too deep. Raises BadResult for a status or for headers that HTTP cannot have, and
    BadResponse for headers that are too large.
    """
    structured = _find_structured(body)
    if structured is None:
        return HttpResult(status=200, headers=(JSON_TYPE,), body=body)
    status = _read_status(structured.status_code)
    headers = _read_headers(structured.headers)
    content = b"" if status in WITHOUT_BODY else _read_body(structured.body)
    if bytes(structured.is_base64_encoded) in TRUE:
        content = _decode_if_base64(content)
    return HttpResult(status=status, headers=headers, body=content)


def _find_structured(body: bytes) -> Structured | None:
    # Most results are told apart without being parsed: a name that is not there as it is written
    # can only be there with an escape.
    if body[:1] not in b'{" \t\r\n' or (b"statusCode" not in body and b"\\u" not in body):
        return None
    try:
        if body.lstrip()[:1] == b'"':
            body = _decode_mended(TEXT, body).encode()
        structured = _decode_mended(STRUCTURED, body)
    except NOT_JSON:
        return None
    return structured if bytes(structured.status_code) else None


def _decode_mended(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    """Decode JSON, also where it has half of a character, as Python and JavaScript may write it.

    UTF-8 cannot hold that: it becomes U+FFFD, as in Go. Raises NOT_JSON.
    """
    try:
        return decoder.decode(text)
    except ValueError:
        if NUL in text or (b"\\ud" not in text and b"\\uD" not in text):
            raise
    unescaped = text.replace(b"\\\\", NUL)
    return decoder.decode(LONE_SURROGATE.sub(rb"\\ufffd", unescaped).replace(NUL, b"\\\\"))


def _read_status(raw: msgspec.Raw) -> int:
    value = _decode(raw)
    if isinstance(value, str) and STATUS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in STATUSES:
        raise BadResult(
            f"the function's statusCode is {_shorten(raw)}, "
            f"not a number from {STATUSES.start} to {STATUSES.stop - 1}"
        )
    return value


def _read_headers(raw: msgspec.Raw) -> tuple[Header, ...]:
    wanted = _decode(raw) if bytes(raw) else None
    if wanted is None:
        wanted = {}
    if not isinstance(wanted, dict):
        raise BadResult(f"the function's headers are {_shorten(raw)}, not an object")
    headers: list[Header] = []
    header_bytes = 0
    typed = False
    for key, given in wanted.items():
        name = key.encode()
        if not may_be_set(name):
            continue
        for value in given if isinstance(given, list) else (given,):
            if value is None:
                continue
            line = one_line(_read_scalar(key, value))
            header_bytes += len(name) + len(line)
            headers.append((name, line))
            typed = typed or name.lower() == b"content-type"
    check_size(header_bytes)
    if not typed:
        headers.append(JSON_TYPE)
    return tuple(headers)


def _read_scalar(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict | list):
        raise BadResult(f"the function's header '{name[:64]}' is an object, not a text")
    return msgspec.json.encode(value)


def _read_body(raw: msgspec.Raw) -> bytes:
    """A text is sent as it is, an object or a list as compact JSON, nothing for null."""
    body = bytes(raw)
    if body in (b"", b"null"):
        return b""
    if body[:1] in b"{[":
        return msgspec.json.format(body, indent=-1)
    if body[:1] != b'"':
        return body
    if b"\\" not in body:
        return body[1:-1]
    return str(_decode(raw)).encode()


def _decode_if_base64(text: bytes) -> bytes:
    # Python's `encodebytes`, and many others, put line breaks in.
    joined = text.translate(None, b"\r\n")
    try:
        return binascii.a2b_base64(joined, strict_mode=True)
    except binascii.Error:
        return text


def _decode(raw: msgspec.Raw) -> Any:
    """Return the value of a field. Raises BadResult if it is none, such as a number of 1e999."""
    try:
        return msgspec.json.decode(bytes(raw).decode(errors="replace"))
    except NOT_JSON as error:
        raise BadResult(f"the function's result has {_shorten(raw)} in it: {error}") from error


def _shorten(raw: msgspec.Raw) -> str:
    """Return the beginning of a field, in one line."""
    text = " ".join(bytes(raw)[:SHOWN_BYTES].decode(errors="replace").split())
    return text if len(raw) <= SHOWN_BYTES else text + "…"
