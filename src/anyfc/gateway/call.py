"""Call: an HTTP call that has been let in, and what every answer to one has in common."""

from base64 import b64encode

from anyfc.gateway.cors import cors_headers
from anyfc.gateway.door import Door
from anyfc.gateway.guard import Guard
from anyfc.gateway.headers import ATTACHMENT
from anyfc.gateway.runnable import Runnable
from anyfc.model.report import Report
from anyfc.web.message import Reply, Request, Response


class Call:
    """One HTTP call to a function. Target and headers are as the function is to see them."""

    __slots__ = (
        "attachment", "door", "guard", "headers", "reply", "request", "runnable", "target",
        "want_log_tail",
    )  # fmt: skip

    def __init__(
        self,
        *,
        request: Request,
        reply: Reply,
        guard: Guard,
        door: Door,
        runnable: Runnable,
        want_log_tail: bool,
        attachment: bool,
    ) -> None:
        self.request = request
        self.reply = reply
        self.guard = guard
        self.door = door
        self.runnable = runnable
        self.target = request.target if door.target is None else door.target
        self.headers = request.headers
        self.want_log_tail = want_log_tail
        self.attachment = attachment

    def complete(self, response: Response, report: Report | None = None) -> Response:
        """Add what the platform adds: the request id, and what browsers are to know.

        Source: runtime.md 13.4, 15.3 and 15.5.
        """
        lines = b"X-Fc-Request-Id: %b\r\n" % self.guard.request_id.encode()
        if report is not None and self.want_log_tail:
            lines += b"X-Fc-Log-Result: %b\r\n" % b64encode(report.log_tail)
        response.head = lines + response.head
        added = cors_headers(self.door.cors, self.request.fields.get(b"origin"), response.headers)
        if self.attachment and ATTACHMENT not in response.headers:
            added.append(ATTACHMENT)
        if added:
            response.headers = [*response.headers, *added]
        return response
