"""Call: an HTTP call that has been let in, and what every answer to one has in common."""

from base64 import b64encode
from collections.abc import Callable
from typing import Final

from anyfc.errors import FunctionComputeError
from anyfc.gateway.cors import cors_headers
from anyfc.gateway.door import Door
from anyfc.gateway.headers import ATTACHMENT
from anyfc.gateway.problem import describe
from anyfc.model.function import Function
from anyfc.model.invocation import Report
from anyfc.model.version import VersionId
from anyfc.web.message import Header, Reply, Request, Response, Rest

# What the cloud calls every refusal that is not the function's own.
REFUSED: Final[Header] = (b"X-Fc-Error-Type", b"FCCommonError")


class Call:
    """One HTTP call to a function. Target and headers are as the function is to see them.

    `guard` is `Guard.watch`: it goes around all of the call that has to be waited for.
    """

    __slots__ = (
        "attachment", "door", "function", "guard", "headers", "reply", "request", "request_id",
        "target", "version", "want_log_tail",
    )  # fmt: skip

    def __init__(
        self,
        *,
        request: Request,
        reply: Reply,
        request_id: str,
        guard: Callable[[Rest], Rest],
        door: Door,
        function: Function,
        version: VersionId,
        want_log_tail: bool,
        attachment: bool,
    ) -> None:
        self.request = request
        self.reply = reply
        self.request_id = request_id
        self.guard = guard
        self.door = door
        self.function = function
        self.version = version
        self.target = door.target
        self.headers = request.headers
        self.want_log_tail = want_log_tail
        self.attachment = attachment

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
