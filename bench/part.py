"""What a part of the run is made of: sizes, loads in turns, and rows with their ratios."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.anyfc import Server
from bench.client import Subject
from bench.load import Load, require_wrk, run_wrk
from bench.measure import in_turns
from bench.process import Missing
from bench.report import Row

ANYFC = "anyfc"
CONNECTIONS = 16

OpenServer = Callable[[], AbstractContextManager[Server]]
OpenSubject = Callable[[], AbstractContextManager[Subject]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How often, and how long."""

    rounds: int
    duration_s: int
    cold_calls: int
    bursts: int
    echoes: int  # of one WebSocket, in each round


QUICK = Size(rounds=5, duration_s=1, cold_calls=15, bursts=1, echoes=500)
FULL = Size(rounds=7, duration_s=3, cold_calls=100, bursts=5, echoes=5000)


@dataclass(slots=True)
class Part:
    """What one part of the run has come to: rows for people, samples for a second look."""

    rows: list[Row] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # what could not be measured, and why

    def compare(
        self,
        what: str,
        unit: str,
        values: Mapping[str, float],
        *,
        ours: str = ANYFC,
        peer: str = "",
        target: str = "",
    ) -> None:
        reasons = [f"{name}: {self.missing[name]}" for name in (ours, peer) if name in self.missing]
        row = Row(
            what=what,
            unit=unit,
            ours=values.get(ours),
            peer=peer,
            theirs=values.get(peer),
            target=target,
            reason="; ".join(reasons),
        )
        self.rows.append(row)


def open_all(
    stack: ExitStack, openers: Mapping[str, OpenSubject], missing: dict[str, str]
) -> dict[str, Subject]:
    """Start what can be started; the rest becomes `missing`."""
    subjects = {}
    for name, opener in openers.items():
        try:
            subjects[name] = stack.enter_context(opener())
        except Missing as error:
            missing[name] = str(error)
    return subjects


def load(
    openers: Mapping[str, OpenSubject],
    missing: dict[str, str],
    size: Size,
    *,
    connections: int,
    warm_each: bool = False,
) -> dict[str, list[Load]]:
    """Runs of wrk in turns; each subject first has one that does not count. See `run_wrk`."""
    with ExitStack() as stack:
        try:
            require_wrk()
        except Missing as error:
            missing.update(dict.fromkeys(openers, str(error)))
            return {}
        subjects = open_all(stack, openers, missing)

        def runs(duration_s: int, rounds: int) -> dict[str, list[Load]]:
            samplers = {
                name: partial(
                    run_wrk,
                    subject,
                    connections=connections,
                    duration_s=duration_s,
                    warm_each=warm_each,
                )
                for name, subject in subjects.items()
                if name not in missing
            }
            return in_turns(samplers, missing, rounds=rounds)

        runs(1, rounds=1)
        return runs(size.duration_s, size.rounds)
