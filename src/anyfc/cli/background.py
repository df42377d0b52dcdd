"""A server of its own for a command: it runs as long as the command does."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anyfc.cli.connection import fail

START_S = 60.0
STOP_S = 45.0

# The command signs with these too, if they are set.
KEY = ("ANYFC_ACCESS_KEY_ID", "ANYFC_ACCESS_KEY_SECRET")


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A server that answers, in a process of its own."""

    endpoint: str
    process: "subprocess.Popen[str]"

    def check(self) -> None:
        """End the command if the server has ended."""
        status = self.process.poll()
        if status is not None:
            fail("go on", f"the server ended with exit code {status}; see above for why")


@contextmanager
def running_server(data_dir: Path, *arguments: str, port: int = 0) -> Iterator[Background]:
    """Run a server until the block ends; by default on a free port."""
    # Settings of the person's own server have no say in this one's.
    environ = {
        name: value
        for name, value in os.environ.items()
        if name in KEY or not name.startswith("ANYFC_")
    }
    command = [sys.executable, "-m", "anyfc", "serve", "--data-dir", str(data_dir)]
    process = subprocess.Popen(
        [*command, "--port", str(port), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        process_group=0,  # Ctrl-C is for the command, which then stops the server
    )
    try:
        yield Background(endpoint=_wait_ready(process), process=process)
    finally:
        status = _stop(process)
    if status != 0:
        fail("stop the server", f"its exit code was {status} and not 0")


def _stop(process: "subprocess.Popen[str]") -> int:
    process.terminate()
    try:
        return process.wait(STOP_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        return process.wait()


def _wait_ready(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    ready: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_watch, args=(process.stdout, ready), daemon=True).start()
    try:
        endpoint = ready.get(timeout=START_S)
    except queue.Empty:
        fail("start the server", f"it was not ready after {START_S:.0f} s")
    if not endpoint:
        fail("start the server", f"it ended with exit code {process.wait()}; see above for why")
    return endpoint


def _watch(output: IO[str], ready: "queue.Queue[str]") -> None:
    """Report the line that says where the server listens, and keep its pipe from filling up."""
    with output:
        for line in output:
            if line.startswith("ready "):
                ready.put(line.split()[1])
    ready.put("")
