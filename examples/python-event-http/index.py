"""An event handler behind an HTTP trigger: the request is an event, the result is the response."""

import base64
import json


def handler(event, context):
    request = json.loads(event)
    body = request.get("body", "")
    if request["isBase64Encoded"]:
        body = base64.b64decode(body).decode(errors="replace")
    path, query = request["rawPath"], request["queryParameters"]
    if path != "/hello":
        return {"statusCode": 404, "body": f"there is nothing at {path}\n"}
    name = query.get("name") or body or "world"
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "text/plain; charset=utf-8"},
        "body": f"Hello, {name}!\n",
    }
