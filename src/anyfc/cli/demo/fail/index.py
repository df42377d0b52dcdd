"""Logs, then raises: the caller sees the error, its stack and the log."""

import logging
from typing import Any


def handler(event: bytes, context: Any) -> None:
    logging.getLogger().info("about to divide by zero")
    print("printed by the function")
    divide(1, 0)


def divide(one: int, other: int) -> float:
    return one / other
