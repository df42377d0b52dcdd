"""The Flask application that anyfc and gunicorn both run."""

import io
import json
import sys
from urllib.parse import urlencode

from flask import Flask

app = Flask(__name__)  # also a handler, as functions of the FC 2.0 API have them


@app.get("/")
def hello():
    return "hello world"


def handle_event(event, context):
    """The same application as functions of the FC 3.0 API get HTTP: as an event."""
    request = json.loads(event)
    http = request["requestContext"]["http"]
    environ = {
        "REQUEST_METHOD": http["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": http["path"],
        "QUERY_STRING": urlencode(request["queryParameters"]),
        "SERVER_NAME": request["requestContext"]["domainName"],
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": http["protocol"],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request["headers"].items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    result = {}

    def start_response(status, headers, exc_info=None):
        result.update(statusCode=int(status[:3]), headers=dict(headers))

    pieces = app(environ, start_response)
    result["body"] = b"".join(pieces).decode()
    pieces.close()
    return result
