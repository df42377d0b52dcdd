"""Answers with what was asked, through FastAPI and uvicorn."""

import os

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT"])
async def answer(path: str, request: Request) -> PlainTextResponse:
    told = request.headers["x-fc-control-path"]
    body = await request.body()
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    print("served", request.headers["x-fc-request-id"])
    return PlainTextResponse(
        f"{request.method} {target} {told} {body.decode()}",
        status_code=201,
        headers={"Function-Name": os.environ["FC_FUNCTION_NAME"]},
    )


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=9000)
