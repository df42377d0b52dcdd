"""Routing, request ids, digests and errors: what holds for every operation."""

import hashlib
import logging
import re
from dataclasses import replace

import pytest

from anyfc.api.app import OPERATIONS, build_app

REQUEST_ID = "1-65d71219-15d63510-fecf237c590c"
FUNCTIONS = "/2023-03-30/functions"
BUILT = {
    "CreateFunction",
    "GetFunction",
    "UpdateFunction",
    "DeleteFunction",
    "ListFunctions",
    "GetFunctionCode",
    "DisableFunctionInvocation",
    "EnableFunctionInvocation",
    "CreateTrigger",
    "GetTrigger",
    "UpdateTrigger",
    "DeleteTrigger",
    "ListTriggers",
    "CreateCustomDomain",
    "GetCustomDomain",
    "UpdateCustomDomain",
    "DeleteCustomDomain",
    "ListCustomDomains",
}


def check_error(answer, status: int, code: str) -> str:
    """Check that an error is whole, in both spellings, and return its message."""
    content = answer.json()
    assert (answer.status_code, content["Code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-fc-request-id"] == REQUEST_ID
    assert content["RequestId"] == REQUEST_ID
    assert content["ErrorCode"] == code
    assert content["ErrorMessage"] == content["Message"] != ""
    return content["Message"]


def test_the_table_has_all_operations_once():
    assert len({operation for operation, *_ in OPERATIONS}) == len(OPERATIONS) == 73
    assert len({(method, path) for _, method, path, _ in OPERATIONS}) == 73
    assert {operation for operation, _, _, endpoint in OPERATIONS if endpoint} == BUILT


@pytest.mark.parametrize(
    ("operation", "method", "path"),
    [(operation, method, path) for operation, method, path, endpoint in OPERATIONS if not endpoint],
)
def test_an_operation_that_is_not_built_names_itself(api, operation, method, path):
    answer = api.send(method, "/2023-03-30" + re.sub(r"\{\w+\}", "x", path))
    assert operation in check_error(answer, 501, "NotSupported")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/2023-03-30"),
        ("GET", "/2023-03-30/nothing"),
        ("GET", f"{FUNCTIONS}/"),
        ("GET", f"{FUNCTIONS}/f/"),
        ("GET", f"/{FUNCTIONS}"),
        ("GET", f"{FUNCTIONS}%2Ff"),
        ("GET", "/2023-03-30/%66unctions"),
        ("GET", "/2023-03-31/functions"),
        ("PUT", FUNCTIONS),
        ("PATCH", f"{FUNCTIONS}/f"),
        ("OPTIONS", FUNCTIONS),
        ("TRACE", FUNCTIONS),
        ("BREW", FUNCTIONS),
        ("POST", "/anyfc/functions/f/logs"),
    ],
)
def test_a_method_and_path_that_lead_nowhere_are_named(api, method, path):
    answer = api.send(method, f"http://127.0.0.1:9000{path}")
    message = check_error(answer, 400, "PathNotSupported")
    assert message == f"'{method}' against '{path}' is not supported"


@pytest.mark.parametrize(
    ("path", "status"), [(FUNCTIONS, 400), ("/nothing", 400), ("/2016-08-15/services", 400)]
)
def test_a_head_request_is_refused_like_any_other(api, path, status):
    answer = api.send("HEAD", path)
    assert (answer.status_code, answer.content) == (status, b"")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-fc-request-id"] == REQUEST_ID


@pytest.mark.parametrize("name", ["a%2Fb", "a%2Fcode", "..%2Ff", "%00", "%FF", "f%20", "%66%2e"])
def test_an_escaped_name_stays_one_segment(api, name):
    api.create("f")
    for method in ("GET", "DELETE"):
        check_error(api.send(method, f"{FUNCTIONS}/{name}"), 404, "FunctionNotFound")
    check_error(api.send("GET", f"{FUNCTIONS}/{name}/code"), 404, "FunctionNotFound")
    assert api.get("f")["functionName"] == "f"


def test_an_escaped_name_is_unescaped(api):
    api.create("my_func")
    assert api.get("my%5Ffunc")["functionName"] == "my_func"


def test_every_answer_has_the_request_id(api):
    assert api.create().headers["x-fc-request-id"] == REQUEST_ID
    assert api.send("DELETE", f"{FUNCTIONS}/f").headers["x-fc-request-id"] == REQUEST_ID


def test_a_body_that_is_not_the_signed_one_is_refused(api):
    digest = hashlib.sha256(b"other").hexdigest()
    answer = api.send("POST", FUNCTIONS, b"{}", headers={"x-acs-content-sha256": digest})
    check_error(answer, 403, "SignatureNotMatch")


