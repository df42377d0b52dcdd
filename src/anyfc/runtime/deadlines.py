"""Deadlines of requests under way: one timer for all of them, because each would set its own."""

import asyncio
import math


class Deadlines:
    """Cancels tasks that take too long at one request.

    Requests of one instance mostly have the same time, so the timer that the first one needs serves
    those that begin after it. `asyncio.timeout` does the same for a twentieth of a web call.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[object], float] = {}
        self._expired: set[asyncio.Task[object]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def begin(self, within_s: float) -> asyncio.Task[object]:
        """Have the current task cancelled if it does not `end` in time; return it."""
        task = asyncio.current_task(self._loop)
        assert task is not None, "a request is made by a task"
        deadline = self._loop.time() + within_s
        self._running[task] = deadline
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        return task

    def end(self, task: asyncio.Task[object]) -> bool:
        """Forget a task, and say whether it was cancelled for its deadline and nothing else."""
        self._running.pop(task, None)
        if task not in self._expired:
            return False
        self._expired.remove(task)
        return task.uncancel() == 0

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
        for task in [task for task, deadline in self._running.items() if deadline <= now]:
            del self._running[task]
            self._expired.add(task)
            task.cancel()
        self._alarm = None
        self._alarm_at = math.inf
        if self._running:
            self._set_alarm(min(self._running.values()))
