"""`python -m bench`: measure, print the table, and keep it in `bench/results`."""

import argparse
import os
import signal
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from bench.anyfc import open_anyfc
from bench.part import FULL, QUICK
from bench.peers.nginx import describe_nginx
from bench.peers.rie import describe_rie, fetch_rie
from bench.process import Missing, busy_cores
from bench.report import describe_machine, table, write
from bench.rows import PARTS

VENV_PYTHON = Path(".venv-compiled/bin/python")


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    arguments = parse_arguments()
    size = QUICK if arguments.quick else FULL
    settings = {
        "isolation": arguments.isolation,
        "size": f"{'quick' if arguments.quick else 'full'}: {size}",
        "versions": versions(),
    }
    rows, samples, busy = [], {}, []
    open_server = partial(open_anyfc, arguments.python, arguments.isolation)
    for name in arguments.only or PARTS:
        busy.append(busy_cores(1.0))
        began = time.monotonic()
        print(f"{name} …", end=" ", flush=True)
        part = PARTS[name](open_server, size)
        print(f"{time.monotonic() - began:.0f} s", flush=True)
        rows += part.rows
        samples[name] = part.samples
    machine = describe_machine()
    settings["busy with other things"] = f"up to {max(busy):.1f} cores, looked at before each part"
    print("\n" + table(rows, machine, settings))
    if not arguments.only and not arguments.quick:
        write(rows, machine, settings, samples)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes; keeps no results")
    parser.add_argument("--only", action="append", choices=PARTS, help="keeps no results")
    parser.add_argument(
        "--python", type=Path, default=VENV_PYTHON.absolute(), help="interpreter that has anyfc"
    )
    parser.add_argument(
        "--isolation",
        default="jail" if os.geteuid() == 0 else "auto",
        help="as `anyfc serve` takes it; default: jail for root",
    )
    return parser.parse_args()


def versions() -> str:
    names = ("functions-framework", "gunicorn", "flask", "awslambdaric")
    names += ("uvloop", "httptools", "websockets")
    known = [f"{name} {version(name)}" for name in names]
    try:
        fetch_rie()
        known += [f"RIE of {describe_rie()['wheel']}"]
    except Missing as missing:
        known += [f"RIE missing: {missing}"]
    try:
        known += [describe_nginx()]
    except Missing as missing:
        known += [f"nginx missing: {missing}"]
    return ", ".join(known)


def stop(number: int, frame: FrameType | None) -> None:
    """Unwind, so that every process that was started is ended too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
