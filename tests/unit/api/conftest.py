"""A control API on a store of its own, and a client that states digests as the SDKs do."""

import asyncio
import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from anyfc.api.app import build_app
from anyfc.api.parts import Parts
from anyfc.instance.code import Packages
from anyfc.instance.logs import open_logs
from anyfc.model.function import Function
from anyfc.sandbox.box import Level
from anyfc.store.blobs import Blobs
from anyfc.store.catalog import Catalog
from anyfc.store.database import open_database
from anyfc.store.domains import Domains
from anyfc.store.functions import Functions
from anyfc.store.routes import Routes
from anyfc.store.services import Services
from anyfc.store.triggers import Triggers

REQUEST_ID = "1-65d71219-15d63510-fecf237c590c"
BASE = "http://127.0.0.1:9000"
FUNCTIONS = "/2023-03-30/functions"
Headers = Mapping[str, str | None]  # None: this one is not sent
NONE: Headers = {}


def zipped(text: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.py"), text)
    return data.getvalue()


@dataclass
class Api:
    """The application, what it works with, and what it told the composition root."""

    parts: Parts
    runner: asyncio.Runner
    announced: list[Function]
    aborted: list[str]
    clock: dict[str, datetime]
    zip: bytes

    def send(
        self, method: str, path: str, body: Any = None, *, headers: Headers = NONE
    ) -> httpx.Response:
        """Send a body: bytes as they are, everything else as JSON."""
        return self.runner.run(self._send(method, path, body, headers))

    def send_all(self, requests: Iterable[tuple[str, str, Any]]) -> list[httpx.Response]:
        """Send requests at the same time."""

        async def send_together() -> list[httpx.Response]:
            return await asyncio.gather(*(self._send(*request, NONE) for request in requests))

        return self.runner.run(send_together())

    async def _send(self, method: str, path: str, body: Any, headers: Headers) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        sent = {
            "x-fc-request-id": REQUEST_ID,
            "x-acs-content-sha256": hashlib.sha256(content).hexdigest(),
            **headers,
        }
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(build_app(self.parts)), base_url=BASE
        ) as client:
            return await client.request(
                method,
                path,
                content=content,
                headers={name: value for name, value in sent.items() if value is not None},
            )

    def create(self, name: str = "f", **fields: Any) -> httpx.Response:
        body = {
            "functionName": name,
            "runtime": "python3.10",
            "handler": "index.handler",
            "code": {"zipFile": base64.b64encode(self.zip).decode()},
        }
        return self.send("POST", FUNCTIONS, {**body, **fields})

    def get(self, name: str = "f") -> dict[str, Any]:
        return self.send("GET", f"{FUNCTIONS}/{name}").json()

    def update(self, name: str = "f", **fields: Any) -> httpx.Response:
        return self.send("PUT", f"{FUNCTIONS}/{name}", fields)

    def pass_time(self, *, seconds: int) -> None:
        self.clock["now"] += timedelta(seconds=seconds)


@pytest.fixture
def make_zip() -> Callable[[str], bytes]:
    return zipped


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    announced: list[Function] = []
    aborted: list[str] = []
    clock = {"now": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)}
    catalog, routes = Catalog(), Routes()
    blobs = Blobs(tmp_path / "blobs")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        database = runner.run(stack.enter_async_context(open_database(tmp_path / "anyfc.db")))
        logs = runner.run(
            stack.enter_async_context(open_logs(tmp_path / "logs", limit_bytes=2**20))
        )
        parts = Parts(
            catalog=catalog,
            routes=routes,
            functions=Functions(database, catalog),
            services=Services(database, catalog),
            triggers=Triggers(database, routes),
            domains=Domains(database, routes),
            packages=Packages(blobs, tmp_path / "code", uid=None, gid=None, limit_bytes=2**20),
            logs=logs,
            code_path=blobs.path,
            address_key=b"key",
            tls_port=lambda: 9443,
            tls_problem=lambda: "",
            level=Level.JAIL,
            own_networks=True,
            address_port=lambda: 9001,
            region="cn-test",
            account_id="123456",
            body_bytes=2**20,
            announce=announced.append,
            abort=aborted.append,
            now=lambda: clock["now"],
        )
        yield Api(parts, runner, announced, aborted, clock, zipped("def handler(e, c): return e"))
        runner.run(stack.aclose())
