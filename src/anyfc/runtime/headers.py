"""Common headers: what every request to a function's own server says, calls and hooks alike."""

from typing import Final

from anyfc.identity.key import Credentials
from anyfc.model.function import Function
from anyfc.model.version import LATEST
from anyfc.runtime.context import Place, own_name

# Here the token is in the environment only; documented for 11, and 12 is like it.
WITHOUT_TOKEN: Final = frozenset(("custom.debian11", "custom.debian12"))

# The same for every function: a request is made once, and nothing traces it.
FIXED: Final = {
    "retry-count": "0",
    "client-ip": "",
    "api-server-ip": "",
    "eagleeye-traceid": "",
    "eagleeye-rpcid": "",
    "eagleeye-userdata": "",
    "tracing-jaeger-endpoint": "",
    "tracing-opentracing-span-context": "",
    "tracing-opentracing-span-baggages": "",
}
BREAKS: Final = bytes.maketrans(b"\r\n\0", b"   ")


def says_failed(lower: bytes, value: bytes) -> bool:
    """Whether a header, its name in lower case, is a server's word that the invocation has failed.

    Source: runtime.md 4.3.
    """
    return lower == b"x-fc-status" and value.strip() == b"404"


def common_head(
    function: Function,
    *,
    place: Place,
    credentials: Credentials,
    instance_id: str,
    version: str = LATEST,
) -> bytes:
    """Return the header lines that stay the same for an instance; each ends in a line break.

    What is not configured is there and empty, but for the hooks, of which the cloud then says
    nothing. Each request adds `x-fc-request-id` and `x-fc-control-path`.

    Source: runtime.md 13.2; "Common request headers" in the documentation of custom runtimes.
    """
    values = {
        "access-key-id": credentials.access_key_id,
        "access-key-secret": credentials.access_key_secret,
        "security-token": credentials.security_token,
        "function-name": own_name(function),
        "function-handler": function.handler,
        "function-memory": str(function.memory_mib),
        "function-timeout": str(function.timeout_s),
        "region": place.region,
        "account-id": place.account_id,
        "qualifier": version,
        "version-id": "" if version == LATEST else version,
        "service-name": function.service,
        "service-logproject": function.log_project,
        "service-logstore": function.log_store,
        "instance-id": instance_id,
    }
    if function.runtime in WITHOUT_TOKEN:
        del values["security-token"]
    if function.initializer is not None:
        values["function-initializer"] = function.initializer.handler
        values["initialization-timeout"] = str(function.initializer.timeout_s)
    for name, hook in (("pre-stop", function.pre_stop), ("pre-freeze", function.pre_freeze)):
        if hook is not None:
            values[f"instance-lifecycle-{name}-handler"] = hook.handler
    lines = [f"x-fc-{name}: {value}".encode() for name, value in (values | FIXED).items()]
    # A name or a handler must not begin another header.
    return b"".join(line.translate(BREAKS) + b"\r\n" for line in lines)
