"""The measurements. What is compared takes turns, so that a noisy moment hits all of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from bench.client import Subject, WrongAnswer, call
from bench.process import Missing, descendants, instance_processes, pss_bytes

T = TypeVar("T")
IDLE_S = 1.0  # longer than any grace after which a server puts an instance to rest

Samplers = Mapping[str, Callable[[], T]]


def in_turns(samplers: Samplers[T], missing: dict[str, str], *, rounds: int) -> dict[str, list[T]]:
    """Take one sample of each, again and again. What fails leaves the run and becomes `missing`."""
    samples: dict[str, list[T]] = {name: [] for name in samplers}
    for _ in range(rounds):
        for name, sample in samplers.items():
            if name in samples:
                try:
                    samples[name].append(sample())
                except (Missing, OSError, WrongAnswer) as error:
                    missing[name] = f"{type(error).__name__}: {error}"
                    del samples[name]
    return samples


def first_call_s(opener: Callable[[], AbstractContextManager[Subject]]) -> float:
    """Time of the first call of something that already listens."""
    with opener() as subject:
        return call(subject)


def start_and_first_call_s(opener: Callable[[], AbstractContextManager[Subject]]) -> float:
    """Time from the start of the program to the end of its first answer."""
    began = time.perf_counter()
    with opener() as subject:
        call(subject)
        return time.perf_counter() - began


def family_pss_bytes(subject: Subject) -> int:
    """Memory of an idle program and of all that it has started, after one call."""
    call(subject)
    time.sleep(IDLE_S)
    return pss_bytes([subject.pid, *descendants(subject.pid)])


def instance_pss_bytes(subjects: Sequence[Subject]) -> float:
    """Memory of one idle instance: the mean over the functions of one server, called once each."""
    for subject in subjects:
        call(subject)
    time.sleep(IDLE_S)
    pids = instance_processes(subjects[0].pid)
    if not pids:
        raise Missing("no process of an instance was found; level none has no way to tell")
    return pss_bytes(pids) / len(subjects)
