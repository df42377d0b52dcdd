"""Functions of services on the wire: the fields that they have in the API before 3.0.

What is the same in 3.0 is read and checked as there: a create or an update is put into the terms of
`wire`, and goes on from there.

Source: CreateFunctionRequest, UpdateFunctionRequest and Function of API version 2021-04-06;
api.md 10.6.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from anyfc.api import wire
from anyfc.api.custom_wire import (
    ARGUMENT,
    read_custom,
    show_health,
)
from anyfc.api.kept import HEALTH_CHECK, KEPT, LAYERS
from anyfc.api.shape import Choice, Flag, Integer, Items, Record, Shape, Text, mistyped
from anyfc.api.wire import (
    FUNCTION_NAME,
    MIB_PER_CPU,
    complete_size,
    read_package,
    show_time,
)
from anyfc.errors import InvalidArgument
from anyfc.model.function import Code, CustomRuntime, Function, Hook
from anyfc.runtime.context import own_name
from anyfc.runtime.table import brings_server

LONGEST_NAME = 255  # of a folder, with a `$` in it
DEFAULT_TIMEOUT_S = 60
DEFAULT_MEMORY_MIB = 256  # what the client of 2016-08-15 sends for who says nothing
DEFAULT_HOOK_TIMEOUT_S = 3
DEFAULT_INSTANCE_TYPE = "e1"


class WordsText:
    """A list of texts, written as JSON text or not; an empty text is an empty list."""

    words = Items(ARGUMENT)

    def read(self, value: Any, field: str) -> list[str]:
        if isinstance(value, str):
            try:
                value = msgspec.json.decode(value) if value else []
            except (msgspec.DecodeError, RecursionError):
                raise mistyped(field, value, "a list of texts in JSON") from None
        return self.words.read(value, field)


HOOK = Record({"handler": Text(0, 128), "timeout": Integer(1, 90)})
CONTAINER_CONFIG = Record(
    {
        "image": Text(1, 4096),
        "command": WordsText(),
        "args": WordsText(),
        "accelerationType": Choice(("Default", "None")),
        "instanceID": Text(),
        "webServerMode": Flag(),
    },
    ("image",),
)

# What is the same thing in 3.0.
SAME = (
    "description", "runtime", "handler", "timeout", "memorySize", "cpu", "diskSize",
    "instanceConcurrency", "environmentVariables",
)  # fmt: skip
NAMES: Mapping[str, str] = {name: wire.NAMES[name] for name in SAME}
# Kept and shown, and nothing else comes of them.
KEPT_HERE: Mapping[str, Shape] = {
    "instanceType": Text(1, 128),
    "instanceSoftConcurrency": Integer(0, 200),
    "gpuMemorySize": Integer(0, 1024 * 1024),
    "customDNS": KEPT["customDNS"].shape,
}
UPDATE: Mapping[str, Shape] = {
    **{name: wire.UPDATE[name] for name in (*SAME, "code")},
    "initializer": Text(0, 128),
    "initializationTimeout": Integer(1, 300),
    "instanceLifecycleConfig": Record({"preFreeze": HOOK, "preStop": HOOK}),
    "caPort": Integer(0, 65535),
    "customRuntimeConfig": Record({"command": Items(ARGUMENT), "args": Items(ARGUMENT)}),
    "customHealthCheckConfig": HEALTH_CHECK,
    "customContainerConfig": CONTAINER_CONFIG,
    "layers": Items(Text(1, 512), LAYERS),
    **KEPT_HERE,
}
CREATE: Mapping[str, Shape] = {"functionName": FUNCTION_NAME, **UPDATE}
REQUIRED = ("functionName", "runtime", "handler")

# The container's settings in 3.0, whose shape is the one that is kept.
CONTAINER_NAMES: Mapping[str, str] = {
    "image": "image",
    "command": "entrypoint",
    "args": "command",
    "accelerationType": "accelerationType",
    "instanceID": "acrInstanceId",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a create or an update said; what it left out is not in here."""

    fields: Mapping[str, Any]  # by their names on the wire, in their shapes
    package: wire.Package | None


