"""Functions through the official SDK: create, read, update, list, delete, code, the switch."""

import base64
import io
import urllib.request
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from alibabacloud_fc20230330 import models
from support import (
    create_function,
    invoke,
    invoke_aside,
    make_sdk,
    read_log,
    refused,
    update_function,
    wait_until,
    zip_base64,
)

CONSTANT = "def handler(event, context):\n    return '{}'\n"


def get(sdk: Any, name: str) -> Any:
    return sdk.get_function(name, models.GetFunctionRequest()).body


def list_page(sdk: Any, **query: Any) -> Any:
    return sdk.list_functions(models.ListFunctionsRequest(**query)).body


def disable(sdk: Any, name: str, **settings: Any) -> None:
    sdk.disable_function_invocation(name, models.DisableFunctionInvocationRequest(**settings))


class TestOneFunction:
    def test_what_is_created_is_what_is_read(self, sdk: Any, deploy: Callable[..., str]) -> None:
        name = deploy(
            CONSTANT.format("x"),
            runtime="python3.12",
            description="first cut",
            timeout=17,
            memorySize=1024,
            cpu=0.5,
            diskSize=512,
            environmentVariables={"A": "1", "B": ""},
            role="acs:ram::123456789012345:role/reader",
            internetAccess=False,
            tags=[{"Key": "team", "Value": "a"}],
            logConfig={"project": "p", "logstore": "s"},
        )
        found = get(sdk, name)
        assert found.function_name == name
        assert found.function_arn == f"acs:fc:cn-hangzhou:123456789012345:functions/{name}"
        assert (found.runtime, found.handler) == ("python3.12", "index.handler")
        assert (found.timeout, found.memory_size, found.cpu) == (17, 1024, 0.5)
        assert found.description == "first cut"
        assert found.environment_variables == {"A": "1", "B": ""}
        assert found.role == "acs:ram::123456789012345:role/reader"
        assert found.internet_access is False
        assert [(tag.key, tag.value) for tag in found.tags] == [("team", "a")]
        assert (found.log_config.project, found.log_config.logstore) == ("p", "s")
        assert (found.state, found.last_update_status) == ("Active", "Successful")
        assert found.created_time == found.last_modified_time

    def test_an_update_changes_what_it_names_and_nothing_else(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(CONSTANT.format("x"), environmentVariables={"A": "1"}, timeout=9)
        before = get(sdk, name).to_map()
        after = update_function(sdk, name, description="second", memorySize=1024).to_map()
        assert after == get(sdk, name).to_map()
        changed = {key for key in after if after[key] != before.get(key)}
        assert changed - {"lastModifiedTime"} == {"description", "memorySize"}

    def test_variables_are_replaced_as_a_whole(self, sdk: Any, deploy: Callable[..., str]) -> None:
        name = deploy(CONSTANT.format("x"), environmentVariables={"A": "1", "B": "2"})
        assert update_function(
            sdk, name, environmentVariables={"C": "3"}
        ).environment_variables == {"C": "3"}

    def test_new_code_answers_the_next_request(self, sdk: Any, deploy: Callable[..., str]) -> None:
        name = deploy(CONSTANT.format("old"))
        assert invoke(sdk, name)[1] == b"old"
        before = get(sdk, name)
        after = update_function(sdk, name, CONSTANT.format("new!"))
        assert after.code_checksum != before.code_checksum
        assert after.code_size == before.code_size + 1
        headers, body = invoke(sdk, name)
        assert body == b"new!"
        assert headers["x-fc-code-checksum"] == after.code_checksum

    def test_a_new_handler_and_runtime_take_effect(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        code = "import sys\ndef a(e, c): return 'a'\ndef b(e, c): return sys.version\n"
        name = deploy(code, handler="index.a", runtime="python3.10")
        assert invoke(sdk, name)[1] == b"a"
        update_function(sdk, name, handler="index.b", runtime="python3.12")
        assert invoke(sdk, name)[1].startswith(b"3.")

    def test_a_deleted_function_is_gone_and_its_name_free(self, sdk: Any) -> None:
        name = create_function(sdk, CONSTANT.format("first"))
        first = get(sdk, name).function_id
        assert invoke(sdk, name)[1] == b"first"
        sdk.delete_function(name)
        with refused("FunctionNotFound", 404, f"function '{name}' does not exist"):
            get(sdk, name)
        with refused("FunctionNotFound", 404):
            invoke(sdk, name)
        with refused("FunctionNotFound", 404):
            sdk.delete_function(name)
        create_function(sdk, CONSTANT.format("second"), function_name=name)
        assert invoke(sdk, name)[1] == b"second"
        assert get(sdk, name).function_id != first
        sdk.delete_function(name)


class TestLists:
    @pytest.fixture
    def names(self, deploy: Callable[..., str]) -> list[str]:
        return [
            deploy(
                CONSTANT.format(n),
                function_name=f"listed-{n:02d}",
                runtime="python3.12" if n % 2 else "python3.10",
            )
            for n in range(7)
        ]

    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    def test_pages_hold_every_function_once_in_order(
        self, sdk: Any, names: list[str], limit: int
    ) -> None:
        found: list[str] = []
        token = None
        while True:
            page = list_page(sdk, prefix="listed-", limit=limit, next_token=token)
            assert len(page.functions) <= limit
            found += [function.function_name for function in page.functions]
            token = page.next_token
            if not token:
                break
        assert found == names

    def test_a_list_is_filtered_by_prefix_and_runtime(self, sdk: Any, names: list[str]) -> None:
        page = list_page(sdk, prefix="listed-0", runtime="python3.12")
        assert [function.function_name for function in page.functions] == names[1::2]
        assert not list_page(sdk, prefix="no such prefix").functions

    @pytest.mark.parametrize("limit", [0, 101, -1])
    def test_a_limit_out_of_range_is_refused(self, sdk: Any, limit: int) -> None:
        with refused("InvalidArgument", 400, "limit"):
            list_page(sdk, limit=limit)


class TestCode:
    def test_code_is_downloaded_with_a_plain_get_and_is_what_was_uploaded(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy({"index.py": CONSTANT.format("x"), "a/b.txt": "text"})
        body = sdk.get_function_code(name, models.GetFunctionCodeRequest()).body
        assert body.checksum == get(sdk, name).code_checksum
        with urllib.request.urlopen(body.url) as response:
            content = response.read()
        assert len(content) == get(sdk, name).code_size
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.namelist() == ["index.py", "a/b.txt"]
            assert archive.read("a/b.txt") == b"text"

    def test_the_checksum_of_an_upload_is_checked(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(CONSTANT.format("x"))
        package = zip_base64({"index.py": CONSTANT.format("y")})
        with refused("InvalidArgument", 400, "checksum"):
            update_function(sdk, name, code={"zipFile": package, "checksum": "1"})
        update_function(sdk, name, code={"zipFile": package})
        right = get(sdk, name).code_checksum
        update_function(sdk, name, code={"zipFile": package, "checksum": right})
        assert invoke(sdk, name)[1] == b"y"

    @pytest.mark.parametrize(
        "package",
        ["", "not base64!", base64.b64encode(b"PK\x03\x04 no zip").decode()],
        ids=["empty", "no base64", "no zip"],
    )
    def test_what_is_no_package_is_refused(self, sdk: Any, package: str) -> None:
        with refused("InvalidArgument", 400):
            create_function(sdk, "", function_name="no-package", code={"zipFile": package})
        with refused("FunctionNotFound", 404):
            get(sdk, "no-package")

    @pytest.mark.parametrize("path", ["../out.py", "/etc/out.py", "a/../../out.py"])
    def test_a_path_out_of_the_code_folder_is_refused(self, sdk: Any, path: str) -> None:
        with refused("InvalidArgument", 400):
            create_function(sdk, {path: "x"}, function_name="slipped")
        with refused("FunctionNotFound", 404):
            get(sdk, "slipped")


class TestSwitch:
    def test_a_disabled_function_is_not_run_until_it_is_enabled(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(CONSTANT.format("x"))
        assert invoke(sdk, name)[1] == b"x"
        disable(sdk, name, reason="costs too much")
        with refused("AccessDenied", 403, "costs too much"):
            invoke(sdk, name)
        restriction = get(sdk, name).invocation_restriction
        assert restriction.disable is True
        assert restriction.reason == "costs too much"
        sdk.enable_function_invocation(name)
        assert invoke(sdk, name)[1] == b"x"

    def test_a_running_request_ends_when_its_function_is_disabled_with_abort(
        self, sdk: Any, server: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(HANGS)
        answer = invoke_aside(server, name, str(meeting.port).encode())
        call = meeting.wait_call()
        disable(sdk, name, reason="stop", abort_ongoing_request=True)
        assert call.recv(1) == b""
        headers, body = answer.result(10)
        assert headers["x-fc-error-type"] == "UnhandledInvocationError"
        assert b"Process exited unexpectedly" in body
        with refused("AccessDenied", 403):
            invoke(sdk, name)
        lines = wait_until(lambda: read_log(server, name, headers["x-fc-request-id"]))
        assert "Process exited unexpectedly" in lines[-1]

    def test_a_running_request_goes_on_when_its_function_is_disabled_without_abort(
        self, sdk: Any, server: Any, deploy: Callable[..., str], meeting: Any
    ) -> None:
        name = deploy(HANGS)
        answer = invoke_aside(server, name, str(meeting.port).encode())
        call = meeting.wait_call()
        disable(sdk, name, reason="later")
        call.sendall(b"go")
        assert answer.result(10)[1] == b"go"


HANGS = """
import socket


def handler(event, context):
    with socket.create_connection(("127.0.0.1", int(event))) as call:
        return call.recv(2)
"""


class TestErrors:
    def test_a_taken_name_is_a_conflict(self, sdk: Any, deploy: Callable[..., str]) -> None:
        name = deploy(CONSTANT.format("x"))
        with refused("FunctionAlreadyExists", 409, name):
            create_function(sdk, CONSTANT.format("y"), function_name=name)
        assert invoke(sdk, name)[1] == b"x"

    @pytest.mark.parametrize(
        "settings",
        [
            {"runtime": "python4"},
            {"timeout": 0},
            {"timeout": 86401},
            {"memorySize": 100},
            {"memorySize": 128, "cpu": 4},
            {"diskSize": 1},
            {"handler": ""},
            {"function_name": "9lives"},
            {"function_name": "a" * 129},
            {"function_name": "a b"},
            {"environmentVariables": {"FC_X": "1"}},
            {"environmentVariables": {"A": "x" * 4097}},
            {"instanceConcurrency": 2},
            {"instanceLifecycleConfig": {"preStop": {"handler": "index.stop", "timeout": 91}}},
        ],
        ids=lambda settings: next(iter(settings)),
    )
    def test_settings_that_make_no_sense_are_refused(
        self, sdk: Any, settings: dict[str, Any]
    ) -> None:
        with refused("InvalidArgument", 400):
            create_function(sdk, CONSTANT.format("x"), **settings)

    def test_a_function_that_is_not_there_cannot_be_changed(self, sdk: Any) -> None:
        with refused("FunctionNotFound", 404):
            update_function(sdk, "nobody", timeout=5)
        with refused("FunctionNotFound", 404):
            sdk.get_function_code("nobody", models.GetFunctionCodeRequest())
        with refused("FunctionNotFound", 404):
            disable(sdk, "nobody")

    def test_a_qualifier_that_does_not_exist_is_not_found(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(CONSTANT.format("x"))
        with refused("VersionNotFound", 404, "'3'"):
            sdk.get_function(name, models.GetFunctionRequest(qualifier="3"))
        with refused("AliasNotFound", 404, "'prod'"):
            sdk.get_function(name, models.GetFunctionRequest(qualifier="prod"))

    def test_an_operation_that_is_not_built_says_so(
        self, sdk: Any, deploy: Callable[..., str]
    ) -> None:
        name = deploy(CONSTANT.format("x"))
        with refused("NotSupported", 501, "PublishFunctionVersion"):
            sdk.publish_function_version(
                name, models.PublishFunctionVersionRequest(body=models.PublishVersionInput())
            )
        with refused("NotSupported", 501, "ListAliases"):
            sdk.list_aliases(name, models.ListAliasesRequest())

    def test_a_wrong_secret_and_an_unknown_key_are_refused(self, server: Any) -> None:
        with refused("SignatureNotMatch", 403):
            list_page(make_sdk(server, access_key_secret="wrong"))
        with refused("InvalidAccessKeyID", 403, "nobody"):
            list_page(make_sdk(server, access_key_id="nobody"))
