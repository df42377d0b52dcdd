"""Report: what came of one invocation, and what it took."""

from anyfc.model.invocation import Result


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
