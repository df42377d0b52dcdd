"""An initializer runs once for each instance; module state lives as long as the instance."""

from typing import Any

state = {"initialized": False, "count": 0}


def initialize(context: Any) -> None:
    print("initializer called")
    state["initialized"] = True


def handler(event: bytes, context: Any) -> dict[str, Any]:
    state["count"] += 1
    return dict(state)
