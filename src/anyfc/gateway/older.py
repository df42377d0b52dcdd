"""Requests to the API before 3.0: who has signed them, and which function they invoke.

Functions of those versions are made in a service; here they are called `service$function`.

Source: api.md 10.1 and 10.2.
"""

import re

import msgspec

from anyfc.gateway.address import decode_segment
from anyfc.identity.fc import SCHEME, verify_fc
from anyfc.identity.key import Caller
from anyfc.identity.signature import KeySource, verify
from anyfc.model.address import OLDER_VERSIONS
from anyfc.web.message import Request

VERSIONS = tuple(f"/{version}/".encode() for version in OLDER_VERSIONS)
INVOCATION = re.compile(rb"/[0-9-]+/services/([^/]+)/functions/([^/]+)/invocations")


class Signed(msgspec.Struct, frozen=True):
    """Who has signed a request, and whether its body is signed too."""

    caller: Caller
    with_body: bool


class Invoked(msgspec.Struct, frozen=True):
    """Whom an InvokeFunction is for. The qualifier is empty if the path has none."""

    service: str
    function: str
    qualifier: str


def identify(request: Request, *, keys: KeySource, now: float) -> Signed:
    """Find out who has signed a request, in either of the two schemes.

    Raises what `verify` and `verify_fc` raise.
    """
    older = request.fields.get(b"authorization", b"").split(b" ", 1)[0] == SCHEME
    check = verify_fc if older else verify
    caller = check(request.method, request.target, request.headers, keys=keys, now=now)
    return Signed(caller, with_body=not older)


def find_invoked(request: Request) -> Invoked | None:
    """Read what an InvokeFunction is for; None: it is another operation."""
    found = INVOCATION.fullmatch(request.path)
    if found is None or request.method != b"POST":
        return None
    service, _, qualifier = decode_segment(found[1]).partition(".")
    return Invoked(service, decode_segment(found[2]), qualifier)
