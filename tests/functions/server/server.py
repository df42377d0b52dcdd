"""Answers every request with what there was of it; `ANSWERS` has other answers for some paths."""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = json.loads(os.environ.get("ANSWERS", "{}"))
SEEN = []


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        before, line = list(SEEN), f"{self.command} {path} {len(body)}"
        SEEN.append(line)
        print("served", line, flush=True)
        other = ANSWERS.get(path, {})
        time.sleep(other.get("after_s", 0))
        content = other.get("body")
        if content is None:
            content = json.dumps(
                {
                    "method": self.command,
                    "target": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": body.decode("latin-1"),
                    "before": before,
                    "arguments": sys.argv,
                    "folder": os.getcwd(),
                    "variables": dict(os.environ),
                }
            )
        # Neither Server nor Date, unless the test wants them.
        self.send_response_only(other.get("status", 200))
        for name, value in other.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    time.sleep(float(os.environ.get("LISTENS_AFTER_S", "0")))
    port = int(os.environ.get("LISTENS_ON") or os.environ["FC_SERVER_PORT"])
    Server((os.environ.get("LISTENS_AT", "0.0.0.0"), port), Handler).serve_forever()
