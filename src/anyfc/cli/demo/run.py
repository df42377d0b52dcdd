"""`anyfc demo`: start a server, deploy three functions, invoke them, check what comes back."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from anyfc.cli.connection import connected, fail
from anyfc.cli.deploy import deploy
from anyfc.cli.invoke import render_answer

if TYPE_CHECKING:
    from anyfc.client import Answer

START_S = 60.0
STOP_S = 30.0
ANSWER_S = 60.0

FUNCTIONS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Step:
    """One invocation of the demo: what is sent, and what must come back."""

    function: str
    event: bytes
    says: str
    expected: Callable[["Answer"], bool]


def _has_json(answer: "Answer", expected: Any) -> bool:
    return not answer.error_type and json.loads(answer.body) == expected


def _failed_as_written(answer: "Answer") -> bool:
    return (
        answer.error_type == "UnhandledInvocationError"
        and json.loads(answer.body)["errorType"] == "ZeroDivisionError"
        and b"about to divide by zero" in answer.log_tail
        and b"printed by the function" in answer.log_tail
    )


STEPS = (
    Step(
        "greet",
        b'{"name": "Function Compute"}',
        "JSON in, JSON out",
        lambda answer: _has_json(answer, {"greeting": "Hello, Function Compute!", "letters": 16}),
    ),
    Step("fail", b"", "logs, then raises: the error is part of the answer", _failed_as_written),
    Step(
        "count",
        b"",
        "the first request: the initializer runs before it",
        lambda answer: _has_json(answer, {"initialized": True, "count": 1}),
    ),
    Step(
        "count",
        b"",
        "the second request: the same instance, so its state is still there",
        lambda answer: _has_json(answer, {"initialized": True, "count": 2}),
    ),
)


def demo() -> None:
    """Show three functions at work on a server in a temporary folder; nothing is left behind."""
    surprises = 0
    with tempfile.TemporaryDirectory(prefix="anyfc-demo-") as folder:
        # The folder itself: what is in it, a user who runs functions could not get at.
        data_dir = Path(folder)
        with running_server(data_dir) as endpoint:
            typer.echo(f"server at {endpoint}\n")
            for name in ("greet", "fail", "count"):
                deploy(
                    FUNCTIONS / name,
                    initializer="index.initialize" if name == "count" else None,
                    endpoint=endpoint,
                    data_dir=data_dir,
                )
            for step in STEPS:
                surprises += not run_step(step, endpoint, data_dir)
    if surprises:
        typer.echo(f"\n{surprises} of {len(STEPS)} answers were not as expected", err=True)
        raise typer.Exit(2)
    typer.echo("\nall answers were as expected; the server is stopped")


def run_step(step: Step, endpoint: str, data_dir: Path) -> bool:
    """Invoke, print what came back, and say whether it was what the function should return."""
    with connected(f"invoke {step.function}", endpoint=endpoint, data_dir=data_dir) as client:
        answer = client.invoke(step.function, step.event, want_log_tail=True, timeout_s=ANSWER_S)
    typer.echo(f"\n=== {step.function}: {step.says}")
    if step.event:
        typer.echo(f"event   {step.event.decode()}")
    typer.echo(f"answer  {answer.body.decode('utf-8', 'replace')}")
    typer.echo(render_answer(answer))
    try:
        as_expected = step.expected(answer)
    except (ValueError, KeyError, TypeError):  # not the JSON that the function makes
        as_expected = False
    if not as_expected:
        typer.echo("!!! this is not what the function should have answered", err=True)
    return as_expected


@contextmanager
def running_server(data_dir: Path) -> Iterator[str]:
    """Run a server on a free port until the block ends; yields its endpoint."""
    # Settings of the person's own server have no say in the demo's.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANYFC_")}
    command = [sys.executable, "-m", "anyfc", "serve", "--port", "0", "--data-dir", str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        yield _wait_ready(process)
    finally:
        status = _stop(process)
    if status != 0:
        fail("stop the server", f"its exit code was {status} and not 0")


def _stop(process: "subprocess.Popen[str]") -> int:
    process.terminate()
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
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
