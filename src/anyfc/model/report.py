"""Report: what came of one invocation, and what it took."""

import msgspec

from anyfc.model.invocation import Crashed, Result, TimedOut


def cost(duration_ms: float, peak_memory_mib: float) -> str:
    """Say what was spent, as logs and callers are told."""
    return f"duration: {duration_ms:.0f}ms, maxMemoryUsage: {peak_memory_mib:.2f}MB"


def explain(message: str) -> bytes:
    """Return the JSON that describes a failure which no handler has described."""
    return msgspec.json.encode({"errorMessage": message})


class Report:
    """What one run of a handler came to, and what it took."""

    __slots__ = ("cold", "duration_ms", "instance_id", "log_tail", "peak_memory_mib", "result")

    def __init__(
        self,
        *,
        result: Result,
        duration_ms: float,
        peak_memory_mib: float,
        instance_id: str,
        cold: bool,
        log_tail: bytes = b"",
    ) -> None:
        self.result = result
        self.duration_ms = duration_ms
        self.peak_memory_mib = peak_memory_mib
        self.instance_id = instance_id
        self.cold = cold
        self.log_tail = log_tail

    def explain(self, result: TimedOut | Crashed) -> bytes:
        """Return the JSON that tells a caller why the run, which ended so, has no answer."""
        return explain(f"{result.reason} ({cost(self.duration_ms, self.peak_memory_mib)})")
