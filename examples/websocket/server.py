"""A WebSocket server: everybody who is connected to this instance hears what anybody says."""

import asyncio

from websockets.asyncio.server import ServerConnection, broadcast, serve

connected: set[ServerConnection] = set()


async def talk(connection: ServerConnection) -> None:
    connected.add(connection)
    try:
        await connection.send(f"welcome; {len(connected)} here")
        async for message in connection:
            broadcast(connected, message)
    finally:
        connected.remove(connection)


async def main() -> None:
    async with serve(talk, "0.0.0.0", 9000) as server:
        await server.serve_forever()


asyncio.run(main())
