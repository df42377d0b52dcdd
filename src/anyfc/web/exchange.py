"""One connection to a server behind us: requests out, responses in, one at a time."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import httptools

from anyfc.web.message import HIGH_WATER_BYTES, KIB, Body, Header, PeerLost, Source
from anyfc.web.outbox import Outbox, Sender
from anyfc.web.transport import Transport
from anyfc.web.tunnel import End

# What a server may send without saying anything: the head of a response, interim ones before it,
# the framing of a body. Callers have lower limits for heads, and answers for what exceeds them.
RAW_BYTES: Final = 64 * KIB
# Framing that a byte of a body may come in, such as the size of its chunk.
RAW_BYTES_PER_BYTE: Final = 16
# What is passed on of what comes before a response: 102 Processing, 103 Early Hints.
HINTS: Final = (102, 103)


class UpstreamFailed(Exception):
    """The server behind us cannot be reached, or does not speak HTTP."""


class NoAnswer(UpstreamFailed):
    """The connection ended before there was a response."""

    def __init__(self) -> None:
        super().__init__("no response")


class Hints:
    """Is told what a server says before its response: 102 and 103."""

    __slots__ = ()

    def take(self, status: int, headers: Sequence[Header]) -> None:
        raise NotImplementedError


class Exchange(Sender):
    """One connection: sends requests and reads their responses, one at a time.

    Interim responses (1xx) are passed over, but for the 101 that was asked for and hints,
    which go to whoever wants them; so are trailers.
    """

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(outbox)
        self._loop = asyncio.get_running_loop()
        self._transport: Transport
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None  # for a head, or for there to be no hope
        self._listener: Callable[[], None] | None = None
        self._hints: Hints | None = None
        self._parsing = False
        self._failure: Exception | None = None
        self._sending: Source | None = None  # the rest of a request's body
        self._chunked = False  # so it is sent
        self._full = False  # the server does not read: what is not sent yet waits
        self._bodiless = False  # the response to HEAD ends with its head
        self._upgrade: bytes | None = None  # the protocol that may follow
        self._early = b""  # what came behind a 101
        self._end: End | None = None
        self._raw_bytes = 0  # since something was last understood
        self._until_end = False  # the body of the response ends with the connection
        self._keep_alive = False
        self.lost = False
        self.answered = False  # there is the head of a response, or no hope for one
        self.heard = False  # something has come since the last request
        self.reused = False
        self.status = 0
        self.headers: list[Header] = []
        self.body = Body(self, None)

    @property
    def reusable(self) -> bool:
        return (
            self._keep_alive
            and self.body.complete
            and self._sending is None
            and not self._full
            and not self.lost
        )

    # --- the socket ---

    def connection_made(self, transport: Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.status == 101:
            self._hold_early(data)
            return
        parser = self._parser
        if parser is None or self.body.complete or self._pending:
            self.close()  # nobody has asked yet, and who asks next must not be answered with this
            return
        self.heard = True
        self._raw_bytes += len(data)
        self._parsing = True
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.status == 101:
                self._hold_early(data[upgrade.args[0] :])
            else:
                self._fail(UpstreamFailed("an upgrade that was not asked for"))
        except httptools.HttpParserCallbackError:
            self._parsing = False
            self.close()
            raise  # a bug of ours
        except httptools.HttpParserError as error:
            # Behind a whole response it is only the connection that cannot be used again.
            self._keep_alive = False
            self._fail(UpstreamFailed(f"malformed HTTP response: {error}"))
        if self._raw_bytes > RAW_BYTES:
            self._fail(UpstreamFailed(f"{RAW_BYTES} bytes of HTTP that say too little"))
        self._parsing = False
        if self.answered:
            self._tell()

    def eof_received(self) -> None:
        """The server will close; the transport does so too, and says next that it is lost."""
        self._keep_alive = False
        if self.body.complete:
            self.lost = True

    def connection_lost(self, error: Exception | None) -> None:
        was_lost, self.lost = self.lost, True
        if error is not None and not (was_lost or self.body.complete or self._pending):
            self._read_rest()
        if self._until_end and error is None and self._failure is None:
            self.body.end()
        elif self.status:
            self.body.fail(PeerLost())
        self._stop_sending()
        self._wake()

    def _read_rest(self) -> None:
        """Take in what came before a failed write, such as the answer to an upload too large.

        The transport gives up at once, but the system has kept it.
        """
        connection = self._transport.get_extra_info("socket")
        if connection is None:
            return
        with suppress(OSError):
            while not self.body.complete and (data := os.read(connection.fileno(), RAW_BYTES)):
                self.data_received(data)

    def pause_writing(self) -> None:
        self._full = True
        if self._sending is not None:
            self._sending.hold()

    def resume_writing(self) -> None:
        self._full = False
        if self._sending is not None:
            self._sending.flow()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        self.lost = True
        self._stop_sending()
        if self._end is None:
            self._transport.abort()
        else:
            self._end.close()

    def _fail(self, failure: Exception) -> None:
        """Make whoever waits for the response or reads it raise `failure`."""
        if not self.body.complete:
            self._failure = failure
            self.body.fail(failure)
        self.close()
        self._wake()

    def _wake(self) -> None:
        self.answered = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if not self._parsing:
            self._tell()

    def _tell(self) -> None:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener()

    # --- the parser ---

    def on_message_begin(self) -> None:
        if self.body.complete:
            self._keep_alive = False  # a response that nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self.status or parser is None:
            return  # behind a whole response
        status = parser.get_status_code()
        if 100 <= status < 200:
            if status == 101 and parser.should_upgrade() and self._takes_up():
                self.status = status
                self._raw_bytes = 0
                self._wake()
            elif self._hints is not None and status in HINTS:
                self._hints.take(status, self.headers)
            return
        length_bytes = None
        encoding = None
        for name, value in self.headers:
            # Few names are as long as one of these.
            if len(name) == 14 and name.lower() == b"content-length":
                length_bytes = int(value)  # digits only, and one header of them: the parser's work
            elif len(name) == 17 and name.lower() == b"transfer-encoding":
                encoding = value
        if status < 100 or (encoding is not None and encoding.strip().lower() != b"chunked"):
            self._failure = UpstreamFailed("a status or a transfer encoding that is not known")
            self._wake()
            return
        self.status = status
        self._hints = None
        self._raw_bytes = 0
        self.body.declared_bytes = length_bytes
        if self._bodiless:
            self._parser = None  # it waits for a body that does not come
            self._keep_alive = self._stays(parser.get_http_version())
            self.body.end()
        else:
            self._keep_alive = parser.should_keep_alive()
            self._until_end = length_bytes is None and encoding is None
        self._wake()

    def on_body(self, piece: bytes) -> None:
        if self.body.complete:
            self._keep_alive = False  # HEAD was answered with a body
            return
        self._raw_bytes -= RAW_BYTES_PER_BYTE * len(piece)
        if self._raw_bytes < 0:
            self._raw_bytes = 0
        self.body.feed(piece)

    def on_message_complete(self) -> None:
        if not self.status:  # an interim response
            self.headers = []
        elif not self.body.complete and self.status != 101:
            self._raw_bytes = 0
            self.body.end()

    def _takes_up(self) -> bool:
        """Whether a 101 is for the protocol that was asked for, and for no other."""
        named = [value for name, value in self.headers if name.lower() == b"upgrade"]
        return len(named) == 1 and named[0].strip().lower() == self._upgrade

    def _stays(self, version: str) -> bool:
        """Whether the connection outlives this response, by its headers (RFC 9112, 9.3)."""
        wishes = b",".join(v for n, v in self.headers if n.lower() == b"connection").lower()
        return b"close" not in wishes and (version == "1.1" or b"keep-alive" in wishes)

    # --- one request ---

    def send(
        self,
        method: bytes,
        message: bytes,
        rest: Source | None = None,
        *,
        upgrade: bytes | None = None,
        listener: Callable[[], None] | None = None,
        hints: Hints | None = None,
    ) -> None:
        """Send a request. `rest` is its body, if that is not in the message.

        `listener` is called once there is the head of the response, or no hope for one, and what
        has come together with the head has been taken in. With `upgrade`, a protocol in lower case,
        a 101 that takes it up is a response; no other is.
        """
        if self.reused:
            self.status = 0
            self.headers = []
            self.body = Body(self, None)
            self.answered = False
            self.heard = False
            self._raw_bytes = 0
            self._until_end = False
        self._waiter = None
        self._listener = listener
        self._hints = hints
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._bodiless = method == b"HEAD"
        self._upgrade = upgrade
        if self.lost:
            self.answered = True
            return
        if rest is None:
            self.send_soon(message)
        else:
            self._transport.write(message)
            self._sending = rest
            self._chunked = rest.declared_bytes is None
            if self._full:
                rest.hold()
            rest.pour(self)

    def flush(self) -> None:
        pending, self._pending = self._pending, b""
        if pending and not self.lost:
            self._transport.write(pending)

    def ignore(self) -> None:
        """Do not call the listener any more, and tell nobody of hints."""
        self._listener = None
        self._hints = None

    async def wait(self) -> None:
        """Wait for the head of the response: `status`, `headers`, `body`.

        A body that is still being sent goes on being sent meanwhile, and while the response is
        read. Raises UpstreamFailed, and what the sender of that body did.
        """
        if not self.answered:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self._failure is not None:
            raise self._failure
        if not self.status:
            raise NoAnswer

    # The sink of the request's body

    def take(self, piece: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    def take_end(self) -> None:
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        self._sending = None

    def take_failure(self, failure: Exception) -> None:
        self._sending = None
        self._fail(failure)

    def _stop_sending(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            sending.discard()

    # --- after a 101 ---

    def tunnel(self) -> End:
        """Return the server's end of what follows a 101; see `web.tunnel.join`."""
        assert self.status == 101
        if len(self._early) <= HIGH_WATER_BYTES:
            self.pause_reading()
        self._end = End(self._transport, self._early, self._leave)
        self._parser = None
        self._early = b""
        return self._end

    def _hold_early(self, data: bytes) -> None:
        was_bytes = len(self._early)
        self._early += data
        if was_bytes <= HIGH_WATER_BYTES < len(self._early):
            self.pause_reading()

    def _leave(self) -> None:
        self.lost = True
