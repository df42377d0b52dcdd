"""A client that sends whatever bytes it is told to, and reads what comes back."""

import hashlib
import socket
import time
from collections.abc import Iterable

from support import KEY, ServerProcess
from transport import ResponseReader, Seen

from anyfc.identity.signature import format_date, sign

WITHIN_S = 30.0

Headers = Iterable[tuple[str, str]]


def signed_head(
    server: ServerProcess,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    headers: Headers = (),
    version: str = "1.1",
    framing: str = "length",
) -> bytes:
    """The head of a request as an SDK signs it."""
    lines = [
        (b"host", b"127.0.0.1:%d" % server.port),
        (b"x-acs-date", format_date(time.time()).encode()),
        (b"x-acs-content-sha256", hashlib.sha256(body).hexdigest().encode()),
    ]
    value = sign(
        method.encode(), target.encode(), lines, access_key_id=KEY[0], access_key_secret=KEY[1]
    )
    lines.append((b"authorization", value))
    lines += [(name.encode(), text.encode()) for name, text in headers]
    if framing == "length":
        lines.append((b"content-length", b"%d" % len(body)))
    elif framing == "chunked":
        lines.append((b"transfer-encoding", b"chunked"))
    first = f"{method} {target} HTTP/{version}\r\n".encode()
    return first + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n"


def invocation(server: ServerProcess, name: str, event: bytes = b"", **settings: object) -> bytes:
    """A whole InvokeFunction request, with the head first."""
    target = f"/2023-03-30/functions/{name}/invocations"
    return signed_head(server, "POST", target, event, **settings) + event  # type: ignore[arg-type]


class Raw:
    """One connection. Use with `with`."""

    def __init__(self, server: ServerProcess, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(WITHIN_S)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            self.socket.connect(("127.0.0.1", server.port))
        except OSError:
            self.socket.close()
            raise
        self._reader = ResponseReader()
        self._given = 0

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> Seen:
        """Wait for the next response that is no interim one. Raises ConnectionError at the end."""
        while True:
            seen = self._reader.seen
            while self._given < len(seen) and seen[self._given].complete:
                self._given += 1
                if seen[self._given - 1].status >= 200:
                    return seen[self._given - 1]
            self.receive()

    def receive(self, size: int = 65536) -> None:
        """Wait for some bytes. Raises ConnectionError at the end."""
        data = self.socket.recv(size)
        if not data:
            raise ConnectionError(f"the end, after {self._given} responses")
        self._reader.feed(data)

    @property
    def partly(self) -> Seen:
        """The last response as far as it is here."""
        return self._reader.seen[-1] if self._reader.seen else Seen()

    def read_interim(self) -> int:
        """Wait for the next response of whatever kind; return its status."""
        while len(self._reader.seen) <= self._given:
            self.receive()
        self._given += 1
        return self._reader.seen[self._given - 1].status

    def ask(self, data: bytes) -> Seen:
        self.send(data)
        return self.read()

    def read_to_end(self) -> list[Seen]:
        """Wait until the server closes; return all responses."""
        while data := self.socket.recv(65536):
            self._reader.feed(data)
        return self._reader.seen


def ask_once(server: ServerProcess, data: bytes) -> list[Seen]:
    """Send bytes on a connection of their own and wait for its end."""
    with Raw(server) as raw:
        raw.send(data)
        return raw.read_to_end()
