"""The table of runtimes, and which interpreter stands in for which."""

from collections.abc import Mapping, Sequence

from anyfc.sandbox.interpreter import Interpreter

# The version that the name promises; `python3` is 3.6 in the cloud.
# Source: "Runtimes" in the Function Compute documentation.
PYTHON: Mapping[str, tuple[int, int]] = {
    "python3": (3, 6),
    "python3.9": (3, 9),
    "python3.10": (3, 10),
    "python3.12": (3, 12),
}

# Those that bring a server of their own, but no image.
CUSTOM = frozenset(("custom", "custom.debian10", "custom.debian11", "custom.debian12"))
CONTAINER = "custom-container"


def brings_server(runtime: str) -> bool:
    """Say whether the functions of a runtime are servers, in an image or not."""
    return runtime in CUSTOM or runtime == CONTAINER


def pick(runtime: str, interpreters: Sequence[Interpreter]) -> Interpreter | None:
    """Return the interpreter of the version that a runtime promises, else the newest, else None.

    `interpreters` are sorted, the newest first.
    """
    for interpreter in interpreters:
        if interpreter.version == PYTHON[runtime]:
            return interpreter
    return interpreters[0] if interpreters else None


def explain(runtime: str, interpreters: Sequence[Interpreter]) -> str:
    """Say in words which interpreter runs a runtime."""
    interpreter = pick(runtime, interpreters)
    if interpreter is None:
        return "no Python was found on this machine"
    if interpreter.version == PYTHON[runtime]:
        return str(interpreter)
    return f"{interpreter}, the newest here, because this machine has no Python " + ".".join(
        map(str, PYTHON[runtime])
    )
