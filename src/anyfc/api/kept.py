"""The fields of a function that are kept and returned, but have no effect here.

`KEPT` is the one list of them: what is accepted, what is returned when nothing was sent, and why
there is no effect. The reference page of the documentation is checked against it.

Source: the models of the Function Compute 3.0 API and its "Quotas and limits".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyfc.api.shape import (
    Choice,
    Flag,
    Integer,
    Items,
    JsonText,
    Record,
    Shape,
    Text,
    TextMap,
)
from anyfc.errors import InvalidArgument

LAYER = re.compile(
    r"acs:fc:[\w-]+:[\w-]+:layers/[A-Za-z_][\w-]{0,63}/versions/[0-9]{1,9}", re.ASCII
)
ROLE = re.compile(r"acs:ram::[0-9]+:role/[\w.@/-]+", re.ASCII)
SESSION_HEADER = re.compile(r"(?!x-fc-)[A-Za-z][\w-]*", re.ASCII | re.IGNORECASE)

MOUNT_POINTS = 5
TAGS = 20
LAYERS = 5

ROLE_NAME = Text(0, 300, ROLE, "is not of the form acs:ram::ACCOUNT:role/NAME")
PORT = Integer(1, 65535)
# In practice: 0 is root, and -1 leaves the choice to the platform.
OWNER_ID = Integer(-1, 65534)

HEALTH_CHECK = Record(
    {
        "httpGetUrl": Text(
            0, 2048, re.compile("/[!-~]*"), "must begin with / and hold only printable ASCII"
        ),
        "initialDelaySeconds": Integer(0, 120),
        "periodSeconds": Integer(1, 120),
        "timeoutSeconds": Integer(1, 3),
        "failureThreshold": Integer(1, 120),
        "successThreshold": Integer(1, 120),
    }
)
REGISTRY = Record(
    {
        "authConfig": Record({"userName": Text(), "password": Text(secret=True)}, secret=True),
        "certConfig": Record({"insecure": Flag(), "rootCaCertBase64": Text(0, 64 * 1024)}),
        "networkConfig": Record({"vpcId": Text(), "vSwitchId": Text(), "securityGroupId": Text()}),
    }
)
AFFINITY = Record(
    {
        "affinityHeaderFieldName": Text(
            5,
            40,
            SESSION_HEADER,
            "must begin with a letter, hold only letters, digits, - and _, and not be x-fc-…",
        ),
        "sseEndpointPath": Text(0, 2048),
        "sessionConcurrencyPerInstance": Integer(1, 200),
        "sessionTTLInSeconds": Integer(1, 21600),
        "sessionIdleTimeoutInSeconds": Integer(0, 21600),
        "disableSessionIdReuse": Flag(),
    }
)
HOOK: Mapping[str, Shape] = {"handler": Text(0, 128), "command": Items(Text())}
HOOKS = Record(
    {
        "initializer": Record({**HOOK, "timeout": Integer(1, 300)}),
        "preStop": Record({**HOOK, "timeout": Integer(1, 90)}),
    }
)


class Tags:
    """Key-value pairs that people sort their resources by; no key twice."""

    pairs = Items(Record({"Key": Text(1, 64), "Value": Text(0, 128)}, ("Key",)), TAGS)

    def read(self, value: Any, field: str) -> list[dict[str, str]]:
        pairs = self.pairs.read(value, field)
        tags = [{"Key": pair["Key"], "Value": pair.get("Value", "")} for pair in pairs]
        keys = [tag["Key"] for tag in tags]
        for key in keys:
            if key.startswith(("aliyun", "acs:")) or "http://" in key or "https://" in key:
                raise InvalidArgument(
                    f"{field}: the key '{key}' must not begin with aliyun or acs: "
                    "and not contain http:// or https://"
                )
            if keys.count(key) > 1:
                raise InvalidArgument(f"{field}: the key '{key}' is there more than once")
        return tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A field without effect. `unset` is what is returned when it was never sent; None: nothing."""

    shape: Shape
    why: str
    unset: Any = None
    on_update: bool = True


