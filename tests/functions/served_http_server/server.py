"""Answers with what was asked, through Python's own http.server."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        told = self.headers.get("x-fc-control-path", "")
        text = f"{self.command} {self.path} {told} {body.decode()}".encode()
        print("served", self.headers["x-fc-request-id"])
        self.send_response(201)
        self.send_header("Function-Name", os.environ["FC_FUNCTION_NAME"])
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = answer


ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
