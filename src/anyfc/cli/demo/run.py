"""`anyfc demo`: start a server, deploy three functions, invoke them, check what comes back."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anyfc.cli.background import interrupted_by_signals, running_server
from anyfc.cli.connection import connected
from anyfc.cli.deploy import deploy
from anyfc.cli.invoke import render_answer

if TYPE_CHECKING:
    from anyfc.client import Answer

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
    with interrupted_by_signals(), tempfile.TemporaryDirectory(prefix="anyfc-demo-") as folder:
        # The folder itself: what is in it, a user who runs functions could not get at.
        data_dir = Path(folder)
        with running_server(data_dir) as server:
            endpoint = server.endpoint
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
