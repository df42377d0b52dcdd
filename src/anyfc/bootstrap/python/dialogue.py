"""Our end of the instance dialogue: frames in, frames out (DIALOGUE.md, section 2)."""

import fcntl
import io
import json
import resource
import socket
import struct
import sys

KIB = 1024
PIECE_BYTES = 256 * KIB - 12
# Above what functions close by number, below what select() can watch.
CHANNEL_DESCRIPTOR = 1000

FRAME = struct.Struct(">cI")  # kind, length
REQUEST = struct.Struct(">cIQI")  # kind, length, size of the event, length of the meta
ANSWER = struct.Struct(">cIQI")  # kind, length, size of the body, peak memory

INVOKE, WSGI = b"I", b"W"
INITIALIZE, PRE_FREEZE, PRE_STOP = b"N", b"F", b"S"
HELLO, RETURNED, RAISED, DATA = b"H", b"R", b"E", b"D"

_decode = json.JSONDecoder().decode


class Channel:
    """Takes over `connection`, out of the way of user code and of its children."""

    def __init__(self, connection):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        lowest = CHANNEL_DESCRIPTOR
        if limit != resource.RLIM_INFINITY:
            lowest = min(lowest, limit - 1)
        moved = fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, lowest)
        connection.close()
        self._socket = socket.socket(fileno=moved)
        self._socket.settimeout(None)
        # One system call brings in a small request whole; large reads go past the buffer.
        self._read = io.BufferedReader(io.FileIO(moved, closefd=False), 16 * KIB).read
        self._send = self._socket.sendall

    def hello(self):
        version = json.dumps({"python": "%d.%d.%d" % sys.version_info[:3]}).encode()
        self._send(FRAME.pack(HELLO, len(version)) + version)

    def receive(self):
        """Wait for a request: its kind, its meta and the whole event. EOFError at the end."""
        kind, length, size, meta_length = REQUEST.unpack(self._exactly(REQUEST.size))
        content = self._exactly(FRAME.size + length - REQUEST.size)
        meta = _decode(content[:meta_length].decode())
        event = content[meta_length:]
        if len(event) < size:
            # BytesIO grows in place and gives its bytes away without a copy.
            whole = io.BytesIO()
            whole.write(event)
            while whole.tell() < size:
                _, length = FRAME.unpack(self._exactly(FRAME.size))
                whole.write(self._exactly(length))
            event = whole.getvalue()
        return kind, meta, event

    def _exactly(self, length):
        content = self._read(length)
        if len(content) < length:
            raise EOFError
        return content

    def answer(self, kind, body):
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if sys.platform == "darwin":
            peak_kib //= KIB  # counted in bytes there
        first = body[:PIECE_BYTES]
        self._send(ANSWER.pack(kind, 12 + len(first), len(body), peak_kib) + first)
        for start in range(PIECE_BYTES, len(body), PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            self._send(FRAME.pack(DATA, len(piece)) + piece)
