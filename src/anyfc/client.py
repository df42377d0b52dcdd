"""The public API as Python calls: signed requests out, JSON, bytes or an ApiError back.

Functions travel as the JSON objects of the API, because that is what the API's documentation
describes and what scripts want to see. One module because it is one API, and one class to call it.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from anyfc import __version__
from anyfc.identity.signature import format_date, sign

API_VERSION = "2023-03-30"
LONGEST_RUN_S = 86400.0

_CONNECT_S = 5.0
_ANSWER_S = 300.0  # unpacking the largest code package takes minutes on a slow disk
_PIECE_BYTES = 256 * 1024
_AROUND = 30  # characters
_HOST = re.compile(rb"[\w.-]+|[0-9A-Fa-f:.]+")

Json = dict[str, Any]
Progress = Callable[[int, int], None]


class ApiError(Exception):
    """The API refused a request, or did not answer: then `status` is 0.

    Codes of the second kind: `InvalidEndpoint`, `InvalidText`, `ConnectFailed`, `ConnectionLost`,
    `TimedOut`.
    """

    def __init__(self, code: str, message: str, *, status: int = 0, request_id: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of an invocation; `error_type` is empty when the function succeeded."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    error_type: str
    log_tail: bytes
    request_id: str
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of a function's log; `time` is Unix time in seconds."""

    time: float
    request_id: str
    instance_id: str
    message: str


