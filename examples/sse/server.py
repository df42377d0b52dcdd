"""Server-sent events with the standard library: a clock that ticks until the browser leaves."""

import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"""<!doctype html>
<title>Clock</title>
<h1 id="time"></h1>
<script>
  new EventSource("ticks").onmessage = (event) => { time.textContent = event.data; };
</script>
"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/ticks"):
            self.send_ticks()
        else:
            self.send_page()

    def send_page(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def send_ticks(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                event = f"data: {datetime.now(UTC):%H:%M:%S.%f}\n\n".encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
                time.sleep(0.2)
        except ConnectionError:
            print("the browser has left", flush=True)


ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
