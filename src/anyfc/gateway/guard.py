"""Guard: what a caller is told when its request fails, for all doors."""

import logging
from collections.abc import Generator
from typing import Any, Final

from anyfc.errors import (
    BadResponse,
    EntityTooLarge,
    FunctionComputeError,
    FunctionTimeout,
    InternalServerError,
    InvalidArgument,
)
from anyfc.gateway.cors import cors_headers
from anyfc.gateway.door import Door
from anyfc.gateway.headers import ATTACHMENT
from anyfc.gateway.problem import describe
from anyfc.runtime.channel import ChannelClosed
from anyfc.web.message import Header, PeerLost, Reply, Request, Response, Rest

log = logging.getLogger("anyfc")

# What the cloud calls refusals, and what a call that reached the function came to.
REFUSED: Final[Header] = (b"X-Fc-Error-Type", b"FCCommonError")
FAILED: Final[Header] = (b"X-Fc-Error-Type", b"UnhandledInvocationError")


class Guard:
    """One request, and the words for what goes wrong with it."""

    __slots__ = ("_reply", "_request", "attachment", "by_http", "door", "request_id")

    def __init__(self, request: Request, reply: Reply, request_id: str) -> None:
        self._request = request
        self._reply = reply
        self.request_id = request_id
        self.by_http = False  # it is an HTTP call, which has its own words
        self.door: Door | None = None
        self.attachment = False  # browsers are to save whatever the answer is

    def explain(self, problem: FunctionComputeError) -> Response:
        """Put a problem into words."""
        if not self.by_http:
            return describe(problem, self.request_id)
        if isinstance(problem, EntityTooLarge):
            problem = InvalidArgument(problem.message)
        response = describe(problem, self.request_id)
        cors = self.door.cors if self.door is not None else None
        # Pages of other origins may read why a call does not reach the function.
        response.headers = [
            *response.headers,
            FAILED if isinstance(problem, BadResponse | FunctionTimeout) else REFUSED,
            *cors_headers(cors, self._request.fields.get(b"origin"), response.headers),
            *((ATTACHMENT,) if self.attachment else ()),
        ]
        return response

    def watch(self, rest: Rest) -> Rest:
        """Return what is left of the request so that it answers if it fails.

        Waiting for that raises PeerLost when the answer has begun, and will not end.
        """
        return Watched(self, rest)

    async def see_through(self, rest: Rest) -> None:
        reply = self._reply
        try:
            await rest
        except FunctionComputeError as problem:
            if reply.started:
                raise self._broken_off(problem) from problem
            await reply.send(self.explain(problem))
        except PeerLost as error:
            if reply.started:
                raise self._broken_off(error) from error
            raise
        except Exception as error:
            if reply.started and isinstance(error, ChannelClosed):
                raise self._broken_off(error) from error
            response = self.explain_bug(error)
            if reply.started:
                raise PeerLost from error
            await reply.send(response)

    def explain_bug(self, error: Exception) -> Response:
        """Put into words, and into the log, what should not have happened."""
        log.error("request failed", exc_info=error, extra={"request_id": self.request_id})
        return self.explain(InternalServerError())

    def _broken_off(self, error: Exception) -> PeerLost:
        """Say that an answer has begun and will not end; its caller sees the connection end."""
        why = str(error) or type(error).__name__
        log.warning("answer broken off", extra={"request_id": self.request_id, "why": why})
        return PeerLost()


async def fail(error: Exception) -> None:
    """A rest that has failed before it could begin."""
    raise error


class Watched:
    """A rest that answers if it fails. Closing it before its time closes what is inside."""

    __slots__ = ("_guard", "_rest")

    def __init__(self, guard: Guard, rest: Rest) -> None:
        self._guard = guard
        self._rest = rest

    def __await__(self) -> Generator[Any, Any, None]:
        return self._guard.see_through(self._rest).__await__()

    def close(self) -> None:
        self._rest.close()