class Client:
    """A connection to one server as one access key; use it in a `with` block.

    `endpoint` is `http://HOST:PORT`. `transport` stands in for the network.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        access_key_id: str,
        access_key_secret: str,
        security_token: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._access_key_id = access_key_id
        self._access_key_secret = access_key_secret
        self._security_token = security_token
        url = check_endpoint(endpoint)
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            transport=transport,
            # A proxy for the way out of this machine cannot lead back to it.
            trust_env=url.host not in ("localhost", "127.0.0.1", "::1"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def create_function(self, settings: Json, *, progress: Progress | None = None) -> Json:
        """Create a function. `progress` is told the bytes sent, and how many there are."""
        return self._json("POST", _path("functions"), settings, progress=progress)

    def update_function(
        self, name: str, settings: Json, *, progress: Progress | None = None
    ) -> Json:
        """Change the settings that are given; all others stay as they are."""
        return self._json("PUT", _path("functions", name), settings, progress=progress)

    def get_function(self, name: str, *, qualifier: str = "") -> Json:
        return self._json("GET", _path("functions", name), query=_given(qualifier=qualifier))

    def delete_function(self, name: str) -> None:
        self._send("DELETE", _path("functions", name))

    def list_functions(self, *, prefix: str = "", page: int = 100) -> Iterator[Json]:
        """Yield every function in the order of names, asking for `page` of them at a time."""
        return self._list(_path("functions"), "functions", prefix, page)

    def get_function_code(self, name: str, *, qualifier: str = "") -> Json:
        """Return `url`, where the code can be fetched without a signature, and `checksum`."""
        query = _given(qualifier=qualifier)
        return self._json("GET", _path("functions", name, "code"), query=query)

    def disable_invocation(
        self, name: str, *, reason: str = "", abort_running: bool = False
    ) -> None:
        settings = {"reason": reason, "abortOngoingRequest": abort_running}
        self._json("POST", _path("functions", name, "invoke", "disable"), settings)

    def enable_invocation(self, name: str) -> None:
        self._json("POST", _path("functions", name, "invoke", "enable"))

    def create_trigger(self, function: str, settings: Json) -> Json:
        """Create a trigger; of an HTTP trigger, `httpTrigger.urlInternet` is the address."""
        return self._json("POST", _path("functions", function, "triggers"), settings)

    def update_trigger(self, function: str, name: str, settings: Json) -> Json:
        """Change the settings that are given; all others stay as they are."""
        return self._json("PUT", _path("functions", function, "triggers", name), settings)

    def get_trigger(self, function: str, name: str) -> Json:
        return self._json("GET", _path("functions", function, "triggers", name))

    def delete_trigger(self, function: str, name: str) -> None:
        self._send("DELETE", _path("functions", function, "triggers", name))

    def list_triggers(self, function: str, *, prefix: str = "", page: int = 100) -> Iterator[Json]:
        """Yield every trigger of a function in the order of names, `page` of them at a time."""
        return self._list(_path("functions", function, "triggers"), "triggers", prefix, page)

    def create_custom_domain(self, settings: Json) -> Json:
        return self._json("POST", _path("custom-domains"), settings)

    def update_custom_domain(self, name: str, settings: Json) -> Json:
        """Change the settings that are given; all others stay as they are."""
        return self._json("PUT", _path("custom-domains", name), settings)

    def get_custom_domain(self, name: str) -> Json:
        return self._json("GET", _path("custom-domains", name))

    def delete_custom_domain(self, name: str) -> None:
        self._send("DELETE", _path("custom-domains", name))

    def list_custom_domains(self, *, prefix: str = "", page: int = 100) -> Iterator[Json]:
        """Yield every custom domain in the order of names, `page` of them at a time."""
        return self._list(_path("custom-domains"), "customDomains", prefix, page)

    def invoke(
        self,
        name: str,
        event: bytes = b"",
        *,
        qualifier: str = "",
        want_log_tail: bool = False,
        timeout_s: float = LONGEST_RUN_S,
    ) -> Answer:
        """Run a function and wait for what it returns; its own failure is an answer too."""
        response = self._send(
            "POST",
            _path("functions", name, "invocations"),
            query=_given(qualifier=qualifier),
            body=event,
            headers={
                **({"content-type": "application/octet-stream"} if event else {}),
                "x-fc-invocation-type": "Sync",
                "x-fc-log-type": "Tail" if want_log_tail else "None",
            },
            timeout_s=timeout_s,
        )
        headers = response.headers
        return Answer(
            status=response.status_code,
            headers=dict(headers),
            body=response.content,
            error_type=headers.get("x-fc-error-type", ""),
            log_tail=base64.b64decode(headers.get("x-fc-log-result", "")),
            request_id=headers.get("x-fc-request-id", ""),
            duration_ms=float(headers.get("x-fc-invocation-duration") or 0),
        )

    def logs(
        self,
        name: str,
        *,
        request_id: str = "",
        since: float | None = None,
        follow: bool = False,
    ) -> Iterator[LogLine]:
        """Yield the log of a function, oldest line first; with `follow` go on until closed.

        `since` is Unix time in seconds.
        """
        query = _given(
            requestId=request_id,
            since="" if since is None else f"{since:.3f}",
            follow="true" if follow else "false",
        )
        request = self._request(
            "GET", _join("", "anyfc", "functions", name, "logs"), query, timeout_s=_ANSWER_S
        )
        if follow:  # a function that prints nothing is no reason to hang up
            request.extensions["timeout"]["read"] = None
        with _translated(self.endpoint):
            response = self._http.send(request, stream=True)
            try:
                if response.is_error:
                    response.read()
                    raise _error(response)
                for line in response.iter_lines():
                    if line:
                        yield _log_line(line)
            finally:
                response.close()

    def describe_server(self) -> Json:
        """Return what the server says of itself; nothing if it is too old to be asked.

        `ownNetworks`: every instance of a custom runtime has a network of its own. `tlsPort`: where
        custom domains with a certificate are served; `tlsProblem`: why that port, though it is
        needed, is not open, empty if it is.
        """
        try:
            return self._json("GET", "/anyfc/server")
        except ApiError as error:
            if error.code != "PathNotSupported":
                raise
            return {}

    def _list(self, path: str, key: str, prefix: str, page: int) -> Iterator[Json]:
        """Yield what the pages of a list have under their key."""
        token = ""
        while True:
            query = _given(prefix=prefix, limit=str(page), nextToken=token)
            answer = self._json("GET", path, query=query)
            yield from answer.get(key) or []
            token = answer.get("nextToken") or ""
            if not token:
                return

    def _json(
        self,
        method: str,
        path: str,
        settings: Json | None = None,
        *,
        query: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Json:
        body, headers = b"", {}
        if settings is not None:
            body = _encode(json.dumps(settings, ensure_ascii=False, separators=(",", ":")))
            headers["content-type"] = "application/json; charset=utf-8"
        response = self._send(
            method, path, query=query, body=body, headers=headers, progress=progress
        )
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(
                "BadAnswer",
                f"{self.endpoint} answered with something that is not a JSON object; "
                "is it an anyfc server?",
                status=response.status_code,
            )
        return answer

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _ANSWER_S,
        progress: Progress | None = None,
    ) -> httpx.Response:
        request = self._request(
            method,
            path,
            query,
            body=body,
            headers=headers,
            timeout_s=timeout_s,
            progress=progress,
        )
        with _translated(self.endpoint):
            response = self._http.send(request)
        if response.status_code >= 300:
            raise _error(response)
        return response

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        progress: Progress | None = None,
    ) -> httpx.Request:
        signed = {
            "accept": "application/json",
            "host": self._http.base_url.netloc.decode(),
            "user-agent": f"anyfc/{__version__}",
            "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-acs-date": format_date(time.time()),
            "x-acs-signature-nonce": uuid4().hex,
            "x-acs-version": API_VERSION,
            **(headers or {}),
        }
        if self._security_token:
            signed["x-acs-accesskey-id"] = self._access_key_id
            signed["x-acs-security-token"] = self._security_token
        request = self._http.build_request(
            method,
            path,
            params=query or None,
            content=_pieces(body, progress) if progress else body,
            headers={**signed, "content-length": str(len(body))},
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
        )
        request.headers["authorization"] = sign(
            method.encode(),
            request.url.raw_path,
            [(name.encode(), value.encode()) for name, value in signed.items()],
            access_key_id=self._access_key_id,
            access_key_secret=self._access_key_secret,
        ).decode()
        return request


def check_endpoint(endpoint: str) -> httpx.URL:
    """Return the address of a server. Raises ApiError if it is none."""
    with _translated(endpoint):
        url = httpx.URL(endpoint.rstrip("/"))
    host = _HOST.fullmatch(url.raw_host)
    port = url.port if url.port is not None else 1
    beside = url.raw_path.strip(b"/") or url.userinfo or url.fragment
    if url.scheme not in ("http", "https") or not host or not 0 < port < 65536 or beside:
        raise ApiError("InvalidEndpoint", f"'{endpoint}' is not of the form http://HOST:PORT")
    return url


def _path(*parts: str) -> str:
    return _join("", API_VERSION, *parts)


def _join(*parts: str) -> str:
    return "/".join([quote(_encode(part), "") for part in parts])


def _given(**query: str) -> dict[str, str]:
    return {name: value for name, value in query.items() if _encode(value)}


def _encode(text: str) -> bytes:
    """Raises ApiError for what came from a shell as other bytes than UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - _AROUND) : error.end + _AROUND]
        shown = around.encode("utf-8", "backslashreplace").decode()
        raise ApiError("InvalidText", f"not UTF-8: '{shown}'") from error


