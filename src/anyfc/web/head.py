"""What the head of a request may say, so that nobody behind us reads it differently."""

import re
from typing import Final

from anyfc.errors import FunctionComputeError, InvalidArgument, NotSupported
from anyfc.web.message import KIB, Request

TARGET_BYTES: Final = 4 * KIB
HEADER_BYTES: Final = 8 * KIB
ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE)


def find_problem(request: Request, version: str, header_bytes: int) -> FunctionComputeError | None:
    """Say what is wrong with a head; put an absolute target into its usual form."""
    fields = request.fields
    if len(request.target) > TARGET_BYTES:
        return InvalidArgument(f"path and query exceed {TARGET_BYTES} bytes")
    if header_bytes > HEADER_BYTES:
        return InvalidArgument(f"request headers exceed {HEADER_BYTES} bytes")
    if version != "1.1" and not request.old:
        return InvalidArgument(f"HTTP/{version} is not supported; use HTTP/1.1")
    hosts = 1 if b"host" in fields else 0
    if len(fields) != len(request.headers):
        hosts = sum(name == b"host" for name, _ in request.headers)
    if hosts != 1 and not (request.old and hosts == 0):
        return InvalidArgument(f"a request needs one Host header, not {hosts}")
    if b"transfer-encoding" in fields or b"expect" in fields:
        problem = _find_special_problem(request)
        if problem is not None:
            return problem
    if request.method == b"CONNECT":
        return InvalidArgument("CONNECT: this server is no proxy")
    if not request.target.startswith(b"/"):
        return _cut_authority(request)
    return None


def _find_special_problem(request: Request) -> FunctionComputeError | None:
    encoding = request.fields.get(b"transfer-encoding")
    if encoding is not None and request.old:
        return InvalidArgument("HTTP/1.0 has no transfer encoding")
    if encoding is not None and encoding.strip().lower() != b"chunked":
        return NotSupported(f"transfer encoding '{encoding.decode('latin-1')}'")
    expectation = request.fields.get(b"expect", b"100-continue")
    if expectation.strip().lower() != b"100-continue" and not request.old:
        return InvalidArgument(f"expectation '{expectation.decode('latin-1')}' is not known")
    return None


def _cut_authority(request: Request) -> FunctionComputeError | None:
    """Of `http://host/path`, as a proxy is asked, host and path count (RFC 9112, 3.2.2)."""
    found = ABSOLUTE.fullmatch(request.target)
    if found is None:
        return InvalidArgument("the request target must begin with '/'")
    request.target = found[2] if found[2].startswith(b"/") else b"/" + found[2]
    request.path, _, request.query = request.target.partition(b"?")
    request.headers = [header for header in request.headers if header[0] != b"host"]
    request.headers.append((b"host", found[1]))
    request.fields[b"host"] = found[1]
    return None
