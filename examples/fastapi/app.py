"""A FastAPI application; uvicorn serves it."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Order(BaseModel):
    item: str
    count: int = 1


@app.get("/")
async def index() -> dict[str, str]:
    return {"hello": "world"}


@app.post("/orders")
async def order(order: Order) -> Order:
    return order


@app.get("/countdown/{start}")
async def countdown(start: int) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(start, 0, -1):
            yield f"{number}\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(lines(), media_type="text/plain")
