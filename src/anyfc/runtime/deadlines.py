"""Deadlines of requests under way: one timer for all of them, because each would set its own."""

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """The time of one request; `expire`, if there is one, is called when it is over."""

    __slots__ = ("at", "expire", "expired", "within_s")

    def __init__(self, within_s: int, at: float, expire: Callable[[], object] | None) -> None:
        self.within_s = within_s
        self.at = at
        self.expire = expire
        self.expired = False


class Deadlines:
    """Calls what is to be called when a request takes too long.

    Requests of one instance mostly have the same time, so the timer that the first one needs serves
    those that begin after it. `asyncio.timeout` does the same for a twentieth of a web call.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: set[Deadline] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def begin(self, within_s: int, expire: Callable[[], object] | None) -> Deadline:
        """Let the time of a request run, until the deadline that is returned comes to its `end`."""
        deadline = Deadline(within_s, self._loop.time() + within_s, expire)
        self._running.add(deadline)
        if deadline.at < self._alarm_at:
            self._set_alarm(deadline.at)
        return deadline

    def end(self, deadline: Deadline) -> None:
        self._running.discard(deadline)
        deadline.expire = None  # it leads back to what holds the deadline

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        for deadline in [deadline for deadline in self._running if deadline.at <= now]:
            if deadline not in self._running:
                continue  # ended by one that expired before it
            self._running.remove(deadline)
            deadline.expired = True
            if deadline.expire is not None:
                deadline.expire()
        self._alarm = None
        self._alarm_at = math.inf
        if self._running:
            self._set_alarm(min([deadline.at for deadline in self._running]))
