"""Dialogue: how an instance talks to its process."""

from anyfc.model.invocation import HttpCall, Payload, Result


class Dialogue:
    """One way to have a function do something: frames (`builtin`), or HTTP (`custom`).

    `ask` never raises for what the function does: that it fails, ends or takes too long is a
    Result. Who implements this sees to it that a request ends within its time.
    """

    @property
    def ready(self) -> bool:
        """Another request may be sent."""
        raise NotImplementedError

    async def greet(self) -> None:
        """Wait until the process can take a request.

        Raises SandboxFailed, or what the caller is told: CAExited, FunctionNotStarted.
        """
        raise NotImplementedError

    async def ask(
        self,
        kind: bytes,
        request_id: str,
        event: bytes | Payload = b"",
        *,
        timeout_s: int,
        http: HttpCall | None = None,
    ) -> Result:
        """Send a request of a kind (`runtime.frame`) and wait for what comes of it.

        Raises BadResponse if an event is answered with what is not HTTP.
        """
        raise NotImplementedError

    async def drain(self) -> None:
        """Take in what nobody has read of an answer, bounded: another request may then be sent."""
        raise NotImplementedError

    def before_freeze(self) -> None:
        """Give up what would not outlast a freeze."""
        raise NotImplementedError

    def peak_memory_mib(self) -> float:
        """The largest resident memory of the process until now; 0 where it cannot be known."""
        raise NotImplementedError
