"""Runs one case: makes what is given, sends each step, and looks at what comes back."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from conformance.case import Case, Names, Step, missing
from support import KEY, ServerProcess, read_log, wait_until, zip_entries

from anyfc.identity.signature import format_date, sign

API = "/2023-03-30"
OLDER_API = "/2021-04-06"
LOG_WITHIN_S = 5.0
TRIGGER = "http"
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """One case on its way."""

    case: Case
    server: ServerProcess
    http: httpx.Client
    names: Names = field(default_factory=Names)

    @property
    def function(self) -> str:
        return self.names.values["function"]

    @property
    def functions(self) -> str:
        """The path of all functions of this kind."""
        if "service" in self.names.values:
            return f"{OLDER_API}/services/{self.names.values['service']}/functions"
        return f"{API}/functions"

    # --- what is given ---

    @contextmanager
    def opened(self) -> Iterator["Run"]:
        """Make what is given, and remove it at the end."""
        name = "case-" + self.case.name.replace("/", "-")
        self.names.values |= {
            "function": name,
            "region": "cn-hangzhou",
            "account": "123456789012345",
        }
        given = self.case.given
        with ExitStack() as undo:
            if given.get("service"):
                self.names.values["service"] = f"service-of-{name}"
                services = f"{OLDER_API}/services"
                undo.callback(self._control, "DELETE", f"{services}/service-of-{name}")
                self._make(services, {"serviceName": f"service-of-{name}"})
            # What a first step creates has gone when it is refused.
            undo.callback(self._control, "DELETE", f"{self.functions}/{name}")
            if self.case.steps[0].when["operation"] != "CreateFunction":
                self._make(self.functions, self._function(name))
            for other in given.get("others", ()):
                undo.callback(self._control, "DELETE", f"{self.functions}/{name}-{other}")
                self._make(self.functions, self._function(f"{name}-{other}"))
            if "trigger" in given:
                path = f"{self.functions}/{name}/triggers"
                undo.callback(self._control, "DELETE", f"{path}/{TRIGGER}")
                made = self._make(path, self._trigger(given["trigger"]))
                address = made.get("httpTrigger", made)["urlInternet"]
                self.names.values["trigger"] = httpx.URL(address).host
            for domain in self.names.put_in(given.get("domains", [])):
                domains = f"{API}/custom-domains"
                undo.callback(self._control, "DELETE", f"{domains}/{domain['domainName']}")
                self._make(domains, {"protocol": "HTTP", **domain})
            yield self

    def _function(self, name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        given = self.case.given
        wire = {
            "functionName": name,
            "runtime": given.get("runtime", "python3.10"),
            "handler": given.get("handler", "index.handler"),
            **self.names.put_in({**given.get("settings", {}), **(changes or {})}),
        }
        return {"code": {"zipFile": self._zip(self.case.files)}, **wire}

    def _zip(self, files: Mapping[str, str | bytes]) -> str:
        executable = self.case.given.get("executable", ())
        return zip_entries(
            (name, 0o100755 if name in executable else 0o100644, files[name]) for name in files
        )

    def _trigger(self, config: Mapping[str, Any]) -> dict[str, Any]:
        usual = {"authType": "anonymous", "methods": METHODS}
        return {
            "triggerName": TRIGGER,
            "triggerType": "http",
            "triggerConfig": json.dumps(self.names.put_in({**usual, **config})),
        }

    def _make(self, path: str, wire: Mapping[str, Any]) -> Any:
        answer = self._control("POST", path, json.dumps(wire).encode())
        assert answer.status < 300, answer.body
        return json.loads(answer.body)

    def _control(self, method: str, path: str, body: bytes = b"") -> Answer:
        return self._request(method, path, body, [], signed=True)

    # --- steps ---

    def take(self, step: Step) -> None:
        """Send what a step sends, and look at each answer."""
        at_once = step.when.get("at_once", 1)
        if at_once == 1:
            answers = [self._send(step.when)]
        else:
            with ThreadPoolExecutor(at_once) as pool:
                answers = list(pool.map(lambda _: self._send(step.when), range(at_once)))
        for answer in answers:
            self.names.values["rid"] = answer.headers["x-fc-request-id"]
            self._check(step.then, answer)

    def _send(self, when: Mapping[str, Any]) -> Answer:
        headers = [
            (name, self.names.put_in(value))
            for name, values in when.get("headers", {}).items()
            for value in (values if isinstance(values, list) else [values])
        ]
        match when["operation"]:
            case "Call":
                headers.append(("host", self.names.put_in(when.get("host", "<trigger>"))))
                target = self.names.put_in(when.get("path", "/"))
                method = when.get("method", "GET")
                body = self._bytes(when, "body")
                return self._request(method, target, body, headers, signed=when.get("signed"))
            case "InvokeFunction":
                name = self.names.put_in(when.get("function", "<function>"))
                method, target = "POST", f"{self.functions}/{name}/invocations"
                body = self._bytes(when, "event")
            case "CreateFunction":
                method, target = "POST", self.functions
                body = json.dumps(self._function(self.function, when.get("settings"))).encode()
            case "UpdateFunction":
                method, target = "PUT", f"{self.functions}/{self.function}"
                wire = self.names.put_in(dict(when.get("settings", {})))
                if "files" in when:
                    wire["code"] = {"zipFile": self._zip(when["files"])}
                body = json.dumps(wire).encode()
            case "CreateTrigger":
                method, target = "POST", f"{self.functions}/{self.function}/triggers"
                wire = {**self._trigger({}), **when.get("settings", {})}
                body = json.dumps(wire).encode()
        if query := when.get("query"):
            target += "?" + self.names.put_in(query)
        return self._request(method, target, body, headers, signed=True)

    def _bytes(self, when: Mapping[str, Any], key: str) -> bytes:
        if f"{key}_hex" in when:
            return bytes.fromhex(when[f"{key}_hex"])
        text: str = self.names.put_in(when.get(key, ""))
        return text.encode()

    def _request(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: Sequence[tuple[str, str]],
        *,
        signed: bool | str | None,
    ) -> Answer:
        """Send a request; it is signed with the server's key, or with its id and another secret."""
        lines = list(headers)
        if not any(name == "host" for name, _ in lines):
            lines.append(("host", f"127.0.0.1:{self.server.port}"))
        if signed:
            lines += [
                ("x-acs-date", format_date(time.time())),
                ("x-acs-content-sha256", hashlib.sha256(body).hexdigest()),
            ]
            value = sign(
                method.encode(),
                target.encode(),
                [(name.encode(), text.encode()) for name, text in lines],
                access_key_id=KEY[0],
                access_key_secret=signed if isinstance(signed, str) else KEY[1],
            )
            lines.append(("authorization", value.decode()))
        url = httpx.URL(self.server.endpoint).copy_with(raw_path=target.encode())
        began = time.monotonic()
        response = self.http.request(method, url, content=body, headers=lines)
        return Answer(
            status=response.status_code,
            headers=response.headers,
            body=response.content,
            took_s=time.monotonic() - began,
        )

    # --- what comes back ---

    def _check(self, then: Mapping[str, Any], answer: Answer) -> None:
        names = self.names
        assert answer.status == then["status"], answer.body
        for name, expected in then.get("headers", {}).items():
            found = answer.headers.get(name, "")
            assert names.matches(expected, found), f"{name}: {found}"
        for name in then.get("absent_headers", ()):
            assert name not in answer.headers, answer.headers
        if "body" in then:
            assert names.matches(then["body"], answer.body.decode()), answer.body
        if "body_hex" in then:
            assert answer.body.hex() == then["body_hex"]
        if "body_regex" in then:
            assert names.expression(then["body_regex"]).fullmatch(answer.body.decode()), answer.body
        self._check_json(then, answer)
        if "took_s" in then:
            at_least, at_most = then["took_s"]
            assert at_least <= answer.took_s <= at_most
        self._check_logs(then)
        self._check_tail(then, answer)

    def _check_json(self, then: Mapping[str, Any], answer: Answer) -> None:
        for key in ("json", "json_has"):
            if key in then:
                found = json.loads(answer.body)
                whole = key == "json"
                assert self.names.matches_json(then[key], found, whole=whole), found
        for path in then.get("json_lacks", ()):
            *outer, name = path.split(".")
            found = json.loads(answer.body)
            for part in outer:
                found = found[part]
            assert name not in found, found

    def _check_logs(self, then: Mapping[str, Any]) -> None:
        for key, request_id in (("log", self.names.values["rid"]), ("function_log", "")):
            if key not in then and f"{key}_never" not in then:
                continue
            lines: list[str] = []
            expected = [self.names.expression(text) for text in then.get(key, ())]

            def seen(into: list[str] = lines, of: str = request_id, all_: Any = expected) -> bool:
                into[:] = read_log(self.server, self._name_in_logs(), of)
                return not missing(all_, into)

            try:
                wait_until(seen, LOG_WITHIN_S)
            except AssertionError:
                pytest.fail(f"no line is '{missing(expected, lines)}' in\n" + "\n".join(lines))
            for text in then.get(f"{key}_never", ()):
                never = self.names.expression(text)
                assert not any(never.fullmatch(line) for line in lines), lines

    def _name_in_logs(self) -> str:
        service = self.names.values.get("service")
        return f"{service}${self.function}" if service else self.function

    def _check_tail(self, then: Mapping[str, Any], answer: Answer) -> None:
        if "tail" not in then and "tail_at_most_bytes" not in then:
            return
        tail = base64.b64decode(answer.headers["x-fc-log-result"], validate=True)
        assert len(tail) <= then.get("tail_at_most_bytes", len(tail))
        lines = tail.decode().split("\n")
        expected = [self.names.expression(text) for text in then.get("tail", ())]
        assert not missing(expected, lines), lines
