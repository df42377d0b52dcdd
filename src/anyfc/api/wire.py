"""Functions on the wire: what a create or an update may say, and how a function is shown.

Only this module, `kept` and the other `…_wire` know the names that fields have in JSON.

Source: CreateFunctionInput, UpdateFunctionInput and Function of the Function Compute 3.0 API.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from anyfc.api.body import Base64
from anyfc.api.custom_wire import (
    CUSTOM_RUNTIME,
    read_custom,
    settle_custom,
    show_custom,
)
from anyfc.api.kept import KEPT, ROLE_NAME
from anyfc.api.shape import Choice, Integer, Number, Record, Shape, Text, TextMap
from anyfc.errors import InvalidArgument, NotSupported
from anyfc.model.function import Code, Function, Hook
from anyfc.runtime.table import CONTAINER, CUSTOM, PYTHON, brings_server

# Those that cannot be run here can be made all the same.
OTHER_RUNTIMES = (
    "nodejs8", "nodejs10", "nodejs12", "nodejs14", "nodejs16", "nodejs18", "nodejs20", "python2.7",
    "php7.2", "java8", "java11", "go1", "dotnetcore2.1", "dotnetcore3.1",
)  # fmt: skip
RUNTIMES = (*OTHER_RUNTIMES, *PYTHON, *sorted(CUSTOM), CONTAINER)

MEMORY_MIB = Integer(128, 32768, step=64)
CPU = Number(0.05, 16, steps_per_one=20)
DEFAULT_MEMORY_MIB = 512
DEFAULT_CPU = 0.35
DEFAULT_HOOK_TIMEOUT_S = 3
MIB_PER_CPU = (1024, 4096)
EXCLUSIVE_CPU = 2
ENVIRONMENT_BYTES = 4 * 1024
RESERVED_VARIABLES = ("accessKeyID", "accessKeySecret", "securityToken", "topic")

FUNCTION_NAME = Text(
    1,
    128,
    re.compile(r"[A-Za-z_][\w-]*", re.ASCII),
    "must begin with a letter or _ and hold only letters, digits, _ and -",
)
CODE = Record(
    {
        "zipFile": Base64(),
        "ossBucketName": Text(0, 63),
        "ossObjectName": Text(0, 1024),
        "checksum": Text(0, 20, re.compile("[0-9]+"), "is not an unsigned decimal number"),
    }
)


class Environment:
    """Environment variables: names, the names that belong to the platform, and 4 KB in all."""

    names = TextMap(
        Text(
            1,
            ENVIRONMENT_BYTES,
            re.compile(r"[A-Za-z]\w*", re.ASCII),
            "must begin with a letter and hold only letters, digits and _",
        ),
        secret=True,  # many a password is kept there
    )

    def read(self, value: Any, field: str) -> dict[str, str]:
        variables = self.names.read(value, field)
        for name, text in variables.items():
            if name.startswith("FC_") or name in RESERVED_VARIABLES:
                raise InvalidArgument(f"{field}: '{name}' is reserved for the platform")
            if "\0" in text:
                raise InvalidArgument(f"{field}.{name}: holds a NUL character")
        size = sum(len(name.encode()) + len(text.encode()) for name, text in variables.items())
        if size > ENVIRONMENT_BYTES:
            raise InvalidArgument(
                f"{field}: {size} bytes, names and values together; "
                f"at most {ENVIRONMENT_BYTES} are allowed"
            )
        return variables


# Wire name → model name, for the fields that are the same thing on both sides.
NAMES: Mapping[str, str] = {
    "functionName": "name",
    "description": "description",
    "runtime": "runtime",
    "handler": "handler",
    "timeout": "timeout_s",
    "memorySize": "memory_mib",
    "cpu": "cpu",
    "diskSize": "disk_mib",
    "instanceConcurrency": "instance_concurrency",
    "environmentVariables": "environment",
    "role": "role",
}
UPDATE: Mapping[str, Shape] = {
    "description": Text(0, 256),
    "runtime": Choice(RUNTIMES),
    "handler": Text(1, 128),
    "timeout": Integer(1, 86400),
    "memorySize": MEMORY_MIB,
    "cpu": CPU,
    "diskSize": Choice((512, 10240)),
    "instanceConcurrency": Integer(1, 200),
    "environmentVariables": Environment(),
    "role": ROLE_NAME,
    "code": CODE,
    "idleTimeout": Integer(-1, 2**31 - 1),
    "customRuntimeConfig": CUSTOM_RUNTIME,
    **{name: kept.shape for name, kept in KEPT.items() if kept.on_update},
}
CREATE: Mapping[str, Shape] = {
    "functionName": FUNCTION_NAME,
    **UPDATE,
    **{name: kept.shape for name, kept in KEPT.items()},
}
REQUIRED = ("functionName", "runtime", "handler")

# A change of one of these needs no new instances.
UNSEEN = ("description", "idle_timeout_s", "restriction", "modified_at", "generation")


def take_log(kept: dict[str, Any]) -> dict[str, str]:
    """Take out of what is only kept where logs are said to go, by names in the model."""
    if "logConfig" not in kept:
        return {}
    log = kept["logConfig"]
    return {"log_project": log.pop("project", ""), "log_store": log.pop("logstore", "")}


@dataclass(frozen=True, slots=True)
class Package:
    """Code as it was uploaded, not yet looked into."""

    data: bytes
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What a create or an update said; what it left out is not in here."""

    values: Mapping[str, Any]  # by their names in the model
    kept: Mapping[str, Any]
    package: Package | None