def read_create(body: Any) -> Sent:
    """Read the body of CreateFunction. Raises InvalidArgument, NotSupported."""
    fields = Record(CREATE, REQUIRED).read(body, "")
    wire.check_package(fields)
    return sort_out(fields)


def read_update(body: Any) -> Sent:
    """Read the body of UpdateFunction. Raises InvalidArgument, NotSupported."""
    return sort_out(Record(UPDATE).read(body, ""))


def sort_out(fields: dict[str, Any]) -> Sent:
    package = read_package(fields.pop("code")) if "code" in fields else None
    return Sent(fields, package)


def make(sent: Sent, *, name: str, service: str, function_id: str, now: datetime) -> Function:
    """Return the function that a create describes, still without its code.

    Raises InvalidArgument.
    """
    if len(name) > LONGEST_NAME:
        raise InvalidArgument(
            f"functionName: with the name of its service it has {len(name) - 1} characters; "
            f"at most {LONGEST_NAME - 1} are allowed"
        )
    put = translate(sent, None)
    usual = {"timeout_s": DEFAULT_TIMEOUT_S}
    if "cpu" not in put.values:
        usual["memory_mib"] = DEFAULT_MEMORY_MIB
    values = {**usual, **put.values, "name": name, "service": service}
    return wire.make(replace(put, values=values), function_id=function_id, now=now)


def merge(old: Function, sent: Sent, *, code: Code | None, now: datetime) -> Function:
    """Return the function after an update, as `wire.merge` does. Raises InvalidArgument."""
    return wire.merge(old, translate(sent, old), code=code, now=now)


def translate(sent: Sent, old: Function | None) -> wire.Sent:
    """Put what was sent into the terms of 3.0; `old` is the function that is to change."""
    fields = sent.fields
    values = {NAMES[name]: value for name, value in fields.items() if name in NAMES}
    values |= read_size(fields, old)
    values |= read_hooks(fields, old)
    runtime = fields.get("runtime") or (old.runtime if old else "")
    custom = read_custom_settings(fields, runtime, old)
    if custom is not None:
        values["custom"] = custom
    kept = {name: value for name, value in fields.items() if name in KEPT_HERE}
    if "initializationTimeout" in fields:  # it stays for an initializer that comes later
        kept["initializationTimeout"] = fields["initializationTimeout"]
    if "layers" in fields:
        kept["layers"] = [{"arn": arn, "size": 0} for arn in fields["layers"]]
    if "customContainerConfig" in fields:
        container = dict(fields["customContainerConfig"])
        kept["webServerMode"] = container.pop("webServerMode", True)
        kept["customContainerConfig"] = {
            CONTAINER_NAMES[name]: value for name, value in container.items()
        }
    return wire.Sent(values, kept, sent.package)


def read_size(fields: Mapping[str, Any], old: Function | None) -> dict[str, float]:
    """Return the cores that new memory needs: most clients of these versions know only memory."""
    memory_mib = fields.get("memorySize")
    if old is None or memory_mib is None or "cpu" in fields:
        return {}
    low, high = MIB_PER_CPU
    if low <= memory_mib / old.cpu <= high:
        return {}
    return {"cpu": complete_size(None, memory_mib)[0]}


def read_hooks(fields: Mapping[str, Any], old: Function | None) -> dict[str, Hook | None]:
    hooks: dict[str, Hook | None] = {}
    if "initializer" in fields or "initializationTimeout" in fields:
        before = old.initializer if old else None
        handler = fields.get("initializer", before.handler if before else "")
        timeout_s = fields.get("initializationTimeout") or initialization_timeout_s(old)
        hooks["initializer"] = Hook(handler=handler, timeout_s=timeout_s) if handler else None
    if "instanceLifecycleConfig" in fields:
        for name, attribute in (("preFreeze", "pre_freeze"), ("preStop", "pre_stop")):
            sent = fields["instanceLifecycleConfig"].get(name, {})
            timeout_s = sent.get("timeout", DEFAULT_HOOK_TIMEOUT_S)
            handler = sent.get("handler", "")
            hooks[attribute] = Hook(handler=handler, timeout_s=timeout_s) if handler else None
    return hooks


