"""Services, and functions in them, on a real server: plain HTTP, signed in one of two schemes."""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from older import sign_older
from support import KEY, ServerProcess, zip_base64

from anyfc.identity.signature import format_date, sign

METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]


class ServiceApi:
    """The API before 3.0 in one version, called by somebody who signs in one scheme."""

    def __init__(self, server: ServerProcess, version: str, scheme: str) -> None:
        self.server = server
        self.version = version
        self.scheme = scheme
        self.http = httpx.Client(base_url=server.endpoint, timeout=30.0, trust_env=False)

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send a body: bytes as they are, everything else as JSON; `path` is below the version."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        target = f"/{self.version}{path}"
        given = {"content-type": "application/json", **(headers or {})}
        return self.http.request(
            method, target, content=content, headers=self.sign(method, target, given, content)
        )

    def sign(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """Return headers with those that sign a request."""
        now = time.time()
        if self.scheme == "FC":
            return sign_older(method, target, headers, key=KEY, now=now)
        signed = {
            **headers,
            "host": f"127.0.0.1:{self.server.port}",
            "x-acs-date": format_date(now),
            "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        }
        value = sign(
            method.encode(),
            target.encode(),
            [(name.encode(), text.encode()) for name, text in signed.items()],
            access_key_id=KEY[0],
            access_key_secret=KEY[1],
        )
        return signed | {"authorization": value.decode()}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send, and expect that it works."""
        answer = self.send(method, path, body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    @contextmanager
    def service(self, name: str, **settings: Any) -> Iterator[str]:
        """A service for the time of a block; yields the path below it."""
        self.ask("POST", "/services", {"serviceName": name, **settings})
        yield f"/services/{name}"
        self.ask("DELETE", f"/services/{name}")

    @contextmanager
    def function(
        self, service: str, name: str, files: Mapping[str, str | bytes], **settings: Any
    ) -> Iterator[str]:
        """A function with an HTTP trigger for all; yields the host of the trigger."""
        usual = {"runtime": "python3.10", "handler": "index.handler", "timeout": 20}
        body = {**usual, **settings, "functionName": name, "code": {"zipFile": zip_base64(files)}}
        at = f"/services/{service}/functions"
        self.ask("POST", at, body)
        config = {"methods": METHODS, "authType": "anonymous"}
        trigger = {"triggerName": "http", "triggerType": "http", "triggerConfig": config}
        shown = self.ask("POST", f"{at}/{name}/triggers", trigger)
        yield shown["urlInternet"].removeprefix("http://")
        self.ask("DELETE", f"{at}/{name}/triggers/http")
        self.ask("DELETE", f"{at}/{name}")


def installed(*names: str) -> dict[str, str | bytes]:
    """The files of installed packages, as `pip install -t .` puts them into a folder."""
    return {
        str(file): Path(str(file.locate())).read_bytes()
        for name in names
        for file in importlib.metadata.files(name) or ()
        if file.suffix in (".py", ".so")
        and not str(file).startswith("..")
        and not {"tests", "testing"} & set(file.parts)
    }
