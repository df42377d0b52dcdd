"""Starts the AWS runtime interface emulator (RIE) with the AWS runtime client for Python.

The emulator is a Linux binary inside the PyPI wheel `aws-sam-cli`; `rie.lock` says which.
"""

import hashlib
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import EVENT, Request, Subject
from bench.package import HANDLER
from bench.process import Missing, free_port, listens, open_process, wait_ready

LOCK = Path(__file__).with_name("rie.lock")
BINARY = Path(sys.prefix) / "cache" / "aws-lambda-rie"
INVOCATIONS = "/2015-03-31/functions/function/invocations"
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}


def fetch_rie() -> None:
    """Take the emulator out of its wheel, unless that is done. Raises Missing."""
    if BINARY.exists():
        return
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise Missing(f"the wheel has no emulator for {platform.machine()}")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*pip, "--dest", folder, "--requirement", LOCK], capture_output=True, text=True
        )
        if done.returncode:
            raise Missing("the wheel of aws-sam-cli could not be downloaded")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            binary = archive.read(f"samcli/local/rapid/aws-lambda-rie-{machine}")
    BINARY.parent.mkdir(exist_ok=True)
    unfinished = BINARY.with_suffix(".part")
    unfinished.write_bytes(binary)
    unfinished.chmod(0o755)
    unfinished.rename(BINARY)


def describe_rie() -> dict[str, str]:
    """The wheel's version and the binary's SHA-256."""
    (pin,) = (line for line in LOCK.read_text().splitlines() if line.startswith("aws-sam-cli"))
    return {
        "wheel": pin.partition(" ")[0],
        "sha256": hashlib.sha256(BINARY.read_bytes()).hexdigest(),
    }


@contextmanager
def open_rie() -> Iterator[Subject]:
    """Yield when the emulator listens. It starts the runtime when the first request arrives."""
    fetch_rie()
    port = free_port()
    argv: list[str | Path] = [BINARY, "--log-level", "error"]
    argv += ["--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    argv += ["--runtime-api-address", f"127.0.0.1:{free_port()}"]
    argv += [sys.executable, "-m", "awslambdaric", "index.handler"]
    with open_process(argv, cwd=HANDLER.parent) as process:
        wait_ready(process, lambda: listens(port))
        yield Subject(lambda: Request(port=port, path=INVOCATIONS, body=EVENT), process.pid)
