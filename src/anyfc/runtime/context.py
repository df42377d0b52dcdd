"""What a handler is told: ids, limits, credentials, environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyfc.identity.key import Credentials
from anyfc.model.function import Function
from anyfc.model.version import LATEST
from anyfc.runtime.preinstalled import NAMES
from anyfc.runtime.table import CUSTOM
from anyfc.sandbox.box import Seen

CUSTOM_SEARCH_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
SEARCH_PATH = f"{CUSTOM_SEARCH_PATH}:/opt/bin"
DEFAULT_PORT = 9000
DEBIAN_10_AND_OLDER = ("python3", "python3.9", "python3.10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where, for FC, the function runs."""

    region: str
    account_id: str


def own_name(function: Function) -> str:
    """Return what a function is called without its service."""
    return function.name.removeprefix(f"{function.service}$")


def build_program(
    function: Function, place: Place, credentials: Credentials, *, instance_id: str, seen: Seen
) -> dict[str, Any]:
    """Return PROGRAM of `bootstrap/DIALOGUE.md` for an instance of `function`."""
    return {
        "runtime": function.runtime,
        "handler": function.handler,
        "initializer": function.initializer.handler if function.initializer else "",
        "pre_freeze": function.pre_freeze.handler if function.pre_freeze else "",
        "pre_stop": function.pre_stop.handler if function.pre_stop else "",
        "environment": build_environment(
            function, place, credentials, instance_id=instance_id, seen=seen
        ),
        "context": {
            "function": {
                "name": own_name(function),
                "handler": function.handler,
                "memory": function.memory_mib,
                "timeout": function.timeout_s,
                "version_id": "",  # what LATEST is called here
                "qualifier": LATEST,
            },
            "service": {
                "name": function.service,
                "log_project": function.log_project,
                "log_store": function.log_store,
            },
            "region": place.region,
            "account_id": place.account_id,
            "credentials": {
                "access_key_id": credentials.access_key_id,
                "access_key_secret": credentials.access_key_secret,
                "security_token": credentials.security_token,
            },
            "tracing": {"span_context": "", "jaeger_endpoint": "", "span_baggages": ""},
        },
        "modules": seen.modules,
        "preinstalled": NAMES[function.runtime],
    }


def build_environment(
    function: Function, place: Place, credentials: Credentials, *, instance_id: str, seen: Seen
) -> Mapping[str, str]:
    """Return the whole environment of an instance; what the user set wins.

    Source: "Configure environment variables"; runtime.md 10.2 for what each runtime has.
    """
    code = seen.code
    system = {
        "HOME": seen.home,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "FC_FUNC_CODE_PATH": code,
        "FC_ACCOUNT_ID": place.account_id,
        "FC_FUNCTION_HANDLER": function.handler,
        "FC_FUNCTION_MEMORY_SIZE": str(function.memory_mib),
        "FC_FUNCTION_NAME": own_name(function),
        "FC_REGION": place.region,
        "FC_INSTANCE_ID": instance_id,
        "FC_QUALIFIER": LATEST,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": credentials.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": credentials.access_key_secret,
        "ALIBABA_CLOUD_SECURITY_TOKEN": credentials.security_token,
    }
    if function.runtime in CUSTOM:
        port = str(function.custom.port if function.custom else DEFAULT_PORT)
        system |= {"PATH": CUSTOM_SEARCH_PATH, "FC_CUSTOM_LISTEN_PORT": port}
        system["FC_SERVER_PORT"] = port
        # Assumed: the documentation's samples print, and their lines are shown with the request.
        system["PYTHONUNBUFFERED"] = "1"
    else:
        version = "FC_VER_ID" if function.runtime in DEBIAN_10_AND_OLDER else "FC_FUNCTION_VERSION"
        libraries = f"{code}:{code}/lib:/usr/local/lib:/opt/lib"
        system |= {"PATH": SEARCH_PATH, "LD_LIBRARY_PATH": libraries, version: LATEST}
    if function.runtime == "custom":  # the oldest image
        system |= {"PYTHONPATH": code, "LD_LIBRARY_PATH": f"{code}:{code}/lib:/usr/local/lib"}
    if function.service:
        system["FC_SERVICE_NAME"] = function.service
    if seen.temporary != "/tmp":
        system["TMPDIR"] = seen.temporary
    return system | dict(function.environment)
