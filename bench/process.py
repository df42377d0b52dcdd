"""Processes that the harness starts: they are awaited, measured and ended for sure."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

KIB = 1024
START_S = 30.0
END_S = 15.0
POLL_S = 0.001


class Missing(Exception):
    """Something cannot be measured here; the text says why."""


@contextmanager
def open_process(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own; on exit end it and all that it has started.

    If it has ended, a `Missing` raised inside gets the last line that it wrote to standard error.
    """
    with tempfile.NamedTemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise Missing(f"{Path(argv[0]).name}: {error.strerror}") from error
        try:
            yield process
        except Missing as missing:
            if process.poll() is None:
                raise
            lines = Path(errors.name).read_text(errors="replace").split("\n")
            said = next((line for line in reversed(lines) if line.strip()), "")
            raise Missing(f"{missing}: {said.strip()}" if said else str(missing)) from missing
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask for the end, wait for it, and kill what is left of the family."""
    family = []
    for pid in descendants(process.pid):
        with suppress(ProcessLookupError):
            family.append(os.pidfd_open(pid))
    try:
        process.terminate()
        process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        print(f"(process {process.pid} did not end within {END_S:.0f} s and was killed)")
    finally:
        process.kill()
        process.wait()
        for fd in family:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_ready(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
    """Return as soon as the condition holds. Raises Missing."""
    give_up = time.monotonic() + START_S
    while not is_ready():
        if process.poll() is not None:
            raise Missing(f"it ended with status {process.returncode}")
        if time.monotonic() > give_up:
            raise Missing(f"it was not ready within {START_S:.0f} s")
        time.sleep(POLL_S)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def descendants(pid: int) -> list[int]:
    """The processes below this one, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended since
                stat = (entry / "stat").read_text()
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def instance_processes(pid: int) -> list[int]:
    """The processes of a server's instances.

    Those are the ones in a user namespace of their own, and the guard above each; what a zygote has
    forked ahead of need is in none yet, and belongs to the server as the zygote does.
    """
    outside = os.readlink("/proc/self/ns/user")
    found: set[int] = set()
    for child in descendants(pid):
        with suppress(OSError):
            if os.readlink(f"/proc/{child}/ns/user") != outside:
                found |= {child, int(Path(f"/proc/{child}/stat").read_text().split()[3])}
    return sorted(found)


def busy_cores(during_s: float) -> float:
    """How many cores the machine keeps busy while we do nothing."""

    def busy_ticks() -> int:
        user, nice, system, _, _, irq, soft, steal = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        return user + nice + system + irq + soft + steal

    before = busy_ticks()
    time.sleep(during_s)
    return (busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / during_s


def pss_bytes(pids: Sequence[int]) -> int:
    """Proportional set size: private memory, and of shared memory each sharer's part."""
    total = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
        total += int(line.split()[1]) * KIB
    return total
