"""A server that shows each request as it came, byte for byte.

What the path begins with asks for more; see `PATHS`. It speaks HTTP by hand: a library would have
an opinion on what it is sent, and on what it may answer.
"""

import hashlib
import os
import socket
import socketserver
import sys
import threading
import time
from urllib.parse import unquote_to_bytes

INSTANCE = os.environ["FC_INSTANCE_ID"]
VALUE = os.environ.get("VALUE", "")

changed = threading.Condition()
health = os.environ.get("HEALTH", "200").encode()
probes = 0
gone_on = 0  # how often /~go was asked for


class Lost(Exception):
    """The other side has closed."""


class Request:
    def __init__(self, stream):
        self.stream = stream
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                raise Lost
            self.head += line
        lines = self.head.split(b"\r\n")
        self.method, target, _ = lines[0].split(b" ")
        self.path, _, self.query = target.partition(b"?")
        self.event = None
        pairs = (line.split(b": ", 1) for line in lines[1:-2])
        self.headers = {name.lower(): value for name, value in pairs}

    def pieces(self):
        """The body, and in front of each piece the framing that it came with."""
        if self.event is not None:
            yield b"", self.event
            return
        if b"transfer-encoding" in self.headers:
            while True:
                line = self.stream.readline()
                if not line:
                    raise Lost
                size = int(line, 16)
                yield line, self.stream.read(size)
                end = self.stream.readline()
                while not size and end not in (b"\r\n", b""):  # trailers
                    yield end, b""
                    end = self.stream.readline()
                if not size:
                    return
        left = int(self.headers.get(b"content-length", 0))
        while left:
            piece = self.stream.read1(min(left, 1 << 16))
            if not piece:
                raise Lost
            left -= len(piece)
            yield b"", piece

    def body(self):
        return b"".join(piece for _, piece in self.pieces())


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        try:
            self.stays = True
            while self.stays:
                request = Request(self.rfile)
                PATHS.get(request.path, Handler.mirror)(self, request)
        except (Lost, ConnectionError):
            pass

    def answer(self, body, *lines, status=b"200 OK"):
        lines = (b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines)
        self.wfile.write(b"\r\n".join([*lines, b"", body]))

    def begin_chunks(self, kind):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.wfile.write(head % kind)

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def mirror(self, request):
        """The whole request, the framing of its body too."""
        body = b"".join(framing + piece for framing, piece in request.pieces())
        self.answer(request.head + body, b"Content-Type: message/http")

    def invoke(self, request):
        """An event may say for which path it is, and after a space the body there."""
        event = request.body()
        target, _, body = event.partition(b" ")
        path, _, query = target.partition(b"?")
        if path in PATHS:
            request.path, request.query, event = path, query, body
        request.event = event
        PATHS.get(path, Handler.mirror)(self, request)

    def who(self, request):
        """Which instance this is, and the value in its environment."""
        request.body()
        self.answer(f"{INSTANCE} {VALUE}".encode())

    def size(self, request):
        """How long the body is, and its digest."""
        digest = hashlib.sha256()
        size = 0
        for _, piece in request.pieces():
            size += len(piece)
            digest.update(piece)
        self.answer(b"%d %b" % (size, digest.hexdigest().encode()))

    def say(self, request):
        """Print the query, then answer."""
        sys.stdout.buffer.write(unquote_to_bytes(request.query) + b"\n")
        sys.stdout.buffer.flush()
        self.answer(b"said")

    def raw(self, request):
        """Answer with the bytes of the query or of the body, whatever they are."""
        self.wfile.write(unquote_to_bytes(request.query) or request.body())
        self.stays = request.path == b"/~raw-stay"

    def talk(self, request):
        """Give every piece of the body back at once, until it ends; `pieces` may give orders."""
        global health
        self.begin_chunks(b"text/plain")
        self.chunk(INSTANCE.encode())
        for _, piece in request.pieces():
            if piece.startswith(b"health "):
                with changed:
                    health = piece.split()[1]
                    seen = probes
                    # Of the second probe from here on it is certain that the first was judged.
                    changed.wait_for(lambda: probes >= seen + 2)
            if piece:
                self.chunk(piece)
        self.wfile.write(b"0\r\n\r\n")

    def check_health(self, request):
        global probes
        with changed:
            self.answer(b"", status=health + b" X")
            probes += 1
            changed.notify_all()

    def events(self, request):
        """One event at once, the second when somebody asks for /~go."""
        with changed:
            seen = gone_on
            self.begin_chunks(b"text/event-stream")
            self.chunk(b"data: first\n\n")
            changed.wait_for(lambda: gone_on > seen)
        self.chunk(b"data: last\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def go(self, request):
        global gone_on
        with changed:
            gone_on += 1
            changed.notify_all()
        self.answer(b"")

    def big(self, request):
        """As many MiB as the query says."""
        mib = int(request.query)
        piece = bytes(1 << 20)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (mib << 20))
        for _ in range(mib):
            self.wfile.write(piece)

    def never(self, request):
        """No answer; the body is not read either."""
        time.sleep(3600)

    def early(self, request):
        """Answer without having read the body; with a query, keep the connection open."""
        self.answer(b"early")
        if request.query:
            time.sleep(3600)
        self.stays = False

    def once(self, request):
        """Close the connection when a second request comes on it."""
        self.answer(INSTANCE.encode() + request.body())
        if self.rfile.peek(1):
            self.stays = False

    def endless(self, request):
        """Answer with the body, and the bytes of the query again and again."""
        self.wfile.write(request.body())
        piece = unquote_to_bytes(request.query)
        while True:
            self.wfile.write(piece)

    def die(self, request):
        """End the process: with a code, or killed."""
        if request.query == b"kill":
            os.kill(os.getpid(), 9)
        os._exit(int(request.query))

    def leave(self, request):
        """Begin an answer, and die."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        self.die(request)

    def hook(self, request):
        """Print what was asked, and call the test at the port in the environment, if there is one.

        The answer's status is in the environment too.
        """
        told = request.headers
        words = request.method, told[b"x-fc-control-path"], told[b"x-fc-request-id"]
        print("hook:", *(word.decode() for word in words), request.body(), flush=True)
        if "PORT" in os.environ:
            address = "host.anyfc.internal", int(os.environ["PORT"])
            with socket.create_connection(address) as call:
                call.sendall(request.path)
                call.recv(1)
        status = os.environ.get("HOOK_STATUS", "200")
        if status == "exit":
            os._exit(3)
        self.answer(b"", status=status.encode() + b" X")


PATHS = {
    b"/initialize": Handler.hook,
    b"/invoke": Handler.invoke,
    b"/pre-stop": Handler.hook,
    b"/~big": Handler.big,
    b"/~die": Handler.die,
    b"/~early": Handler.early,
    b"/~endless": Handler.endless,
    b"/~events": Handler.events,
    b"/~go": Handler.go,
    b"/~health": Handler.check_health,
    b"/~leave": Handler.leave,
    b"/~never": Handler.never,
    b"/~once": Handler.once,
    b"/~raw": Handler.raw,
    b"/~raw-stay": Handler.raw,
    b"/~say": Handler.say,
    b"/~size": Handler.size,
    b"/~talk": Handler.talk,
    b"/~who": Handler.who,
}


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100


if __name__ == "__main__":
    Server(("0.0.0.0", 9000), Handler).serve_forever()