def _pieces(body: bytes, progress: Progress) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        piece = body[start : start + _PIECE_BYTES]
        yield piece
        progress(start + len(piece), len(body))


def _log_line(text: str) -> LogLine:
    line = json.loads(text)
    return LogLine(
        time=line["time"],
        request_id=line["requestId"],
        instance_id=line["instanceId"],
        message=line["message"],
    )


def _error(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    return ApiError(
        str(body.get("Code") or body.get("ErrorCode") or "BadAnswer"),
        str(
            body.get("Message")
            or body.get("ErrorMessage")
            or f"HTTP status {response.status_code} without an explanation; is it an anyfc server?"
        ),
        status=response.status_code,
        request_id=str(body.get("RequestId") or response.headers.get("x-fc-request-id", "")),
    )


@contextmanager
def _translated(endpoint: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ApiError("ConnectFailed", f"cannot connect to {endpoint}: {error}") from error
    except httpx.TimeoutException as error:
        raise ApiError("TimedOut", f"{endpoint} did not answer in time") from error
    except httpx.HTTPError as error:
        raise ApiError("ConnectionLost", f"lost the connection to {endpoint}: {error}") from error
    except httpx.InvalidURL as error:
        raise ApiError("InvalidEndpoint", f"'{endpoint}' is not a URL: {error}") from error
