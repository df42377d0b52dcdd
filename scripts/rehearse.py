"""Calls through a server, for a compiler that counts which way most of them go.

`hatch_build.py` runs this on modules that count; it ends with 0 when every answer was right. The
server is a real one, in a temporary folder, on this machine's own address, without isolation.
"""

import argparse
import asyncio
import base64
import io
import os
import socket
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

from anyfc.cli.background import KEY, running_server
from anyfc.client import Client
from anyfc.identity.signature import format_date, sign

CONNECTIONS = 8
LARGE_BYTES = 300 * 1024
INVOCATIONS = "/2023-03-30/functions/event/invocations"

SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""
HANDLER = """
def handler(event, context):
    return event
"""

# What is asked of a server: the request as it is sent, and the body that is to come back.
Asking = tuple[bytes, bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=4000, help="how many of each kind")
    calls = parser.parse_args().calls
    key = ("rehearsal", token_hex())
    os.environ.update(zip(KEY, key, strict=True))  # which the server takes in place of its own
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        with running_server(data_dir, "--isolation", "none", "--log-level", "warning") as server:
            with Client(server.endpoint, access_key_id=key[0], access_key_secret=key[1]) as client:
                host = deploy(client)
            for make in (
                lambda: web_call(host, b"GET", b""),
                lambda: web_call(host, b"POST", b'{"a": 1}'),
                lambda: event_call(server.endpoint, key, b'{"a": 1}'),
            ):
                asyncio.run(call(server.endpoint, make, calls))
            large = web_call(host, b"POST", bytes(LARGE_BYTES))
            asyncio.run(call(server.endpoint, lambda: large, max(calls // 50, 1)))


def deploy(client: Client) -> str:
    """Create a web function and one for events; return the host of the first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client.create_function(
        {
            "functionName": "web",
            "runtime": "custom",
            "handler": "-",
            "instanceConcurrency": 100,
            "code": {"zipFile": package("server.py", SERVER)},
            "customRuntimeConfig": {
                "command": [sys.executable, "server.py", str(port)],
                "port": port,
            },
        }
    )
    client.create_function(
        {
            "functionName": "event",
            "runtime": "python3.12",
            "handler": "index.handler",
            "code": {"zipFile": package("index.py", HANDLER)},
        }
    )
    trigger = client.create_trigger(
        "web",
        {
            "triggerName": "http",
            "triggerType": "http",
            "triggerConfig": '{"authType": "anonymous", "methods": ["GET", "POST"]}',
        },
    )
    return urlsplit(trigger["httpTrigger"]["urlInternet"]).netloc


def package(name: str, text: str) -> str:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, text)
    return base64.b64encode(packed.getvalue()).decode()


def web_call(host: str, method: bytes, body: bytes) -> Asking:
    headers = [
        (b"Host", host.encode()),
        (b"User-Agent", b"rehearsal"),
        (b"Accept", b"*/*"),
        (b"Accept-Encoding", b"gzip, deflate"),
    ]
    return request(method, "/a?b=c", headers, body), body


def event_call(endpoint: str, key: tuple[str, str], event: bytes) -> Asking:
    headers = [
        (b"host", urlsplit(endpoint).netloc.encode()),
        (b"accept", b"application/json"),
        (b"x-acs-action", b"InvokeFunction"),
        (b"x-acs-version", b"2023-03-30"),
        (b"x-acs-date", format_date(time.time()).encode()),
        (b"x-acs-content-sha256", sha256(event).hexdigest().encode()),
    ]
    signature = sign(
        b"POST", INVOCATIONS.encode(), headers, access_key_id=key[0], access_key_secret=key[1]
    )
    return request(b"POST", INVOCATIONS, [*headers, (b"authorization", signature)], event), event


def request(method: bytes, target: str, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target.encode())]
    lines += [b"%b: %b" % header for header in headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


async def call(endpoint: str, make: Callable[[], Asking], times: int) -> None:
    """Make calls on a few connections at once; raises ValueError for a wrong answer."""
    address = urlsplit(endpoint)
    left = iter(range(times))

    async def work() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for _ in left:
            sent, expected = make()
            writer.write(sent)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"http/1.1 200 ") or body != expected:
                raise ValueError(f"{head!r} {body[:200]!r}")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(work())


if __name__ == "__main__":
    main()
