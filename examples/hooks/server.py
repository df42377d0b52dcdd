"""Lifecycle hooks of a custom runtime: requests to paths of their own, if they are wanted."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

state = {"ready": False, "requests": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Open what the first request should not have to wait for."""
        if self.path == "/initialize":
            state["ready"] = True
            self.answer(f"initialized for {self.headers['x-fc-request-id']}")
        else:
            self.send_error(404)

    def do_GET(self) -> None:
        if self.path == "/pre-stop":
            self.answer(f"stopping after {state['requests']} requests")
        else:
            state["requests"] += 1
            self.answer(f"ready: {state['ready']}, requests: {state['requests']}")

    def answer(self, text: str) -> None:
        print(text, flush=True)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = f"{text}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()
