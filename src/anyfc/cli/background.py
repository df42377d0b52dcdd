"""A server of its own for a command: it runs as long as the command does."""

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from anyfc.cli.connection import fail
from anyfc.cli.tied import tied

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
def interrupted_by_signals() -> Iterator[None]:
    """Have what ends a command otherwise, a closed terminal too, end it as Ctrl-C does.

    Ctrl-C does so even where a script has it ignored; `nohup` has its way.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: interrupt}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted[signal.SIGHUP] = interrupt
    old = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


@contextmanager
def running_server(
    data_dir: Path, *arguments: str, port: int = 0, hint: str = ""
) -> Iterator[Background]:
    """Run a server until the block ends; by default on a free port.

    Signals end the block as Ctrl-C does, and the server goes too when this process is killed.
    `hint` says what to do when it does not start.
    """
    # Settings of the person's own server have no say in this one's.
    environ = {
        name: value
        for name, value in os.environ.items()
        if name in KEY or not name.startswith("ANYFC_")
    }
    with interrupted_by_signals():
        process = subprocess.Popen(
            tied("serve", "--data-dir", str(data_dir), "--port", str(port), *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            process_group=0,  # Ctrl-C is for the command, which then stops the server
        )
        try:
            yield Background(endpoint=_wait_ready(process, hint), process=process)
        finally:
            status = stop(process, STOP_S)
        if status != 0:
            fail("stop the server", f"its exit code was {status} and not 0")


def stop(process: "subprocess.Popen[str]", within_s: float) -> int:
    """End a process, by force if that takes longer or is interrupted; return its exit code."""
    process.terminate()
    try:
        return process.wait(within_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        return process.wait()
    finally:
        if process.stdin is not None:
            process.stdin.close()


def _wait_ready(process: "subprocess.Popen[str]", hint: str) -> str:
    assert process.stdout is not None
    ready: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_watch, args=(process.stdout, ready), daemon=True).start()
    try:
        endpoint = ready.get(timeout=START_S)
    except queue.Empty:
        fail("start the server", f"it was not ready after {START_S:.0f} s")
    if not endpoint:
        why = f"it ended with exit code {process.wait()}; see above for why"
        fail("start the server", why, hint)
    return endpoint


def _watch(output: IO[str], ready: "queue.Queue[str]") -> None:
    """Report the line that says where the server listens, and keep its pipe from filling up."""
    with output:
        for line in output:
            if line.startswith("ready "):
                ready.put(line.split()[1])
    ready.put("")
