"""The rows of the table, each with what it is measured against and what was promised."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from statistics import median

from bench.client import Subject, WrongAnswer, call, call_at_once
from bench.floor.start import open_floor
from bench.measure import (
    family_pss_bytes,
    first_call_s,
    in_turns,
    instance_pss_bytes,
    start_and_first_call_s,
)
from bench.part import ANYFC, CONNECTIONS, OpenServer, OpenSubject, Part, Size, load
from bench.peers.functions_framework import open_functions_framework
from bench.peers.rie import open_rie
from bench.process import Missing
from bench.report import percentile
from bench.web_rows import flask, web, web_latency, websocket

FLOOR = "bare pipe"
FRAMEWORK = "functions-framework"
RIE = "AWS RIE"
OWN_CODE = "anyfc, code of its own"

CALLERS = 200
MANY_INSTANCES = 20


@contextmanager
def one_function(open_server: OpenServer) -> Iterator[Subject]:
    with open_server() as server:
        yield server.deploy("bench")


def throughput(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    openers: dict[str, OpenSubject] = {
        ANYFC: partial(one_function, open_server),
        FLOOR: open_floor,
        FRAMEWORK: open_functions_framework,
    }
    loads = load(openers, part.missing, size, connections=CONNECTIONS)
    values = {name: median(run.per_s for run in runs) for name, runs in loads.items()}
    what = f"warm event invocation, {CONNECTIONS} connections"
    part.compare(what, "/s", values, peer=FRAMEWORK, target="≥ 7")
    part.compare(what, "/s", values, peer=FLOOR, target="≥ 0.5")
    part.samples = {name: [asdict(run) for run in runs] for name, runs in loads.items()}
    return part


def latency(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    openers: dict[str, OpenSubject] = {ANYFC: partial(one_function, open_server), RIE: open_rie}
    loads = load(openers, part.missing, size, connections=1)
    for percent, target in ((50, "≤ 0.6"), (99, "")):
        values = {
            name: 1e3 * median(run.p50_s if percent == 50 else run.p99_s for run in runs)
            for name, runs in loads.items()
        }
        what = f"warm latency p{percent}, 1 connection"
        part.compare(what, "ms", values, peer=RIE, target=target)
    part.samples = {name: [asdict(run) for run in runs] for name, runs in loads.items()}
    return part


def cold_start(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    # A cold start of ours never follows another: the kernel does some of it faster right after.
    samplers: dict[str, Callable[[], float]] = {
        ANYFC: lambda: call(next(known)),
        RIE: partial(first_call_s, open_rie),
        OWN_CODE: lambda: call(next(own)),
        FRAMEWORK: partial(start_and_first_call_s, open_functions_framework),
    }
    known: Iterator[Subject] = iter(())
    own: Iterator[Subject] = iter(())
    with ExitStack() as stack:
        try:
            server = stack.enter_context(open_server())
            call(server.deploy("first"))
            calls = range(size.cold_calls)
            known = iter([server.deploy(f"known-{n}") for n in calls])
            own = iter([server.deploy(f"own-{n}", own_code=True) for n in calls])
        except (Missing, OSError, WrongAnswer) as error:
            for name in (ANYFC, OWN_CODE):
                part.missing[name] = str(error)
                del samplers[name]
        samples = in_turns(samplers, part.missing, rounds=size.cold_calls)
    p50 = {name: 1e3 * median(seconds) for name, seconds in samples.items()}
    p99 = {name: 1e3 * percentile(seconds, 99) for name, seconds in samples.items()}
    part.compare("cold start p50", "ms", p50, peer=RIE, target="≤ 0.2")
    part.compare("cold start p99", "ms", p99, peer=RIE)
    part.compare("cold start p50, code not unpacked yet", "ms", p50, ours=OWN_CODE, peer=RIE)
    part.compare("cold start p50", "ms", p50, peer=FRAMEWORK)
    part.compare("cold start p99", "ms", p99, peer=FRAMEWORK)
    part.samples = samples
    return part


def cold_burst(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    seconds: list[list[float]] = []
    errors: list[str] = []
    try:
        for _ in range(size.bursts):
            with open_server() as server:
                call(server.deploy("first"))
                good, bad = asyncio.run(call_at_once(server.deploy("bench"), callers=CALLERS))
            seconds.append(good)
            errors += bad
    except (Missing, OSError, WrongAnswer) as error:
        part.missing[ANYFC] = str(error)
    what = f"cold burst of {CALLERS} callers"
    values = {} if part.missing else {ANYFC: float(len(errors))}
    part.compare(f"{what}: errors", "", values, target="≤ 0")
    answered = [burst for burst in seconds if burst]
    p99 = {ANYFC: 1e3 * median(percentile(burst, 99) for burst in answered)} if answered else {}
    part.compare(f"{what}: p99", "ms", p99)
    part.samples = {"seconds": seconds, "errors": errors}
    return part


def idle_memory(open_server: OpenServer, size: Size) -> Part:
    part = Part()

    def instances(count: int) -> float:
        with open_server() as server:
            return instance_pss_bytes([server.deploy(f"idle-{n}") for n in range(count)])

    def framework() -> int:
        with open_functions_framework() as subject:
            return family_pss_bytes(subject)

    many = f"anyfc, each of {MANY_INSTANCES}"
    samplers = {ANYFC: lambda: instances(1), many: lambda: instances(MANY_INSTANCES)}
    samples = in_turns({**samplers, FRAMEWORK: framework}, part.missing, rounds=3)
    values = {name: median(sizes) / 2**20 for name, sizes in samples.items()}
    what = "memory of an idle instance (PSS)"
    part.compare(f"{what}, the only one", "MiB", values, peer=FRAMEWORK, target="≤ 0.2")
    what = f"{what}, one of {MANY_INSTANCES}"
    part.compare(what, "MiB", values, ours=many, peer=FRAMEWORK, target="≤ 0.2")
    part.samples = samples
    return part


PARTS: Mapping[str, Callable[[OpenServer, Size], Part]] = {
    "throughput": throughput,
    "latency": latency,
    "cold-start": cold_start,
    "cold-burst": cold_burst,
    "idle-memory": idle_memory,
    "web": web,
    "web-latency": web_latency,
    "flask": flask,
    "websocket": websocket,
}