def test_a_large_body_that_is_not_the_signed_one_is_refused(api):
    digest = hashlib.sha256(b"{}").hexdigest()
    answer = api.send("POST", FUNCTIONS, b" " * 500_000, headers={"x-acs-content-sha256": digest})
    check_error(answer, 403, "SignatureNotMatch")


def test_a_body_without_a_digest_is_refused(api):
    answer = api.send("POST", FUNCTIONS, b"{}", headers={"x-acs-content-sha256": None})
    assert "x-acs-content-sha256" in check_error(answer, 400, "MissingRequiredHeader")


@pytest.mark.parametrize("digest", [None, hashlib.sha256(b"other").hexdigest()])
def test_a_body_that_the_gateway_calls_unsigned_is_not_compared_with_a_digest(api, digest):
    headers = {"x-acs-content-sha256": digest, "x-anyfc-unsigned-body": "true"}
    answer = api.send("POST", FUNCTIONS, b'{"functionName": 1}', headers=headers)
    assert "functionName" in check_error(answer, 400, "InvalidArgument")


def test_an_operation_without_a_body_needs_no_digest(api):
    answer = api.send("GET", FUNCTIONS, headers={"x-acs-content-sha256": None})
    assert answer.status_code == 200


@pytest.mark.parametrize("digest", ["", "ü".encode(), "0" * 64])
def test_a_digest_of_any_shape_is_only_compared(api, digest):
    answer = api.send("POST", FUNCTIONS, b"{}", headers={"x-acs-content-sha256": digest})
    check_error(answer, 403, "SignatureNotMatch")


def test_a_digest_in_capitals_is_a_digest(api):
    digest = hashlib.sha256(b"{}").hexdigest().upper()
    answer = api.send("POST", FUNCTIONS, b"{}", headers={"x-acs-content-sha256": digest})
    check_error(answer, 400, "InvalidArgument")


def test_a_body_over_the_limit_is_refused(api):
    answer = api.send("POST", FUNCTIONS, b" " * (2**20 + 1))
    assert "1048576 bytes" in check_error(answer, 400, "EntityTooLarge")
    assert api.send("POST", FUNCTIONS, b" " * 2**20).json()["Code"] == "InvalidArgument"


def test_a_body_over_the_limit_that_does_not_say_its_length_is_refused(api):
    api.parts = replace(api.parts, body_bytes=10)
    answer = api.send("POST", FUNCTIONS, b"{" * 11, headers={"content-length": "nonsense"})
    check_error(answer, 400, "EntityTooLarge")


@pytest.mark.parametrize(
    "body", [b"{", b"text", b"[]", b"1", b"null", b'"f"', b"\xff", b"[" * 200_000, b"{} {}"]
)
def test_a_body_that_is_not_an_object_is_refused(api, body):
    message = check_error(api.send("POST", FUNCTIONS, body), 400, "InvalidArgument")
    assert "the body" in message


def test_an_empty_body_lacks_what_is_required(api):
    message = check_error(api.send("POST", FUNCTIONS), 400, "InvalidArgument")
    assert message == "functionName: required, but not sent"


def test_our_own_mistake_is_a_json_error_and_logged_once(api, caplog):
    def fail(name: str) -> None:
        raise ZeroDivisionError("secret detail")

    api.create()
    api.parts = replace(api.parts, abort=fail)
    with caplog.at_level(logging.INFO, logger="anyfc"):
        answer = api.send("POST", f"{FUNCTIONS}/f/invoke/disable", {"abortOngoingRequest": True})
    message = check_error(answer, 500, "InternalServerError")
    assert message == "an internal error has occurred. Please retry."
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert record.request_id == REQUEST_ID


def test_a_caller_that_hangs_up_in_the_body_is_no_mistake_of_ours(api, caplog):
    async def hang_up() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise AssertionError("nobody is there to read an answer")

    scope = {
        "type": "http",
        "method": "POST",
        "path": FUNCTIONS,
        "raw_path": FUNCTIONS.encode(),
        "query_string": b"",
        "headers": [(b"x-acs-content-sha256", b"0")],
    }
    api.runner.run(build_app(api.parts)(scope, hang_up, send))
    assert caplog.records == []


def test_the_server_says_what_the_command_line_needs_to_know(api):
    answer = api.send("GET", "/anyfc/server")
    assert answer.json() == {
        "isolation": "jail",
        "ownNetworks": True,
        "tlsPort": 9443,
        "tlsProblem": "",
    }
