"""A clock that tests own: time passes only when nothing else is left to do."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nobody has anything to do."""

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        # An `_`: the standard library's loop has no better place to see that it would wait.
        if not self._ready and not self._stopping:
            timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]
            assert timers, "everybody waits, and nothing is left that could happen"
            self._now = max(self._now, min(timers))
        super()._run_once()


def run_on_clock(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, with a clock that makes hours short. Fails when everybody waits for ever."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        return runner.run(main)


async def settle(rounds: int = 30) -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(rounds):
        await asyncio.sleep(0)
