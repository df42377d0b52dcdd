"""Call: an HTTP call that has been let in, and what every answer to one has in common."""

from base64 import b64encode
from collections.abc import Sequence

import msgspec

from anyfc.errors import FunctionComputeError
from anyfc.gateway.cors import cors_headers
from anyfc.gateway.door import Door
from anyfc.gateway.headers import ATTACHMENT
from anyfc.gateway.problem import describe
from anyfc.model.function import Function
from anyfc.model.invocation import Report
from anyfc.model.version import VersionId
from anyfc.web.message import Header, Reply, Request, Response

# What the cloud calls every refusal that is not the function's own.
REFUSED: Header = (b"X-Fc-Error-Type", b"FCCommonError")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP call to a function. Target and headers are as the function is to see them."""

    request: Request
    reply: Reply
    request_id: str
    door: Door
    function: Function
    version: VersionId
    target: bytes
    headers: Sequence[Header]
    want_log_tail: bool
    attachment: bool

    def complete(self, response: Response, report: Report | None = None) -> Response:
        """Add what the platform adds: the request id, and what browsers are to know.

        Source: runtime.md 13.4, 15.3 and 15.5.
        """
        lines = b"X-Fc-Request-Id: %b\r\n" % self.request_id.encode()
        if report is not None and self.want_log_tail:
            lines += b"X-Fc-Log-Result: %b\r\n" % b64encode(report.log_tail)
        response.head = lines + response.head
        added = cors_headers(self.door.cors, self.request.fields.get(b"origin"), response.headers)
        if self.attachment and ATTACHMENT not in response.headers:
            added.append(ATTACHMENT)
        if added:
            response.headers = [*response.headers, *added]
        return response


def describe_refusal(
    problem: FunctionComputeError, request_id: str, request: Request, door: Door | None
) -> Response:
    """Put into words why a call does not reach the function; pages of other origins may read it."""
    response = describe(problem, request_id)
    cors = door.cors if door is not None else None
    response.headers = [
        *response.headers,
        REFUSED,
        *cors_headers(cors, request.fields.get(b"origin"), response.headers),
    ]
    return response
