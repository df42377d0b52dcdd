"""Events, calls by HTTP and hooks of one Flask program, as the documentation's samples have them."""

import os

from flask import Flask, request

app = Flask(__name__)


def mark(what, when):
    print(f"FC {what} {when} RequestId: " + request.headers.get("x-fc-request-id"), flush=True)


@app.route("/invoke", methods=["POST"])
def event():
    mark("Invoke", "Start")
    data = request.stream.read()
    print(str(data), flush=True)
    mark("Invoke", "End")
    return "Hello, World!", 400, [("Author", "Aliyun-FC")]


@app.route("/initialize", methods=["POST"])
def initialize():
    mark("Initialize", "Start")
    mark("Initialize", "End")
    return "OK", int(os.environ.get("INITIALIZE", "200")), []


@app.route("/pre-stop", methods=["GET"])
def pre_stop():
    mark("PreStop", "Start")
    mark("PreStop", "End")
    return "OK"


@app.route("/", defaults={"path": ""})
@app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
def call(path):
    mark("Invoke", "Start")
    data = request.stream.read()
    print("Path: " + path, flush=True)
    print("Data: " + str(data), flush=True)
    mark("Invoke", "End")
    answer = [("Function-Name", os.getenv("FC_FUNCTION_NAME")), ("Host-Name", os.uname().nodename)]
    return "Hello, World!", 200, answer


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=9000)