KEPT: Mapping[str, Kept] = {
    "internetAccess": Kept(
        shape=Flag(),
        unset=True,
        why="Python functions use the network of the machine as it is, and networks of custom "
        "runtimes always have a way out",
    ),
    "vpcConfig": Kept(
        shape=Record(
            {
                "vpcId": Text(0, 50),
                "vSwitchIds": Items(Text(), 10),
                "securityGroupId": Text(0, 50),
                "role": ROLE_NAME,
            }
        ),
        unset={"vpcId": "", "vSwitchIds": [], "securityGroupId": ""},
        why="there are no virtual networks here",
    ),
    "nasConfig": Kept(
        shape=Record(
            {
                "userId": OWNER_ID,
                "groupId": OWNER_ID,
                "mountPoints": Items(
                    Record(
                        {"serverAddr": Text(0, 128), "mountDir": Text(0, 64), "enableTLS": Flag()}
                    ),
                    MOUNT_POINTS,
                ),
            }
        ),
        unset={"userId": 0, "groupId": 0, "mountPoints": []},
        why="network file systems are not mounted",
    ),
    "ossMountConfig": Kept(
        shape=Record(
            {
                "mountPoints": Items(
                    Record(
                        {
                            "bucketName": Text(3, 64),
                            "bucketPath": Text(0, 128),
                            "endpoint": Text(0, 128),
                            "mountDir": Text(2, 64),
                            "readOnly": Flag(),
                        }
                    ),
                    MOUNT_POINTS,
                )
            }
        ),
        unset={"mountPoints": []},
        why="buckets are not mounted",
    ),
    "polarFsConfig": Kept(
        shape=Record(
            {
                "userId": OWNER_ID,
                "groupId": OWNER_ID,
                "mountPoints": Items(
                    Record(
                        {
                            "instanceId": Text(),
                            "remoteDir": Text(),
                            "mountDir": Text(),
                            "readOnly": Flag(),
                            "extraOptions": Text(),
                        }
                    ),
                    MOUNT_POINTS,
                ),
            }
        ),
        why="network file systems are not mounted",
    ),
    "juiceFsConfig": Kept(
        shape=Record(
            {
                "envs": TextMap(secret=True),
                "mountPoints": Items(
                    Record(
                        {
                            "volumeName": Text(),
                            "token": Text(secret=True),
                            "remoteDir": Text(),
                            "mountDir": Text(),
                            "args": Items(Text()),
                        }
                    ),
                    MOUNT_POINTS,
                ),
            }
        ),
        why="network file systems are not mounted",
    ),
    "logConfig": Kept(
        shape=Record(
            {
                "project": Text(0, 63),
                "logstore": Text(0, 63),
                "enableRequestMetrics": Flag(),
                "enableInstanceMetrics": Flag(),
                "enableLlmMetrics": Flag(),
                "logBeginRule": Choice(("None", "DefaultRegex")),
            }
        ),
        unset={
            "project": "",
            "logstore": "",
            "enableRequestMetrics": False,
            "enableInstanceMetrics": False,
            "logBeginRule": "None",
        },
        why="every function has its log here; project and logstore are only shown to its code",
    ),
    "tracingConfig": Kept(
        shape=Record({"type": Choice(("Jaeger",)), "params": TextMap()}),
        unset={},
        why="nothing is sent to a tracing endpoint",
    ),
    "customDNS": Kept(
        shape=Record(
            {
                "nameServers": Items(Text()),
                "searches": Items(Text()),
                "dnsOptions": Items(Record({"name": Text(0, 256), "value": Text(0, 256)})),
            }
        ),
        why="functions use the name servers of the machine",
    ),
    "gpuConfig": Kept(
        shape=Record(
            {"gpuType": Text(0, 128), "gpuMemorySize": Integer(0, 1024 * 1024, step=1024)}
        ),
        why="instances get no GPU",
    ),
    "customContainerConfig": Kept(
        shape=Record(
            {
                "image": Text(1, 4096),
                "port": PORT,
                "entrypoint": Items(Text()),
                "command": Items(Text()),
                "acrInstanceId": Text(),
                "accelerationType": Choice(("Default", "None")),
                "healthCheckConfig": HEALTH_CHECK,
                "registryConfig": REGISTRY,
            },
            required=("image",),
        ),
        why="custom containers do not run yet",
    ),
    "microSandboxConfig": Kept(
        shape=Record(
            {
                "image": Text(0, 4096),
                "osType": Text(),
                "startCommand": Text(),
                "readyCommand": Text(),
                "acrInstanceId": Text(),
                "registryConfig": REGISTRY,
            }
        ),
        why="the sandbox product is not offered",
    ),
    "instanceLifecycleConfig": Kept(
        shape=HOOKS, why="only for hooks given as `command`; hooks given as `handler` are called"
    ),
    "layers": Kept(
        shape=Items(Text(1, 512, LAYER, "is not the ARN of a layer version"), LAYERS),
        unset=[],
        why="layers do not exist yet; a named one is not looked up",
    ),
    "disableOndemand": Kept(
        shape=Flag(), unset=False, why="there are no provisioned instances yet"
    ),
    "disableInjectCredentials": Kept(
        shape=Choice(("None", "Env", "Request", "All")),
        why="a function with a role always gets its credentials, both ways",
    ),
    "enableLongLiving": Kept(shape=Flag(), why="there are no provisioned instances yet"),
    "instanceIsolationMode": Kept(
        shape=Choice(("SHARE", "REQUEST_EXCLUSIVE", "SESSION_EXCLUSIVE")),
        unset="SHARE",
        why="an instance that serves one request at a time is never shared",
    ),
    "sessionAffinity": Kept(
        shape=Choice(("NONE", "MCP_SSE", "MCP_STREAMABLE", "HEADER_FIELD", "GENERATED_COOKIE")),
        unset="NONE",
        why="sessions do not exist yet",
    ),
    "sessionAffinityConfig": Kept(shape=JsonText(AFFINITY), why="sessions do not exist yet"),
    "resourceGroupId": Kept(
        shape=Text(0, 128), on_update=False, why="ListFunctions filters by it; nothing else does"
    ),
    "tags": Kept(
        shape=Tags(),
        unset=[],
        on_update=False,
        why="ListFunctions filters by them; nothing else does",
    ),
}
