"""Settings of custom runtimes on the wire: `customRuntimeConfig`.

Source: CustomRuntimeConfig and CustomHealthCheckConfig of the Function Compute 3.0 API.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anyfc.api.kept import HEALTH_CHECK, PORT
from anyfc.api.shape import Items, Record, Text
from anyfc.errors import InvalidArgument
from anyfc.model.function import CustomRuntime, HealthCheck
from anyfc.runtime.table import CONTAINER, brings_server

ARGUMENT = Text(0, 16 * 1024, re.compile(r"[^\0]*"), "holds a NUL character")
CUSTOM_RUNTIME = Record(
    {
        "command": Items(ARGUMENT),
        "args": Items(ARGUMENT),
        "port": PORT,
        "healthCheckConfig": HEALTH_CHECK,
    }
)

# Wire name → model name.
HEALTH_NAMES: Mapping[str, str] = {
    "httpGetUrl": "path",
    "initialDelaySeconds": "initial_delay_s",
    "periodSeconds": "period_s",
    "timeoutSeconds": "timeout_s",
    "failureThreshold": "failure_threshold",
    "successThreshold": "success_threshold",
}


def read_custom(fields: dict[str, Any]) -> CustomRuntime:
    """Return the settings that a `customRuntimeConfig` of its shape says."""
    health = {
        HEALTH_NAMES[name]: value for name, value in fields.get("healthCheckConfig", {}).items()
    }
    custom = CustomRuntime(
        command=tuple(fields.get("command", ())),
        args=tuple(fields.get("args", ())),
        health_check=HealthCheck(**health) if health.get("path") else None,
    )
    return replace(custom, port=fields["port"]) if "port" in fields else custom


def settle_custom(
    runtime: str, sent: CustomRuntime | None, old: CustomRuntime | None
) -> CustomRuntime | None:
    """Return the settings of a function with a runtime: what was sent, else what was there.

    Raises InvalidArgument when the runtime has no such settings.
    """
    if not brings_server(runtime):
        if sent not in (None, CustomRuntime()):
            raise InvalidArgument(f"customRuntimeConfig: not allowed with runtime {runtime}")
        return None
    return sent or old or (None if runtime == CONTAINER else CustomRuntime())


def show_custom(custom: CustomRuntime) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "command": list(custom.command),
        "args": list(custom.args),
        "port": custom.port,
    }
    if custom.health_check is not None:
        shown["healthCheckConfig"] = show_health(custom.health_check)
    return shown


def show_health(check: HealthCheck) -> dict[str, Any]:
    return {name: getattr(check, attribute) for name, attribute in HEALTH_NAMES.items()}