def read_create(body: Any) -> Sent:
    """Read the body of CreateFunction. Raises InvalidArgument, NotSupported."""
    fields = Record(CREATE, REQUIRED).read(body, "")
    check_package(fields)
    return sort_out(fields)


def check_package(fields: Mapping[str, Any]) -> None:
    """See to it that a function that is made has its code, or an image. Raises InvalidArgument."""
    if ("code" in fields) == (fields["runtime"] == CONTAINER):
        raise InvalidArgument(
            f"code: needed with every runtime but {CONTAINER}, and not allowed with that one"
        )


def read_update(body: Any) -> Sent:
    """Read the body of UpdateFunction. Raises InvalidArgument, NotSupported."""
    return sort_out(Record(UPDATE).read(body, ""))


def sort_out(fields: dict[str, Any]) -> Sent:
    values = {NAMES[name]: value for name, value in fields.items() if name in NAMES}
    kept = {name: value for name, value in fields.items() if name in KEPT}
    if "idleTimeout" in fields:
        values["idle_timeout_s"] = None if fields["idleTimeout"] == -1 else fields["idleTimeout"]
    if "customRuntimeConfig" in fields:
        values["custom"] = read_custom(fields["customRuntimeConfig"])
    values |= take_log(kept)
    if "instanceLifecycleConfig" in kept:
        hooks = kept["instanceLifecycleConfig"]
        values["initializer"] = take_hook(hooks, "initializer")
        values["pre_stop"] = take_hook(hooks, "preStop")
    if "layers" in kept:
        kept["layers"] = [{"arn": arn, "size": 0} for arn in kept["layers"]]
    package = read_package(fields["code"]) if "code" in fields else None
    return Sent(values, kept, package)


def take_hook(hooks: dict[str, Any], name: str) -> Hook | None:
    """Take a hook that is a handler out of `hooks`; one that is a command stays in there."""
    sent = hooks.get(name, {})
    if sent.get("command"):
        if sent.pop("handler", ""):
            raise InvalidArgument(
                f"instanceLifecycleConfig.{name}: handler and command exclude each other"
            )
        return None
    hooks.pop(name, None)
    if not sent.get("handler"):
        return None
    return Hook(handler=sent["handler"], timeout_s=sent.get("timeout", DEFAULT_HOOK_TIMEOUT_S))


def read_package(code: dict[str, Any]) -> Package:
    bucket, name = code.get("ossBucketName", ""), code.get("ossObjectName", "")
    stored = bool(bucket or name)
    if stored == bool(code.get("zipFile")):
        raise InvalidArgument(
            "code: either zipFile, or ossBucketName and ossObjectName, must be sent"
        )
    if stored and not (bucket and name):
        raise InvalidArgument("code: ossBucketName and ossObjectName belong together")
    if stored:
        raise NotSupported(
            "code.ossBucketName, code.ossObjectName: code from object storage is not supported "
            "by this version of anyfc; send the package as code.zipFile"
        )
    return Package(code["zipFile"], code.get("checksum") or None)


def make(sent: Sent, *, function_id: str, now: datetime) -> Function:
    """Return the function that a create describes, still without its code.

    Raises InvalidArgument.
    """
    cpu, memory_mib = complete_size(sent.values.get("cpu"), sent.values.get("memory_mib"))
    custom = settle_custom(sent.values["runtime"], sent.values.get("custom"), None)
    values = {**sent.values, "cpu": cpu, "memory_mib": memory_mib, "custom": custom}
    function = Function(
        id=function_id, code=None, created_at=now, modified_at=now, kept=sent.kept, **values
    )
    check(function)
    return function


def merge(old: Function, sent: Sent, *, code: Code | None, now: datetime) -> Function:
    """Return the function after an update; what was sent replaces the old value as a whole.

    `code` is the package that was sent. The generation grows if instances must see the change.
    Raises InvalidArgument.
    """
    runtime = sent.values.get("runtime", old.runtime)
    if runtime == CONTAINER and sent.package is not None:
        raise InvalidArgument(f"code: not allowed with runtime {CONTAINER}")
    if runtime != CONTAINER and sent.package is None and old.code is None:
        raise InvalidArgument(f"code: required with runtime {runtime}")
    custom = settle_custom(runtime, sent.values.get("custom"), old.custom)
    function = replace(
        old,
        code=None if runtime == CONTAINER else code or old.code,
        modified_at=now,
        kept={**old.kept, **sent.kept},
        **{**sent.values, "custom": custom},
    )
    check(function)
    if replace(function, **{name: getattr(old, name) for name in UNSEEN}) == old:
        return function
    return replace(function, generation=old.generation + 1)


