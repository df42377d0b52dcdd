"""Starts anyfc, deploys to it with the official SDK, and signs requests as the SDK does."""

import base64
import hashlib
import json
import secrets
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alibabacloud_fc20230330.client import Client
from alibabacloud_fc20230330.models import (
    CreateFunctionInput,
    CreateFunctionRequest,
    CreateTriggerInput,
    CreateTriggerRequest,
    CustomRuntimeConfig,
    InputCodeLocation,
)
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_openapi.utils import Utils
from alibabacloud_tea_openapi.utils_models import OpenApiRequest, Params
from darabonba.request import DaraRequest
from darabonba.runtime import RuntimeOptions
from Tea.exceptions import TeaException

from bench.client import EVENT, Request, Subject
from bench.package import HANDLER, make_package
from bench.process import Missing, free_port, open_process, wait_ready

ALGORITHM = "ACS3-HMAC-SHA256"
RUNTIME = "python3.10"
CUSTOM = "custom.debian12"
PORT = 9000
CONCURRENCY = 200  # the most that there is
TIMEOUT_S = 600  # of a WebSocket too
VERSION_2 = "2021-04-06"
HTTP_TRIGGER = {
    "triggerName": "http",
    "triggerType": "http",
    "triggerConfig": json.dumps({"authType": "anonymous", "methods": ["GET"]}),
}
KEY_ID = "bench"


class Server:
    """A running anyfc: makes functions, and the requests that call them."""

    def __init__(self, port: int, pid: int, key_secret: str) -> None:
        self.pid = pid
        self._port = port
        self._key_secret = key_secret
        self._client = Client(
            Config(
                access_key_id=KEY_ID,
                access_key_secret=key_secret,
                endpoint=f"127.0.0.1:{port}",
                protocol="http",
                region_id="cn-hangzhou",
            )
        )

    def deploy(self, name: str, *, own_code: bool = False) -> Subject:
        """Make a function of the handler that all run; with `own_code` its package is unique.

        Raises Missing.
        """
        package = make_package(HANDLER, name=name if own_code else "")
        self._create(name, package, runtime=RUNTIME, handler="index.handler")
        return Subject(lambda: self._invocation(name), self.pid)

    def deploy_web(self, name: str, program: Path) -> Subject:
        """Make a function of a server, one instance of which is enough. Raises Missing."""
        command = [str(Path(sys.executable).resolve()), program.name, "0.0.0.0", str(PORT)]
        self._create(
            name,
            make_package(program),
            runtime=CUSTOM,
            handler="-",  # required, and of no use here
            custom_runtime_config=CustomRuntimeConfig(command=command, port=PORT),
            instance_concurrency=CONCURRENCY,
            cpu=2.0,
            memory_size=2048,
            disk_size=512,
            timeout=TIMEOUT_S,
        )
        return self._add_trigger(name)

    def deploy_event(self, name: str, program: Path, *, handler: str) -> Subject:
        """Make a function whose handler gets HTTP as events. Raises Missing."""
        self._create(
            name, make_package(program), runtime=RUNTIME, handler=handler, timeout=TIMEOUT_S
        )
        return self._add_trigger(name)

    def deploy_wsgi(self, name: str, program: Path, *, handler: str) -> Subject:
        """Make a function of the FC 2.0 API, whose handler is called the WSGI way.

        Raises Missing.
        """
        functions = f"/services/{name}/functions"
        function = {
            "functionName": name,
            "runtime": RUNTIME,
            "handler": handler,
            "code": {"zipFile": base64.b64encode(make_package(program)).decode()},
            "timeout": TIMEOUT_S,
        }
        self._ask_2("CreateService", "/services", {"serviceName": name})
        self._ask_2("CreateFunction", functions, function)
        trigger = self._ask_2("CreateTrigger", f"{functions}/{name}/triggers", HTTP_TRIGGER)
        return self._called_by_http(trigger["urlInternet"])

    def _create(self, name: str, package: bytes, **settings: Any) -> None:
        code = InputCodeLocation(zip_file=base64.b64encode(package).decode())
        function = CreateFunctionInput(function_name=name, code=code, **settings)
        with refusals("CreateFunction"):
            self._client.create_function(CreateFunctionRequest(body=function))

    def _add_trigger(self, name: str) -> Subject:
        request = CreateTriggerRequest(body=CreateTriggerInput().from_map(HTTP_TRIGGER))
        with refusals("CreateTrigger"):
            trigger = self._client.create_trigger(name, request).body
        return self._called_by_http(trigger.http_trigger.url_internet)

    def _ask_2(self, action: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for an operation of the FC 2.0 API. Its official client sends the same."""
        params = Params(
            action=action,
            version=VERSION_2,
            protocol="HTTP",
            pathname=f"/{VERSION_2}{path}",
            method="POST",
            auth_type="AK",
            style="ROA",
            req_body_type="json",
            body_type="json",
        )
        with refusals(f"{action} of FC 2.0"):
            answer = self._client.call_api(params, OpenApiRequest(body=body), RuntimeOptions())
        return dict(answer["body"])

    def _called_by_http(self, url: str) -> Subject:
        """Call a trigger as browsers do: its address decides, and this machine is behind it."""
        headers = {"Host": urlsplit(url).netloc}
        return Subject(
            lambda: Request(method="GET", port=self._port, path="/", headers=headers), self.pid
        )

    def _invocation(self, name: str) -> Request:
        """A signed InvokeFunction with the headers of the SDK, made out by the SDK's signer."""
        digest = hashlib.sha256(EVENT).hexdigest()
        request = DaraRequest()
        request.method = "POST"
        request.pathname = f"/2023-03-30/functions/{name}/invocations"
        request.headers = {
            "host": f"127.0.0.1:{self._port}",
            "accept": "application/json",
            "content-type": "application/octet-stream",
            "user-agent": "anyfc-bench",
            "x-acs-action": "InvokeFunction",
            "x-acs-content-sha256": digest,
            "x-acs-credentials-provider": "static_ak",
            "x-acs-date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": uuid.uuid4().hex,
            "x-acs-version": "2023-03-30",
        }
        authorization = Utils.get_authorization(
            request, ALGORITHM, digest, KEY_ID, self._key_secret
        )
        del request.headers["host"]  # what sends the request sets it
        headers = {**request.headers, "authorization": authorization}
        return Request(port=self._port, path=request.pathname, body=EVENT, headers=headers)


@contextmanager
def refusals(action: str) -> Iterator[None]:
    """Raise Missing for what the server refuses."""
    try:
        yield
    except TeaException as error:
        why = str(error.message).partition(" request id:")[0]
        raise Missing(f"{action} failed: {error.code}, {why}") from error


@contextmanager
def open_anyfc(python: Path, isolation: str) -> Iterator[Server]:
    """Run a server with an empty data directory until it can serve. Raises Missing."""
    port = free_port()
    key_secret = secrets.token_hex(16)
    keys = {"ANYFC_ACCESS_KEY_ID": KEY_ID, "ANYFC_ACCESS_KEY_SECRET": key_secret}
    with tempfile.TemporaryDirectory(prefix="anyfc-bench-") as folder:
        output = Path(folder) / "stdout"
        argv: list[str | Path] = [python, "-m", "anyfc", "serve", "--port", str(port)]
        argv += ["--isolation", isolation, "--data-dir", Path(folder) / "data"]
        with output.open("wb") as stdout, open_process(argv, env=keys, stdout=stdout) as process:
            wait_ready(process, lambda: b"ready " in output.read_bytes())
            yield Server(port, process.pid, key_secret)
