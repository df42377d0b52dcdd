"""Starts anyfc, deploys to it with the official SDK, and signs requests as the SDK does."""

import base64
import hashlib
import io
import secrets
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alibabacloud_fc20230330.client import Client
from alibabacloud_fc20230330.models import (
    CreateFunctionInput,
    CreateFunctionRequest,
    InputCodeLocation,
)
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest
from Tea.exceptions import TeaException

from bench.client import EVENT, HANDLER, Request, Subject
from bench.process import Missing, free_port, open_process, wait_ready

ALGORITHM = "ACS3-HMAC-SHA256"
RUNTIME = "python3.10"
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
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.write(HANDLER, "index.py")
            if own_code:
                archive.writestr("name.txt", name)
        function = CreateFunctionInput(
            function_name=name,
            runtime=RUNTIME,
            handler="index.handler",
            code=InputCodeLocation(zip_file=base64.b64encode(buffer.getvalue()).decode()),
        )
        try:
            self._client.create_function(CreateFunctionRequest(body=function))
        except TeaException as error:
            raise Missing(f"CreateFunction failed: {error}") from error
        return Subject(lambda: self._invocation(name), self.pid)

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
