"""Answers with what was asked, through Flask."""

import os

from flask import Flask, request

app = Flask(__name__)


@app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT"])
@app.route("/<path:path>", methods=["GET", "POST", "PUT"])
def answer(path):
    told = request.headers["X-Fc-Control-Path"]
    target = request.full_path.rstrip("?")
    print("served", request.headers["X-Fc-Request-Id"])
    text = f"{request.method} {target} {told} {request.get_data(as_text=True)}"
    return text, 201, {"Function-Name": os.environ["FC_FUNCTION_NAME"]}


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=9000)
