"""A WebSocket server that says everything back, and obeys a few words."""

import asyncio
import os

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def talk(connection):
    try:
        async for message in connection:
            if message == "who":
                await connection.send(os.environ["FC_INSTANCE_ID"])
            elif message == "path":
                await connection.send(connection.request.path)
            elif message == "leave":
                await connection.close(4002, "as you wish")
            elif message == "crash":
                os._exit(3)
            else:
                await connection.send(message)
    except ConnectionClosed:
        pass
    print("closed", connection.close_code, connection.close_reason, flush=True)


def refuse(connection, request):
    if request.path == "/refused":
        return connection.respond(403, "not you\n")
    return None


def agree(connection, offered):
    return "chat" if "chat" in offered else None


async def main():
    async with serve(
        talk, "0.0.0.0", 9000, process_request=refuse, select_subprotocol=agree, max_size=4 << 20
    ) as server:
        await server.serve_forever()


asyncio.run(main())
