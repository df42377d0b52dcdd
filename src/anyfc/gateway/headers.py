"""The headers of HTTP calls: what a function gets to see of its client's, and the client of its.

What the platform tells a function's server besides is in `runtime/headers.py`.
"""

import re
from collections.abc import Iterable
from typing import Final

from anyfc.errors import ApkDownloadForbidden, BadResponse, ExternalRedirectForbidden
from anyfc.runtime.headers import says_failed
from anyfc.web.message import Header

KIB: Final = 1024
RESPONSE_HEADER_BYTES: Final = 8 * KIB

X_FC: Final = b"x-fc-"
UNDERSCORE: Final = 0x5F
ATTACHMENT: Final[Header] = (b"Content-Disposition", b"attachment")
TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# Never passed on to a function's server: what belongs to the client's connection, what we answer
# (Expect), and the framing, which is written anew. `Trailer` announces fields that are not passed
# on. The other hop-by-hop names of RFC 9110, 7.6.1 (TE, Proxy-Authorization) do reach the
# server, as in the cloud since August 2022.
NOT_FORWARDED: Final = frozenset(
    (
        b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-connection",
        b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED_PROTO: Final = b"x-forwarded-proto"
NOT_AS_SENT: Final = NOT_FORWARDED | {FORWARDED_FOR}

# What a function may not set (runtime.md 13.3), and the framing. `Proxy-Authenticate` may be set.
RESERVED: Final = frozenset(
    (
        b"connection", b"content-length", b"date", b"keep-alive", b"proxy-connection", b"server",
        b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
DISPOSITION: Final = b"content-disposition"
NOT_AS_RETURNED: Final = RESERVED | {DISPOSITION}

REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
APK: Final = b"application/vnd.android.package-archive"

# Line breaks would begin another header, other control characters make clients refuse it.
SPACES_FOR_CONTROLS: Final = bytes(
    0x20 if (byte < 0x20 and byte != 0x09) or byte == 0x7F else byte for byte in range(256)
)


def forwarded_request_headers(
    headers: Iterable[Header], *, peer: str, scheme: bytes = b"http"
) -> list[Header]:
    """Return what a function's server gets of its client's headers; their names are in lower case.

    The peer is put at the end of the chain in X-Forwarded-For. X-Forwarded-Proto is set to `scheme`
    unless somebody in front of us has set it. What a server that takes `_` for `-`, as CGI has it,
    would take for a header that we set is left out like that header.

    Source: runtime.md 4.2.
    """
    passed: list[Header] = []
    chain: list[bytes] = []
    proto = scheme
    for header in headers:
        name = header[0]
        if name in NOT_AS_SENT:
            if name == FORWARDED_FOR:
                chain.append(header[1])
        elif name == FORWARDED_PROTO:
            proto = header[1]
        elif not name.startswith(X_FC) and not (UNDERSCORE in name and is_forged(name)):
            passed.append(header)
    if peer:
        chain.append(peer.encode())
    if chain:
        passed.append((FORWARDED_FOR, b", ".join(chain)))
    passed.append((FORWARDED_PROTO, proto))
    return passed


def is_forged(name: bytes) -> bool:
    """Whether a name in lower case is, but for its underscores, one of those that only we set."""
    usual = name.replace(b"_", b"-")
    return usual.startswith(X_FC) or usual in (FORWARDED_FOR, FORWARDED_PROTO)


def returned_response_headers(
    headers: Iterable[Header], *, attachment: bool = False
) -> tuple[list[Header], bool]:
    """Return what the client gets of a server's headers, and whether the server reports failure.

    A failure is for the records only: the answer goes out all the same. Names may be in any case.
    With `attachment`, browsers are told to save the answer, whatever the server says about that;
    without, only the bare word, which is the platform's, is taken out. Raises BadResponse when the
    headers are too large.

    Source: runtime.md 4.3 (`x-fc-status`), 13.3 and 15.5.
    """
    kept: list[Header] = []
    failed = False
    header_bytes = 0
    for header in headers:
        name, value = header
        lower = name.lower()
        if lower in NOT_AS_RETURNED:
            if lower != DISPOSITION or attachment or value.strip().lower() == ATTACHMENT[1]:
                continue
        elif lower.startswith(X_FC):
            failed = failed or says_failed(lower, value)
            continue
        header_bytes += len(name) + len(value)
        kept.append(header)
    check_size(header_bytes)
    if attachment:
        kept.append(ATTACHMENT)
    return kept, failed


def check_default_domain(status: int, headers: Iterable[Header]) -> None:
    """Refuse what the cloud's own domains do not serve: no redirects, no Android packages.

    Raises ExternalRedirectForbidden, ApkDownloadForbidden. Source: runtime.md 15.5.
    """
    if status in REDIRECTS:
        raise ExternalRedirectForbidden
    for name, value in headers:
        if name.lower() == b"content-type" and value.strip().lower().startswith(APK):
            raise ApkDownloadForbidden


def check_size(header_bytes: int) -> None:
    """Refuse headers whose names and values are too large together. Raises BadResponse."""
    if header_bytes > RESPONSE_HEADER_BYTES:
        raise BadResponse(
            f"the function's response headers are {header_bytes} bytes long, "
            f"the limit is {RESPONSE_HEADER_BYTES} bytes"
        )


def may_be_set(name: bytes) -> bool:
    """Say whether a result of a built-in runtime may set a header: all but the reserved ones.

    What is no name of a header (RFC 9110, 5.1) cannot be set either.
    """
    lower = name.lower()
    return (
        lower not in NOT_AS_RETURNED
        and not lower.startswith(X_FC)
        and TOKEN.fullmatch(name) is not None
    )


def one_line(value: bytes) -> bytes:
    """Put spaces for whatever would not stay inside the value of a header."""
    return value.translate(SPACES_FOR_CONTROLS).strip()
