"""Connection: bytes in, Request out, Response back; the HTTP/1.1 of the data plane (httptools).

One module because it is one state machine: what a connection has read, what it owes, and when it
has waited long enough are decided on the same few fields.
"""

import asyncio
import logging
import math
import select
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol

import httptools

from anyfc.errors import (
    FunctionComputeError,
    InvalidArgument,
    RequestTimeout,
    ResourceExhausted,
    ServerStopping,
)
from anyfc.web.head import HEADER_BYTES, TARGET_BYTES, find_problem, find_upgrade
from anyfc.web.message import (
    HIGH_WATER_BYTES,
    Body,
    Header,
    PeerLost,
    ReaderStalled,
    Reply,
    Request,
    Response,
    Rest,
    Underway,
)
from anyfc.web.outbox import Outbox, Sender
from anyfc.web.transport import Transport, file_number, taken_bytes
from anyfc.web.tunnel import End

log = logging.getLogger("anyfc")

# Every header may be two bytes long and come with four that do not count.
RAW_HEAD_BYTES: Final = 2 * TARGET_BYTES + 4 * HEADER_BYTES
# Framing that a byte of a body may come in, such as the size of its chunk.
RAW_BYTES_PER_BYTE: Final = 16
PIPELINE: Final = 16
LINGER_S: Final = 30.0
# Connections above the limit that wait until their client has read why.
REFUSED_CONNECTIONS: Final = 128
SWEEP_S: Final = 0.5
LF: Final = 0x0A
CR: Final = 0x0D
GO_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"Connection: close\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
NO_BODY: Final = frozenset((204, 304))
HUNG_UP: Final = select.POLLHUP | select.POLLERR
STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a connection may take over what."""

    header_s: float
    body_stall_s: float
    keep_alive_s: float
    drain_s: float


class Application(Protocol):
    """What answers requests."""

    def handle(self, request: Request, reply: Reply) -> Rest | None:
        """Answer by sending one response.

        What there is to wait for is in the coroutine that this returns; it is cancelled when the
        caller hangs up. None: the reply has been entrusted to somebody, see `Reply.entrust`.
        """

    def refuse(self, problem: FunctionComputeError) -> Response:
        """Put a problem with the HTTP itself into words."""


class Server:
    """A listening socket's connections, and their end."""

    def __init__(
        self,
        application: Application,
        patience: Patience,
        max_connections: int,
        group: asyncio.TaskGroup,
    ) -> None:
        self.application = application
        self.patience = patience
        self.max_connections = max_connections
        self.group = group
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.draining = False
        self._empty = asyncio.Event()
        self.outbox = Outbox()
        self.date = _date_line()

    def forget(self, connection: "Connection") -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def sweep(self) -> None:
        """End what took too long. One timer for all, because each request would move its own."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.date = _date_line()
            now = self.loop.time()
            for connection in list(self.connections):
                if connection.deadline < now:
                    connection.run_out()
            self._leave_the_gone()

    def _leave_the_gone(self) -> None:
        """Notice who has hung up of those that nothing is read from: the loop says nothing then."""
        poll = select.poll()
        unread: dict[int, Connection] = {}
        for connection in self.connections:
            if connection.unread:
                number = connection.file_number()
                if number >= 0:
                    poll.register(number, connection.signs_of_the_end())
                    unread[number] = connection
        if unread:
            for number, _ in poll.poll(0):
                unread[number].abort()

    async def drain(self) -> None:
        """Let running requests end, bounded; idle connections go at once."""
        self.draining = True
        self._empty.clear()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.patience.drain_s):
                    await self._empty.wait()
        for connection in list(self.connections):
            connection.abort()


class Answer(Reply):
    """What an application sends its response with."""

    __slots__ = ("_connection", "_request")

    def __init__(self, connection: "Connection", request: Request) -> None:
        super().__init__()
        self._connection = connection
        self._request = request

    def send(self, response: Response) -> Coroutine[Any, Any, None]:
        assert not self.started, "a request is answered once"
        self.started = True
        return self._connection.send(self._request, response)

    def send_now(self, response: Response) -> None:
        assert not self.started, "a request is answered once"
        self.started = True
        self._connection.send_now(self._request, response)

    def inform(self, response: Response) -> None:
        if not self.started:
            self._connection.inform(self._request, response)

    def upgrade(self, protocol: bytes, response: Response) -> Coroutine[Any, Any, End]:
        assert not self.started, "a request is answered once"
        self.started = True
        return self._connection.upgrade(protocol, response)

    def entrust(self, call: Underway) -> None:
        self._connection.entrust(call)

    def resume(self, rest: Rest) -> None:
        self._connection.resume(rest)


class Connection(Sender):
    """One client: a parser, a queue of requests that are answered in order, and a task.

    The task is there for what has to be waited for. A request that needs no waiting of ours is
    answered without it, by the callbacks of the two connections it goes through.

    Event loops know a protocol by its methods; there is no need to inherit from one.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(server.outbox)
        self._server = server
        self._transport: Transport
        self._parser: httptools.HttpRequestParser | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: list[Request] = []
        self._current: Request | None = None  # the one that is being answered
        self._answer: Answer | None = None  # and with what
        self._underway: Underway | None = None  # who has been entrusted with its answer
        self._rest: Rest | None = None  # what the task has to do next
        self._woken: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._peer = ""
        self._secure = False
        self._ended = False  # nothing more will be read as a request
        self._leaving = False  # nothing more will be said
        self._held = False  # reading is paused because too many requests wait
        self._read_paused = 0
        self.deadline = 0.0
        self._unsent_bytes = 0
        self._taken_bytes = 0  # by the client, when it was last looked at
        self._raw_bytes = 0  # since something was last understood
        self._in_head = False
        self._target = b""
        self._headers: list[Header] = []
        self._fields: dict[bytes, bytes] = {}
        self._chunk_bytes = 0
        self._head_bytes = 0  # not less than what has come of a head
        self._body: Body | None = None  # the one that is arriving
        self._skipped_body = b""  # how the body is framed that the parser does not see
        self._behind: bytes | None = None  # what came behind a request that HTTP may end with
        self._tunnel: End | None = None

    # --- the socket ---

    def connection_made(self, transport: Transport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._secure = transport.get_extra_info("ssl_object") is not None
        server = self._server
        server.connections.add(self)
        self._expect(server.patience.header_s)
        above = len(server.connections) - server.max_connections
        if not server.draining and above <= 0:
            self._task = server.group.create_task(self._serve(), name="connection")
            return
        self._ended = True
        if above > REFUSED_CONNECTIONS:
            self.abort()
            return
        problem = ResourceExhausted(f"{server.max_connections} connections are open; try again")
        why = ServerStopping() if server.draining else problem
        self._write(self._format_whole(server.application.refuse(why), CLOSE))
        self._end()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._behind is not None:
            self._hold_behind(data)
            return
        size_bytes = len(data)
        if size_bytes > RAW_HEAD_BYTES and self._body is None:
            # No head is as long. Of what is none, no more is taken in than it takes to see that.
            self.data_received(data[:RAW_HEAD_BYTES])
            self.data_received(data[RAW_HEAD_BYTES:])
            return
        was_in_head = self._in_head
        self._raw_bytes += size_bytes
        self._chunk_bytes = size_bytes
        self._head_bytes += size_bytes
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError:
            raise  # a bug of ours
        except httptools.HttpParserError as error:
            self._refuse(InvalidArgument(_explain(error)))
            return
        if self._raw_bytes > RAW_HEAD_BYTES:
            self._refuse(InvalidArgument(f"{RAW_HEAD_BYTES} bytes of HTTP that say too little"))
        elif self._body is not None:
            self._await_body()
        elif self._in_head and not was_in_head and self._current is None and not self._queue:
            self._expect(self._server.patience.header_s)
        if self._current is None and self._queue:
            self._answer_next()
        if len(self._queue) > PIPELINE and not self._held:
            self._held = True
            self.pause_reading()

    def _parse(self, data: bytes) -> None:
        while True:
            parser = self._parser
            if parser is None:
                parser = self._parser = httptools.HttpRequestParser(self)
            try:
                parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                self._parser = None
                data = data[upgrade.args[0] :]
            if self._behind is not None:  # the application decides how to read it
                self._hold_behind(data)
                return
            if self._skipped_body:
                # An upgrade that comes with a body is not taken up (RFC 9110, 7.8): what follows is
                # the body, which the parser has passed over, and then the next request.
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % self._skipped_body)
                self._skipped_body = b""

    def _hold_behind(self, data: bytes) -> None:
        assert self._behind is not None
        was_bytes = len(self._behind)
        self._behind += data
        if was_bytes <= HIGH_WATER_BYTES < len(self._behind):
            self.pause_reading()

    def _read_behind(self) -> None:
        """The upgrade was not taken up: what came behind it is HTTP after all."""
        behind, self._behind = self._behind, None
        assert behind is not None
        if len(behind) > HIGH_WATER_BYTES:
            self.resume_reading()
        if behind:
            self.data_received(behind)

    def eof_received(self) -> None:
        """A caller that stops sending has hung up."""
        if self._current is not None or self._queue:
            self._give_up()
        self._close()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._server.forget(self)
        if self._body is not None:
            self._body.fail(PeerLost())
        self._give_up()

    def pause_writing(self) -> None:
        self._drained = self._server.loop.create_future()
        self._await_reader()

    def resume_writing(self) -> None:
        if self._drained is not None:
            if not self._drained.done():  # cancelled with the task that waits for it
                self._drained.set_result(None)
            self._drained = None
            if not self._ended:
                self._await_body()

    # Two may want the flow stopped: a body that is not read, and a full queue.

    def pause_reading(self) -> None:
        self._read_paused += 1
        if self._read_paused == 1:
            self._transport.pause_reading()
            self._await_body()

    def resume_reading(self) -> None:
        self._read_paused -= 1
        if not self._read_paused and not self._transport.is_closing():
            self._transport.resume_reading()
            self._await_body()

    # --- the parser ---

    def on_message_begin(self) -> None:
        self._in_head = True
        self._target = b""
        self._headers = []
        self._fields = {}

    def on_url(self, piece: bytes) -> None:
        self._target = self._target + piece if self._target else piece

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        value = value.strip(b" \t")  # the parser leaves what is behind it (RFC 9110, 5.5)
        self._headers.append((lower, value))
        self._fields[lower] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._body is not None:
            return  # the head that announces a skipped body
        self._raw_bytes = 0
        parser = self._parser
        assert parser is not None
        headers, fields = self._headers, self._fields
        self._headers, self._fields = [], {}  # trailers are no headers
        # The parser took digits only, one header of them, and not together with an encoding.
        declared_bytes: int | None = 0
        if b"content-length" in fields:
            declared_bytes = int(fields[b"content-length"])
        elif b"transfer-encoding" in fields:
            declared_bytes = None
        keep_alive = parser.should_keep_alive()
        # Without a word about it, it is HTTP/1.1 alone whose connections stay.
        said = b"connection" in fields or b"proxy-connection" in fields
        version = "1.1" if keep_alive and not said else parser.get_http_version()
        waits = b"expect" in fields and version == "1.1"
        self._body = body = Body(self, declared_bytes, self._go_on if waits else None)
        request = Request(
            method=parser.get_method(),
            target=self._target,
            headers=headers,
            fields=fields,
            body=body,
            keep_alive=keep_alive,
            peer=self._peer,
            old=version == "1.0",
            secure=self._secure,
        )
        header_bytes = 0  # what it is, is of interest only where it may be too much
        if self._head_bytes > HEADER_BYTES:
            header_bytes = sum(len(name) + len(value) for name, value in headers)
        request.problem = find_problem(request, version, header_bytes)
        if (b"upgrade" in fields or declared_bytes != 0) and parser.should_upgrade():
            self._offer_upgrade(request)
        self._queue.append(request)

    def _offer_upgrade(self, request: Request) -> None:
        """The parser stops behind this request. Another protocol may follow, but only at once."""
        declared_bytes = request.body.declared_bytes
        if declared_bytes is None:
            self._skipped_body = b"Transfer-Encoding: chunked\r\n"
        elif declared_bytes:
            self._skipped_body = b"Content-Length: %d\r\n" % declared_bytes
        elif not request.old and request.problem is None:
            request.upgrade = find_upgrade(request)
            if request.upgrade is not None:
                self._behind = b""

    def on_body(self, piece: bytes) -> None:
        body = self._body
        assert body is not None
        body.feed(piece)
        raw_bytes = self._raw_bytes - RAW_BYTES_PER_BYTE * len(piece)
        self._raw_bytes = raw_bytes if raw_bytes > 0 else 0

    def on_message_complete(self) -> None:
        if self._skipped_body:
            return
        body = self._body
        assert body is not None
        body.end()
        self._body = None
        self._raw_bytes = 0
        self._head_bytes = self._chunk_bytes  # some of it may be the next head
        self.deadline = math.inf  # from here on the answer's own deadlines count

    # --- requests, in order ---

    def _refuse(self, problem: FunctionComputeError) -> None:
        """Answer what cannot be understood, after what was understood before it; then end."""
        self._ended = True
        if self._body is not None:
            self._body.fail(problem)  # who reads it answers
            if self._current is None:
                self._answer_next()
            return
        body = Body(self, 0)
        body.end()
        self._queue.append(
            Request(
                method=b"", target=b"", headers=[], fields={}, body=body, keep_alive=False,
                peer=self._peer, problem=problem,
            )
        )  # fmt: skip
        if self._current is None:
            self._answer_next()

    def _answer_next(self) -> None:
        """Have the next request answered; without one, wait for it or say goodbye."""
        if not self._queue:
            if self._ended or self._server.draining:
                self._end()
            else:
                patience = self._server.patience
                self._expect(patience.header_s if self._in_head else patience.keep_alive_s)
            return
        request = self._current = self._queue.pop(0)
        if self._held and len(self._queue) < PIPELINE // 2:
            self._held = False
            self.resume_reading()
        application = self._server.application
        answer = self._answer = Answer(self, request)
        rest: Rest | None
        if request.problem is None:
            rest = application.handle(request, answer)
        else:
            request.keep_alive = False
            rest = answer.send(application.refuse(request.problem))
        if rest is not None:
            self.resume(rest)

    def entrust(self, call: Underway) -> None:
        """Let somebody answer the current request; see `web.message.Reply`."""
        self._underway = call

    def resume(self, rest: Rest) -> None:
        """Have the task do what is left of the current request; see `web.message.Reply`."""
        assert self._rest is None
        self._rest = rest
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _serve(self) -> None:
        """Do what has to be waited for, request by request."""
        try:
            while not self._leaving:
                if self._rest is None:
                    self._woken = self._server.loop.create_future()
                    await self._woken
                rest, self._rest = self._rest, None
                assert rest is not None
                self._underway = None  # from here on, whoever gives up cancels the task
                try:
                    await rest
                except (PeerLost, ReaderStalled):
                    self.abort()  # an answer that lacks its end must not look whole
                    return
                self._answered()
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            log.exception("a connection failed")
            self._transport.abort()

    def _answered(self) -> None:
        """The current request has its answer: on to the next one, if there may be one."""
        request = self._current
        assert request is not None
        assert self._answer is not None
        assert self._answer.started, "a request is answered"
        if self._tunnel is not None:
            self._end()
            return
        if request.upgrade is not None:
            self._read_behind()
        self._current = None
        if not request.body.spent:
            request.body.discard()
            if not request.body.complete:
                self._ended = True
                request.keep_alive = False
        if request.keep_alive and not self._server.draining:
            self._answer_next()
        else:
            self._end()

    def _give_up(self) -> None:
        """The caller is gone: whoever works for it stops."""
        if self._rest is not None:
            self._rest.close()  # it has not begun
            self._rest = None
        if self._underway is not None:
            underway, self._underway = self._underway, None
            underway.abandon()
        if self._task is not None:
            self._task.cancel()

    def send_now(self, request: Request, response: Response) -> None:
        """Write a response that is whole; see `web.message.Reply`."""
        self._underway = None
        if self._server.draining:
            request.keep_alive = False
        whole = self._format_whole(response, _ending(request), request.method)
        if request.keep_alive and self._drained is None and not self._queue:
            self.send_soon(whole)
            self._answered()
            return
        self._write(whole)
        if self._drained is None:
            self._answered()
        else:
            self.resume(self._wait_drained())

    async def _wait_drained(self) -> None:
        if self._drained is not None:
            await self._drained

    async def send(self, request: Request, response: Response) -> None:
        """Write the response to a request; `Answer` sees to it that there is one."""
        if not request.body.complete or self._server.draining:
            request.keep_alive = False
        body = response.body
        if isinstance(body, bytes):
            self._write(self._format_whole(response, _ending(request), request.method))
            await self._wait_drained()
            return
        framing = _framing(response, request.method, old=request.old)
        bodiless = request.method == b"HEAD" or response.status in NO_BODY
        if not framing and not bodiless:
            request.keep_alive = False  # the body ends with the connection
        write = self._write
        write(self._format(response, framing + _ending(request)))
        if bodiless:
            async for _ in body:  # an instance whose result is left in it would be of no more use
                pass
            return
        chunked = framing == CHUNKED
        async for piece in body:
            if piece:
                write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if self._drained is not None:
                    await self._drained
        if chunked:
            write(b"0\r\n\r\n")

    def inform(self, request: Request, response: Response) -> None:
        """Write an interim response; see `web.message.Reply`."""
        if not request.old:
            self._write(self._format(response, b"\r\n"))

    async def upgrade(self, protocol: bytes, response: Response) -> End:
        """Send a 101 and stop speaking HTTP; see `web.message.Reply`."""
        assert response.status == 101
        assert self._behind is not None, "only who asked for another protocol gets it"
        await self._wait_drained()
        ending = b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % _one_line(protocol)
        self._write(self._format(response, ending))
        if not self._read_paused and not self._transport.is_closing():
            self.pause_reading()
        self._tunnel = End(self._transport, self._behind, self._leave)
        self._behind = b""
        self._parser = None
        self.deadline = math.inf
        return self._tunnel

    def _leave(self) -> None:
        self._ended = True
        self._server.forget(self)

    def _write(self, data: bytes) -> None:
        self.flush()
        self._transport.write(data)

    def flush(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, b""
            if not self._transport.is_closing():
                self._transport.write(pending)

    def _format_whole(self, response: Response, ending: bytes, method: bytes = b"") -> bytes:
        body = response.body
        assert isinstance(body, bytes)
        framing = _framing(response, method)
        if method == b"HEAD" or response.status in NO_BODY:
            body = b""
        return self._format(response, framing + ending, body)

    def _format(self, response: Response, ending: bytes, body: bytes = b"") -> bytes:
        status = STATUS_LINES.get(response.status) or b"HTTP/1.1 %d \r\n" % response.status
        pieces = [status, response.head]
        for name, value in response.headers:
            pieces.append(b"%b: %b\r\n" % (_one_line(name), _one_line(value)))
        pieces.append(self._server.date)
        pieces.append(ending)
        pieces.append(body)
        return b"".join(pieces)

    def _go_on(self) -> None:
        self._write(GO_ON)
        self._await_body()

    def _end(self) -> None:
        """Say goodbye; to a client that is still sending, in a way that it can notice.

        Closing with unread bytes would reset the connection and take the answer with it.
        """
        self._leaving = True
        if self._transport.is_closing():
            return
        self.flush()
        self._current = None
        self._queue.clear()
        if self._server.draining or not self._ended or not self._transport.can_write_eof():
            self._close()  # TLS has no half of an end, and waits for the client's by itself
            return
        self._transport.write_eof()
        if self._read_paused:
            self._transport.resume_reading()
        self._unsent_bytes = 0
        self._expect(LINGER_S)

    def _close(self) -> None:
        self._ended = True
        self.flush()
        self._transport.close()
        self._await_reader()

    # --- time ---

    def _expect(self, within_s: float) -> None:
        self.deadline = self._server.loop.time() + within_s

    def _await_body(self) -> None:
        """The client owes the rest of a body, unless it is us whom it waits for."""
        if self._drained is not None:
            return
        if self._body is None or self._read_paused or self._body.held_back:
            self.deadline = math.inf
        else:
            self._expect(self._server.patience.body_stall_s)

    def _await_reader(self) -> None:
        """The client has to read something, if not all, of what is not sent yet."""
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._taken_bytes = taken_bytes(self._transport) if self._unsent_bytes else 0
        self._expect(self._server.patience.body_stall_s)

    def _is_reading(self) -> bool:
        """Whether the client has read something since `_await_reader`."""
        if self._transport.get_write_buffer_size() < self._unsent_bytes:
            return True
        return self._unsent_bytes > 0 and taken_bytes(self._transport) > self._taken_bytes

    def run_out(self) -> None:
        """The deadline passed: whoever is slow, it is not a function."""
        self.deadline = math.inf
        leaving = self._leaving or self._transport.is_closing()
        if leaving or self._drained is not None:
            if self._is_reading():
                self._await_reader()
            else:
                if self._drained is not None and not self._drained.done():
                    self._drained.set_exception(ReaderStalled(self._server.patience.body_stall_s))
                    self._drained.exception()  # there may be nobody who waits
                self.abort()
        elif self._body is not None:
            self._body.fail(RequestTimeout())
        elif self._current is not None or self._queue:
            pass
        elif self._in_head:
            self._refuse(RequestTimeout())
        else:
            self._close()

    def drain(self) -> None:
        if self._current is None and not self._queue:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    # --- while nothing is read ---

    @property
    def unread(self) -> bool:
        """Nothing is read from the client, so that it may be gone without a word."""
        return self._read_paused > 0 and not self._leaving and not self._transport.is_closing()

    def file_number(self) -> int:
        return file_number(self._transport)

    def signs_of_the_end(self) -> int:
        """What the system says of a client that has hung up. In a tunnel one side may end first."""
        return HUNG_UP if self._tunnel is not None else HUNG_UP | select.POLLRDHUP


def _framing(response: Response, method: bytes, *, old: bool = False) -> bytes:
    """The line that says how long the body is which a response has, or would have but for HEAD.

    Empty where there is nothing to say: the status has no body, or it ends with the connection of
    an `old` client. Source: RFC 9112, 6; RFC 9110, 8.6.
    """
    if response.status in NO_BODY:
        return b""
    length_bytes = response.length_bytes
    if isinstance(response.body, bytes) and (length_bytes is None or method != b"HEAD"):
        length_bytes = len(response.body)
    if length_bytes is not None:
        return b"Content-Length: %d\r\n" % length_bytes
    return b"" if old else CHUNKED


def _explain(error: httptools.HttpParserError) -> str:
    """Say why bytes are no request, and what to do where that is known."""
    if "PRI" in str(error) or "HTTP/2" in str(error):
        return "HTTP/2 is not supported; use HTTP/1.1"
    if isinstance(error, httptools.HttpParserInvalidURLError):
        what = "in path and query, percent-encode what is not printable ASCII"
        return f"malformed HTTP request: {error}; {what}"
    return f"malformed HTTP request: {error}"


def _ending(request: Request) -> bytes:
    """The end of a head: what becomes of the connection, where it is not what all expect."""
    if not request.keep_alive:
        return CLOSE
    return b"Connection: keep-alive\r\n\r\n" if request.old else b"\r\n"


def _date_line() -> bytes:
    return b"Date: " + formatdate(usegmt=True).encode() + b"\r\n"


def _one_line(text: bytes) -> bytes:
    # Asking for a number is far cheaper than asking for bytes.
    if LF in text or CR in text:
        return text.replace(b"\r", b" ").replace(b"\n", b" ")
    return text
