"""The rows of functions that are called by HTTP: whole servers, Flask, WebSockets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.client import Subject
from bench.load import Load
from bench.measure import in_turns
from bench.package import APP, ECHO, SERVER
from bench.part import ANYFC, CONNECTIONS, OpenServer, OpenSubject, Part, Size, load, open_all
from bench.peers.gunicorn import open_gunicorn
from bench.peers.nginx import open_nginx
from bench.peers.program import open_program
from bench.process import descendants
from bench.websocket import echo_s, idle_websocket_bytes

DIRECT = "direct"
NGINX = "nginx"
NGINX_LOGGING = "nginx, access log"
GUNICORN = "gunicorn"
EVENT = "anyfc, event"

INSTANCES = 4
WEBSOCKETS = 100

Loads = Mapping[str, list[Load]]


@contextmanager
def web_function(open_server: OpenServer, program: Path) -> Iterator[Subject]:
    with open_server() as server:
        yield server.deploy_web("bench", program)


@contextmanager
def wsgi_function(open_server: OpenServer) -> Iterator[Subject]:
    with open_server() as server:
        yield server.deploy_wsgi("bench", APP, handler=f"{APP.stem}.app")


@contextmanager
def event_function(open_server: OpenServer) -> Iterator[Subject]:
    with open_server() as server:
        yield server.deploy_event("bench", APP, handler=f"{APP.stem}.handle_event")


def web(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    openers: dict[str, OpenSubject] = {
        ANYFC: partial(web_function, open_server, SERVER),
        NGINX: partial(open_nginx, SERVER),
        NGINX_LOGGING: partial(open_nginx, SERVER, access_log=True),
        DIRECT: partial(open_program, SERVER),
    }
    loads = load(openers, part.missing, size, connections=CONNECTIONS)
    values = {name: median(run.per_s for run in runs) for name, runs in loads.items()}
    what = f"web function, {CONNECTIONS} connections"
    part.compare(what, "/s", values, peer=NGINX, target="≥ 0.7")
    part.compare(what, "/s", values, peer=NGINX_LOGGING)
    part.compare(what, "/s", values, peer=DIRECT)
    compare_latency(part, loads, f"{CONNECTIONS} connections")
    part.samples = as_samples(loads)
    return part


def web_latency(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    openers: dict[str, OpenSubject] = {
        ANYFC: partial(web_function, open_server, SERVER),
        NGINX: partial(open_nginx, SERVER),
        DIRECT: partial(open_program, SERVER),
    }
    loads = load(openers, part.missing, size, connections=1)
    compare_latency(part, loads, "1 connection")
    part.samples = as_samples(loads)
    return part


def compare_latency(part: Part, loads: Loads, how: str) -> None:
    """Add the rows of latency as callers see it, and of what is added to the server's own."""
    for percent, seconds in ((50, lambda run: run.p50_s), (99, lambda run: run.p99_s)):
        values = {name: 1e3 * median(map(seconds, runs)) for name, runs in loads.items()}
        part.compare(f"web function p{percent}, {how}", "ms", values, peer=DIRECT)
        what = f"web function p{percent}, {how}: more than direct"
        part.compare(what, "ms", more_than_direct(values), peer=NGINX)


def more_than_direct(values: Mapping[str, float]) -> dict[str, float]:
    if DIRECT not in values:
        return {}
    return {name: value - values[DIRECT] for name, value in values.items()}


def as_samples(loads: Loads) -> dict[str, Any]:
    return {name: [asdict(run) for run in runs] for name, runs in loads.items()}


def flask(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    openers: dict[str, OpenSubject] = {
        ANYFC: partial(wsgi_function, open_server),
        EVENT: partial(event_function, open_server),
        # Each connection gets an instance, because those serve one request at a time.
        GUNICORN: partial(open_gunicorn, workers=INSTANCES),
    }
    loads = load(openers, part.missing, size, connections=INSTANCES, warm_each=True)
    values = {name: median(run.per_s for run in runs) for name, runs in loads.items()}
    how = f"{INSTANCES} connections"
    part.compare(f"Flask by WSGI (FC 2.0), {how}", "/s", values, peer=GUNICORN)
    part.compare(f"Flask by events (FC 3.0), {how}", "/s", values, ours=EVENT, peer=GUNICORN)
    part.samples = as_samples(loads)
    return part


def websocket(open_server: OpenServer, size: Size) -> Part:
    part = Part()
    openers: dict[str, OpenSubject] = {
        ANYFC: partial(web_function, open_server, ECHO),
        NGINX: partial(open_nginx, ECHO),
        DIRECT: partial(open_program, ECHO),
    }
    echoes = echo_in_turns(openers, part.missing, size)
    values = {name: 1e6 * median(rounds) for name, rounds in echoes.items()}
    part.compare("WebSocket echo p50", "µs", values, peer=DIRECT)
    part.compare("WebSocket echo p50", "µs", values, peer=NGINX)
    what = "WebSocket echo p50: more than direct"
    part.compare(what, "µs", more_than_direct(values), peer=NGINX)
    sizes = in_turns(
        {
            ANYFC: partial(idle_memory, openers[ANYFC], whole_family=False),
            NGINX: partial(idle_memory, openers[NGINX], whole_family=True),
        },
        part.missing,
        rounds=3,
    )
    values = {name: median(samples) / 2**10 for name, samples in sizes.items()}
    what = f"memory of an idle WebSocket (PSS), one of the second {WEBSOCKETS}"
    part.compare(what, "KiB", values, peer=NGINX)
    part.samples = {"echo_s": echoes, "idle_bytes": sizes}
    return part


def echo_in_turns(
    openers: Mapping[str, OpenSubject], missing: dict[str, str], size: Size
) -> dict[str, list[float]]:
    """The median of each round."""
    with ExitStack() as stack:
        subjects = open_all(stack, openers, missing)

        def sampler(subject: Subject) -> Callable[[], float]:
            return lambda: median(echo_s(subject, messages=size.echoes))

        samplers = {name: sampler(subject) for name, subject in subjects.items()}
        in_turns(samplers, missing, rounds=1)  # does not count
        samplers = {name: sample for name, sample in samplers.items() if name not in missing}
        return in_turns(samplers, missing, rounds=size.rounds)


def idle_memory(opener: OpenSubject, *, whole_family: bool) -> float:
    """What a WebSocket adds to the program in between: for anyfc that is its first process."""
    with opener() as subject:

        def find_pids() -> list[int]:
            return [subject.pid, *(descendants(subject.pid) if whole_family else ())]

        return idle_websocket_bytes(subject, find_pids, count=WEBSOCKETS)