def complete_size(cpu: float | None, memory_mib: int | None) -> tuple[float, int]:
    """Fill in the size that was not sent: the usual one, or the nearest that fits the other."""
    low, high = MIB_PER_CPU
    if cpu is None and memory_mib is not None:
        least = math.ceil(memory_mib / high * CPU.steps_per_one) / CPU.steps_per_one
        most = math.floor(memory_mib / low * CPU.steps_per_one) / CPU.steps_per_one
        return min(max(DEFAULT_CPU, least), most), memory_mib
    if cpu is not None and memory_mib is None:
        fewest = max(math.ceil(cpu * low / MEMORY_MIB.step) * MEMORY_MIB.step, MEMORY_MIB.least)
        largest = math.floor(cpu * high / MEMORY_MIB.step) * MEMORY_MIB.step
        return cpu, min(max(DEFAULT_MEMORY_MIB, fewest), largest)
    return cpu or DEFAULT_CPU, memory_mib or DEFAULT_MEMORY_MIB


def check(function: Function) -> None:
    """Refuse fields that are right one by one, but not together. Raises InvalidArgument."""
    custom = brings_server(function.runtime)
    isolation = function.kept.get("instanceIsolationMode", "SHARE")
    image = "customContainerConfig" in function.kept
    ratio = function.memory_mib / function.cpu
    if not MIB_PER_CPU[0] * 0.999 <= ratio <= MIB_PER_CPU[1] * 1.001:
        raise InvalidArgument(
            f"cpu, memorySize: {function.cpu} vCPU with {function.memory_mib} MB is "
            f"1:{ratio / 1024:.2f}; cpu:memorySize in GB must lie between 1:1 and 1:4"
        )
    if not custom and function.instance_concurrency != 1:
        raise InvalidArgument(
            f"instanceConcurrency: {function.instance_concurrency} is not 1, "
            f"the only value that runtime {function.runtime} allows"
        )
    if function.runtime == CONTAINER and not image:
        raise InvalidArgument(f"customContainerConfig: required with runtime {CONTAINER}")
    if isolation != "SHARE" and function.cpu < EXCLUSIVE_CPU:
        raise InvalidArgument(
            f"instanceIsolationMode: {isolation} needs at least {EXCLUSIVE_CPU} vCPU, "
            f"not {function.cpu}"
        )
    if isolation == "REQUEST_EXCLUSIVE" and function.instance_concurrency != 1:
        raise InvalidArgument(
            f"instanceConcurrency: {function.instance_concurrency} is not 1, "
            f"the only value that instanceIsolationMode {isolation} allows"
        )


def show(function: Function, *, region: str, account_id: str) -> dict[str, Any]:
    """Return a function as CreateFunction, GetFunction and UpdateFunction answer it."""
    return {
        **show_in_list(function, region=region, account_id=account_id),
        "state": "Active",
        "stateReason": "",
        "stateReasonCode": "",
        "lastUpdateStatus": "Successful",
        "lastUpdateStatusReason": "",
        "lastUpdateStatusReasonCode": "",
    }


def show_in_list(function: Function, *, region: str, account_id: str) -> dict[str, Any]:
    """Return a function as ListFunctions answers it: without its state."""
    shown: dict[str, Any] = {
        "functionArn": f"acs:fc:{region}:{account_id}:functions/{function.name}",
        "functionId": function.id,
        **{name: getattr(function, attribute) for name, attribute in NAMES.items()},
        "codeSize": function.code.size_bytes if function.code else 0,
        "codeChecksum": function.code.checksum if function.code else "",
        "createdTime": show_time(function.created_at),
        "lastModifiedTime": show_time(function.modified_at),
        **show_kept(function.kept),
    }
    shown["environmentVariables"] = dict(function.environment)
    shown["logConfig"] |= {"project": function.log_project, "logstore": function.log_store}
    shown.pop("instanceLifecycleConfig", None)
    if hooks := show_hooks(function):
        shown["instanceLifecycleConfig"] = hooks
    if function.custom is not None:
        shown["customRuntimeConfig"] = show_custom(function.custom)
    if function.idle_timeout_s is not None:
        shown["idleTimeout"] = function.idle_timeout_s
    if function.restriction is not None:
        shown["invocationRestriction"] = {
            "disable": True,
            "reason": function.restriction.reason,
            "lastModifiedTime": show_time(function.restriction.since),
        }
    return shown


def show_kept(kept: Mapping[str, Any]) -> dict[str, Any]:
    shown = {}
    for name, field in KEPT.items():
        value = kept.get(name, field.unset)
        if isinstance(field.unset, dict):
            value = {**field.unset, **value}
        if value is not None:
            shown[name] = value
    return shown


def show_hooks(function: Function) -> dict[str, Any]:
    hooks = dict(function.kept.get("instanceLifecycleConfig", {}))
    for name, hook in (("initializer", function.initializer), ("preStop", function.pre_stop)):
        if hook is not None:
            hooks[name] = {"handler": hook.handler, "timeout": hook.timeout_s}
    return hooks


def show_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
