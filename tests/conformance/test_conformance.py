"""Runs every case against a real server, and holds cases, reasons and the page together."""

import ast
import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from conformance.case import ROOT, SECTIONS, Case, Names, fill, missing, read_cases, read_reasons
from conformance.table import PAGE, build_page
from support import KEY, ServerProcess, read_log, wait_until, zip_base64

from anyfc.identity.signature import format_date, sign

CASES = read_cases()
PATHS = {
    "CreateFunction": ("POST", "/2023-03-30/functions"),
    "UpdateFunction": ("PUT", "/2023-03-30/functions/{name}"),
    "InvokeFunction": ("POST", "/2023-03-30/functions/{name}/invocations"),
}
LOG_WITHIN_S = 5.0


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
    function: str
    server: ServerProcess
    http: httpx.Client

    def send(self, when: Mapping[str, Any]) -> Answer:
        method, path = PATHS[when["operation"]]
        target = path.format(name=self.function)
        if query := when.get("query"):
            target += "?" + fill(query)
        body = self._body(when)
        headers = {name: fill(value) for name, value in when.get("headers", {}).items()}
        headers |= {
            "host": f"127.0.0.1:{self.server.port}",
            "x-acs-date": format_date(time.time()),
            "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        }
        authorization = sign(
            method.encode(),
            target.encode(),
            [(name.encode(), value.encode()) for name, value in headers.items()],
            access_key_id=KEY[0],
            access_key_secret=KEY[1],
        )
        headers["authorization"] = authorization.decode()
        began = time.monotonic()
        response = self.http.request(method, target, content=body, headers=headers)
        return Answer(
            status=response.status_code,
            headers=response.headers,
            body=response.content,
            took_s=time.monotonic() - began,
        )

    def _body(self, when: Mapping[str, Any]) -> bytes:
        if when["operation"] == "InvokeFunction":
            if "event_hex" in when:
                return bytes.fromhex(when["event_hex"])
            return fill(when.get("event", "")).encode()
        wire = dict(when.get("settings", {}))
        files = when.get("files")
        if when["operation"] == "CreateFunction":
            given = self.case.given
            wire = {
                "functionName": self.function,
                "runtime": given.get("runtime", "python3.10"),
                "handler": given.get("handler", "index.handler"),
                **given.get("settings", {}),
                **wire,
            }
            files = files or self.case.files
        if files:
            wire["code"] = {"zipFile": zip_base64(files)}
        return json.dumps(wire).encode()

    def check(self, then: Mapping[str, Any], answer: Answer, names: Names) -> None:
        assert answer.status == then["status"], answer.body
        for name, expected in then.get("headers", {}).items():
            found = answer.headers.get(name, "")
            assert names.matches(expected, found), f"{name}: {found}"
        for name in then.get("absent_headers", ()):
            assert name not in answer.headers
        if "body" in then:
            assert names.matches(then["body"], answer.body.decode()), answer.body
        if "body_regex" in then:
            assert names.expression(then["body_regex"]).fullmatch(answer.body.decode()), answer.body
        if "json" in then:
            assert names.matches_json(then["json"], json.loads(answer.body)), answer.body
        if "took_s" in then:
            at_least, at_most = then["took_s"]
            assert at_least <= answer.took_s <= at_most
        self._check_logs(then, names)
        self._check_tail(then, answer, names)

    def _check_logs(self, then: Mapping[str, Any], names: Names) -> None:
        for key, request_id in (("log", names.values.get("rid", "")), ("function_log", "")):
            if key not in then and f"{key}_never" not in then:
                continue
            lines: list[str] = []
            expected = [names.expression(text) for text in then.get(key, ())]

            def seen(into: list[str] = lines, of: str = request_id, all_: Any = expected) -> bool:
                into[:] = read_log(self.server, self.function, of)
                return not missing(all_, into)

            try:
                wait_until(seen, LOG_WITHIN_S)
            except AssertionError:
                pytest.fail(f"no line is '{missing(expected, lines)}' in\n" + "\n".join(lines))
            for text in then.get(f"{key}_never", ()):
                assert not any(names.expression(text).fullmatch(line) for line in lines), lines

    def _check_tail(self, then: Mapping[str, Any], answer: Answer, names: Names) -> None:
        if "tail" not in then and "tail_at_most_bytes" not in then:
            return
        tail = base64.b64decode(answer.headers["x-fc-log-result"], validate=True)
        assert len(tail) <= then.get("tail_at_most_bytes", len(tail))
        lines = tail.decode().split("\n")
        assert not missing([names.expression(text) for text in then.get("tail", ())], lines), lines


@pytest.fixture(scope="module")
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.endpoint, timeout=30, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.scripted], ids=lambda case: case.name
)
def test_a_case_is_met(
    case: Case,
    server: ServerProcess,
    http: httpx.Client,
    deploy: Callable[..., str],
    request: pytest.FixtureRequest,
) -> None:
    function = "case-" + case.name.replace("/", "-")
    run = Run(case, function, server, http)
    if case.steps[0].when["operation"] != "CreateFunction":
        deploy(
            case.files,
            function_name=function,
            runtime=case.given.get("runtime", "python3.10"),
            handler=case.given.get("handler", "index.handler"),
            **case.given.get("settings", {}),
        )
    names = Names(function=function, region="cn-hangzhou", account="123456789012345")
    for step in case.steps:
        answer = run.send(step.when)
        names.values["rid"] = answer.headers["x-fc-request-id"]
        run.check(step.then, answer, names)


def test_every_statement_has_a_case_or_a_reason_and_not_both() -> None:
    covered = {number for case in CASES for number in case.statements}
    reasons = read_reasons()
    every = {number for numbers in SECTIONS.values() for number in numbers}
    assert covered & reasons.keys() == set()
    assert covered | reasons.keys() == every
    assert all(len(reason) > 10 for reason in reasons.values())


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.scripted], ids=lambda case: case.name
)
def test_a_scripted_case_names_a_test_that_exists(case: Case) -> None:
    path, _, name = case.scripted.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_compatibility_page_is_up_to_date() -> None:
    assert PAGE.read_text() == build_page(), (
        "run `python -m conformance.table` in the folder `tests`"
    )


class TestNames:
    """The matching itself: a case that always matches would prove nothing."""

    def test_a_name_keeps_its_value(self) -> None:
        names = Names()
        assert names.matches("<a>-<a>", "x-x")
        assert not names.matches("<a>", "y")
        assert names.matches("<a>", "x")

    def test_two_names_are_two_values(self) -> None:
        names = Names(a="x")
        assert not names.matches("<b>", "x")
        assert names.matches("<b>", "y")

    def test_the_text_around_a_name_is_literal(self) -> None:
        assert not Names().matches("a.c<any>", "abc")
        assert Names().matches("a.c<any>", "a.c\nd")

    def test_json_must_be_equal_in_keys_length_and_type(self) -> None:
        names = Names()
        assert names.matches_json({"a": ["<x>", 1]}, {"a": ["y", 1]})
        assert not names.matches_json({"a": 1}, {"a": 1, "b": 2})
        assert not names.matches_json({"a": 1}, {"a": True})
        assert not names.matches_json([1], [1, 1])

    def test_lines_are_wanted_in_their_order(self) -> None:
        expressions = [Names().expression("a"), Names().expression("b.*")]
        assert missing(expressions, ["x", "a", "bc"]) == ""
        assert missing(expressions, ["bc", "a"]) == "b.*"
