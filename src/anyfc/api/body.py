"""Bodies of requests: read within a limit, checked against the signature, parsed off the loop."""

import asyncio
import hashlib
import hmac
import io
import re
import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anyfc.errors import EntityTooLarge, InvalidArgument, MissingRequiredHeader, SignatureNotMatch
from anyfc.identity.signature import EMPTY_SHA256
from anyfc.model.address import UNSIGNED_BODY

DIGEST_HEADER = "x-acs-content-sha256"
# Set by the gateway, and by nobody else: the older signature says nothing about the body.
WITHOUT_BODY = ("GET", "HEAD", "DELETE")
LARGE_BYTES = 128 * 1024
# One step of base64 decoding holds the interpreter for about a millisecond.
STEP_BYTES = 192 * 1024
PACKAGE_KEY = re.compile(rb'"zipFile"[ \t\r\n]*:[ \t\r\n]*"', re.IGNORECASE)
LINE_ENDS = b"\r\n"

T = TypeVar("T")


async def read_body(request: Request, *, limit_bytes: int, read: Callable[[Any], T]) -> T:
    """Return what `read` makes of the JSON in the body; an empty body is an empty object.

    Large bodies are checked, parsed and read in a thread.
    Raises EntityTooLarge, MissingRequiredHeader, SignatureNotMatch, InvalidArgument.
    """
    digest = signed_digest(request)
    if digest is None and UNSIGNED_BODY not in request.headers:
        raise MissingRequiredHeader(DIGEST_HEADER)
    body = await collect(request, limit_bytes=limit_bytes)
    if len(body) < LARGE_BYTES:
        return read(parse_signed(body, digest))
    return await asyncio.to_thread(lambda: read(parse_signed(body, digest)))


def signed_digest(request: Request) -> str | None:
    """Return the SHA-256 of the body that was signed, in hexadecimal; None: the body was not."""
    if UNSIGNED_BODY in request.headers:
        return None
    digest = request.headers.get(DIGEST_HEADER)
    return digest.lower() if digest is not None else None


class UnreadBodies:
    """Compares with the signature what `read_body` does not: bodies that no operation reads.

    None is read where the method has none, and none can be when an empty one was signed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises SignatureNotMatch, EntityTooLarge."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            digest = signed_digest(request)
            if digest and (digest == EMPTY_SHA256 or request.method in WITHOUT_BODY):
                body = await collect(request, limit_bytes=LARGE_BYTES)
                check_digest(body, digest)
                receive = replay(body, receive)
        await self._app(scope, receive, send)


def replay(body: bytearray, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body that has been taken from `receive`."""
    messages: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def collect(request: Request, *, limit_bytes: int) -> bytearray:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise EntityTooLarge(limit_bytes)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise EntityTooLarge(limit_bytes)
    return body


def parse_signed(body: bytearray, digest: str | None) -> Any:
    """Parse a body whose SHA-256 is the signed one, if one was signed.

    Raises SignatureNotMatch, InvalidArgument.
    """
    if digest is not None:
        check_digest(body, digest)
    return parse(body)


def check_digest(body: bytearray, digest: str) -> None:
    """Raises SignatureNotMatch."""
    actual = hashlib.sha256(body).hexdigest()
    if not hmac.compare_digest(actual.encode(), digest.encode()):
        raise SignatureNotMatch


def parse(body: bytearray) -> Any:
    """Decode JSON; a large code package stays a view of its base64 text in `body`.

    A thread alone would not keep the loop running: the JSON parser holds the interpreter's lock
    for 0.24 s on 100 MB of code, the two searches here for 5 ms each.
    """
    found = PACKAGE_KEY.search(body, 0, LARGE_BYTES) if len(body) > LARGE_BYTES else None
    if found is None:
        return decode(body)
    start = found.end()
    end = body.find(b'"', start)
    if end < 0 or body.find(b"\\", start, end) >= 0:  # escapes in it: only the parser knows them
        return decode(body)
    mark = secrets.token_hex(16)
    tree = decode(body[:start] + mark.encode() + body[end:])
    if not put_back(tree, mark, memoryview(body)[start:end]):
        return decode(body)
    return tree


def put_back(tree: Any, mark: str, package: memoryview) -> bool:
    """Put the package where its mark is, if that is the one place where a package belongs."""
    for name, code in tree.items() if isinstance(tree, dict) else ():
        for key, value in code.items() if isinstance(code, dict) else ():
            if value == mark and name.lower() == "code":
                code[key] = package
                return True
    return False


def decode(body: bytearray) -> Any:
    try:
        return msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidArgument("the body is not valid JSON: it is nested too deep") from None


class Base64:
    """A code package in base64 (standard alphabet, padded; line ends are skipped)."""

    def read(self, value: Any, field: str) -> bytes:
        if not isinstance(value, str | memoryview):
            raise InvalidArgument(f"{field}: is not text")
        try:
            return decode_base64(value)
        except (Base64Error, UnicodeEncodeError) as error:
            raise InvalidArgument(f"{field}: is not valid base64: {error}") from None


def decode_base64(text: str | memoryview) -> bytes:
    """Decode in small steps, so that other threads run in between."""
    if isinstance(text, str):
        text = memoryview(text.encode("ascii").translate(None, LINE_ENDS))
    decoded = io.BytesIO()
    for start in range(0, len(text), STEP_BYTES):
        step = text[start : start + STEP_BYTES]
        if step[-1] == ord("=") and start + STEP_BYTES < len(text):
            raise Base64Error("padding before the end")
        decoded.write(a2b_base64(step, strict_mode=True))
    return decoded.getvalue()
