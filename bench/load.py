"""wrk: many requests, as fast as the subject answers."""

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.client import Subject, WrongAnswer, call, call_at_once
from bench.process import Missing

SCRIPT = Path(__file__).with_name("request.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of wrk saw."""

    per_s: float
    p50_s: float
    p99_s: float


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        raise Missing("wrk is not installed (Debian package `wrk`)")


def run_wrk(
    subject: Subject, *, connections: int, duration_s: int, warm_each: bool = False
) -> Load:
    """Load a subject. With `warm_each`, each connection finds an instance that has started.

    wrk hangs up in the middle of its last requests, and that is the end of anyfc's instances that
    serve one at a time: without, the next run has their cold starts in it. Raises WrongAnswer if
    one answer was not a success.
    """
    call(subject)  # wrk sees the status only; this sees the body
    if warm_each:
        _, errors = asyncio.run(call_at_once(subject, callers=connections))
        if errors:
            raise WrongAnswer(errors[0])
    request = subject.make_request()
    argv = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={duration_s}s"]
    argv += [f"--script={SCRIPT}", f"http://127.0.0.1:{request.port}{request.path}", "--"]
    argv += [request.method, request.body.decode()]
    argv += [text for pair in request.headers.items() for text in pair]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    if seen["errors"] or not seen["requests"]:
        raise WrongAnswer(f"{seen['errors']} errors in {seen['requests']} requests")
    return Load(
        per_s=seen["requests"] / seen["took_us"] * 1e6,
        p50_s=seen["p50_us"] / 1e6,
        p99_s=seen["p99_us"] / 1e6,
    )