def initialization_timeout_s(function: Function | None) -> int:
    if function is None:
        return DEFAULT_HOOK_TIMEOUT_S
    if function.initializer is not None:
        return function.initializer.timeout_s
    return int(function.kept.get("initializationTimeout", DEFAULT_HOOK_TIMEOUT_S))


def read_custom_settings(
    fields: Mapping[str, Any], runtime: str, old: Function | None
) -> CustomRuntime | None:
    """Return the settings of a custom runtime after a change of some; None: nothing was sent.

    With other runtimes, a port and a health check mean nothing, and clients send them all the same.
    """
    settings = read_custom(fields.get("customRuntimeConfig", {}))
    if not brings_server(runtime):
        return settings if "customRuntimeConfig" in fields else None
    changes: dict[str, Any] = {}
    if "customRuntimeConfig" in fields:
        changes |= {"command": settings.command, "args": settings.args}
    if fields.get("caPort"):
        changes["port"] = fields["caPort"]
    if "customHealthCheckConfig" in fields:
        checked = read_custom({"healthCheckConfig": fields["customHealthCheckConfig"]})
        changes["health_check"] = checked.health_check
    before = old.custom if old and old.custom else CustomRuntime()
    return replace(before, **changes) if changes else None


def show(function: Function) -> dict[str, Any]:
    """Return a function as all operations answer it."""
    kept = function.kept
    layers = [layer["arn"] for layer in kept.get("layers", ())]
    shown: dict[str, Any] = {
        "functionId": function.id,
        "functionName": own_name(function),
        **{name: getattr(function, attribute) for name, attribute in NAMES.items()},
        "codeSize": function.code.size_bytes if function.code else 0,
        "codeChecksum": function.code.checksum if function.code else "",
        "createdTime": show_time(function.created_at),
        "lastModifiedTime": show_time(function.modified_at),
        "initializer": function.initializer.handler if function.initializer else "",
        "initializationTimeout": initialization_timeout_s(function),
        "instanceLifecycleConfig": {
            "preFreeze": show_hook(function.pre_freeze),
            "preStop": show_hook(function.pre_stop),
        },
        "instanceType": DEFAULT_INSTANCE_TYPE,
        **{name: kept[name] for name in KEPT_HERE if name in kept},
        "layers": layers,
        "layersArnV2": layers,
    }
    shown["environmentVariables"] = dict(function.environment)
    if function.custom is not None:
        shown |= show_custom_settings(function.custom)
    if "customContainerConfig" in kept:
        shown["customContainerConfig"] = show_container(kept)
    return shown


def show_hook(hook: Hook | None) -> dict[str, Any]:
    if hook is None:
        return {"handler": "", "timeout": DEFAULT_HOOK_TIMEOUT_S}
    return {"handler": hook.handler, "timeout": hook.timeout_s}


def show_custom_settings(custom: CustomRuntime) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "caPort": custom.port,
        "customRuntimeConfig": {"command": list(custom.command), "args": list(custom.args)},
    }
    if custom.health_check is not None:
        shown["customHealthCheckConfig"] = show_health(custom.health_check)
    return shown


def show_container(kept: Mapping[str, Any]) -> dict[str, Any]:
    config = kept["customContainerConfig"]
    shown = {name: config[own] for name, own in CONTAINER_NAMES.items() if own in config}
    for name in ("command", "args"):
        if name in shown:
            shown[name] = msgspec.json.encode(shown[name]).decode()
    return {**shown, "webServerMode": kept.get("webServerMode", True)}
