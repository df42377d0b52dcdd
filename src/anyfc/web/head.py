"""What the head of a request may say, so that nobody behind us reads it differently."""

import re
from functools import lru_cache
from typing import Final

from anyfc.errors import FunctionComputeError, InvalidArgument, NotSupported
from anyfc.web.message import KIB, Request

TARGET_BYTES: Final = 4 * KIB
HEADER_BYTES: Final = 8 * KIB
ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)
# A name or an address, and perhaps a port (RFC 3986, 3.2; `Host` has no user).
AUTHORITY: Final = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\])(?::[0-9]*)?"
)
# A name, and perhaps a version; in lower case (RFC 9110, 7.8).
PROTOCOL: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+)(?:/[!#$%&'*+.^_`|~0-9a-z-]+)?")
# HTTP once more, whose requests nobody would look at any more. RFC 9113 has taken h2c back.
NO_UPGRADES: Final = frozenset((b"h2", b"h2c", b"http"))


def find_problem(request: Request, version: str, header_bytes: int) -> FunctionComputeError | None:
    """Say what is wrong with a head; put an absolute target into its usual form."""
    fields = request.fields
    if len(request.target) > TARGET_BYTES:
        return InvalidArgument(f"path and query exceed {TARGET_BYTES} bytes")
    if b"#" in request.target:  # some servers end the path there (RFC 9112, 3.2)
        return InvalidArgument("the request target must not have a '#'; encode it as %23")
    if header_bytes > HEADER_BYTES:
        return InvalidArgument(f"request headers exceed {HEADER_BYTES} bytes")
    if version != "1.1" and not request.old:
        return InvalidArgument(f"HTTP/{version} is not supported; use HTTP/1.1")
    hosts = 1 if b"host" in fields else 0
    if len(fields) != len(request.headers):
        hosts = sum(name == b"host" for name, _ in request.headers)
    if hosts != 1 and not (request.old and hosts == 0):
        return InvalidArgument(f"a request needs one Host header, not {hosts}")
    if hosts and not is_authority(fields[b"host"]):
        return InvalidArgument("the Host header must be a host, and may have a port: host:port")
    if b"transfer-encoding" in fields or b"expect" in fields:
        problem = _find_special_problem(request)
        if problem is not None:
            return problem
    if request.method == b"CONNECT":
        return InvalidArgument("CONNECT: this server is no proxy")
    if not request.target.startswith(b"/"):
        return _cut_authority(request)
    return None


@lru_cache(maxsize=1024)
def is_authority(host: bytes) -> bool:
    """Say whether a value of Host is what it has to be; it may be empty."""
    return AUTHORITY.fullmatch(host) is not None


def find_upgrade(request: Request) -> bytes | None:
    """Return the protocol that a client wants to go on with, if that may be: in lower case.

    Of several that it would take, none is chosen. Source: RFC 9110, 7.8.
    """
    wanted = (_joined(request, b"upgrade") or b"").strip().lower()
    found = PROTOCOL.fullmatch(wanted)
    return wanted if found is not None and found[1] not in NO_UPGRADES else None


def _find_special_problem(request: Request) -> FunctionComputeError | None:
    encoding = _joined(request, b"transfer-encoding")
    if encoding is not None and request.old:
        return InvalidArgument("HTTP/1.0 has no transfer encoding")
    if encoding is not None and encoding.lower() != b"chunked":
        return NotSupported(f"transfer encoding '{encoding.decode('latin-1')}'")
    expectation = _joined(request, b"expect")
    if expectation is not None and expectation.lower() != b"100-continue" and not request.old:
        return InvalidArgument(f"expectation '{expectation.decode('latin-1')}' is not known")
    return None


def _joined(request: Request, name: bytes) -> bytes | None:
    """All that the lines of a header say, as one (RFC 9110, 5.3); None without any."""
    values = [value for lower, value in request.headers if lower == name]
    return b", ".join(values) if values else None


def _cut_authority(request: Request) -> FunctionComputeError | None:
    """Of `http://host/path`, as a proxy is asked, host and path count (RFC 9112, 3.2.2).

    With a user before the host it is nothing that may be sent (RFC 9110, 4.2.4).
    """
    found = ABSOLUTE.fullmatch(request.target)
    if found is None or not is_authority(found[1]):
        return InvalidArgument("the request target must begin with '/', or with http:// and a host")
    request.target = found[2] if found[2].startswith(b"/") else b"/" + found[2]
    request.path, _, request.query = request.target.partition(b"?")
    request.headers = [header for header in request.headers if header[0] != b"host"]
    request.headers.append((b"host", found[1]))
    request.fields[b"host"] = found[1]
    return None
