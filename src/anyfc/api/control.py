"""The control API's own server: uvicorn on a UNIX socket, one more upstream of the gateway."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from anyfc.web.upstream import Upstream, over_unix_socket

# The path of a UNIX socket is at most 108 bytes long, with the zero at its end.
SOCKET_PATH_BYTES = 100


class _Control(uvicorn.Server):
    """uvicorn without a say in the process's signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def open_control(app: ASGIApp, folder: Path) -> AsyncIterator[Upstream]:
    """Serve the control API on a UNIX socket in `folder` that only this user can reach."""
    with tempfile.TemporaryDirectory(dir=_short(folder), prefix="api-") as own:
        path = f"{own}/socket"
        # Listening before anything serves: a request that comes early waits, and nobody polls.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(1024)
            server = _Control(
                uvicorn.Config(
                    app,
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    ws="none",
                    timeout_graceful_shutdown=5,
                )
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listener]), name="control API")
                control = over_unix_socket(path)
                try:
                    yield control
                finally:
                    control.close()
                    server.should_exit = True


def _short(folder: Path) -> Path | None:
    """A folder for a socket: the given one, or the system's if its path would be too long."""
    return folder if len(os.fsencode(folder)) < SOCKET_PATH_BYTES - 24 else None
