"""Every field of a function, one by one: what is accepted, what is refused, and in which words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from anyfc.api.kept import KEPT
from anyfc.api.wire import make, read_create, show
from anyfc.errors import InvalidArgument

NOW = datetime(2024, 1, 2, tzinfo=UTC)
REQUIRED = {
    "functionName": "my-func",
    "runtime": "python3.10",
    "handler": "index.handler",
    "code": {"zipFile": "UEsFBg=="},
}
ARN = "acs:fc:cn-test:123456:layers/my-layer/versions/1"
HEALTH = {
    "httpGetUrl": "/health",
    "initialDelaySeconds": 120,
    "periodSeconds": 120,
    "timeoutSeconds": 3,
    "failureThreshold": 120,
    "successThreshold": 120,
}


def create(**fields: Any) -> dict[str, Any]:
    """Return the function as it is shown."""
    function = make(read_create({**REQUIRED, **fields}), function_id="id", now=NOW)
    return show(function, region="cn-test", account_id="123456")


ACCEPTED = [
    ("functionName", "_"),
    ("functionName", "F-1_" + "a" * 124),
    ("description", ""),
    ("description", "ä" * 256),
    ("handler", "h"),
    ("handler", "h" * 128),
    ("timeout", 1),
    ("timeout", 86400),
    ("memorySize", 128),
    ("memorySize", 32768),
    ("cpu", 0.05),
    ("cpu", 16.0),
    ("diskSize", 512),
    ("diskSize", 10240),
    ("instanceConcurrency", 1),
    ("environmentVariables", {}),
    ("environmentVariables", {"A": "", "b_1": "ü€"}),
    ("environmentVariables", {"K": "v" * 4095}),
    ("environmentVariables", {"PATH": "/a:/b", "ALIBABA_CLOUD_ACCESS_KEY_ID": "x", "Topic": ""}),
    ("role", ""),
    ("role", "acs:ram::123456:role/my-role"),
    ("idleTimeout", 0),
    ("idleTimeout", 3600),
    ("internetAccess", False),
    ("disableOndemand", True),
    ("disableInjectCredentials", "Env"),
    ("enableLongLiving", True),
    ("resourceGroupId", "rg-1"),
    ("sessionAffinity", "MCP_SSE"),
    ("sessionAffinityConfig", '{"sseEndpointPath": "/sse", "sessionConcurrencyPerInstance": 200}'),
    (
        "sessionAffinityConfig",
        '{"affinityHeaderFieldName": "my-session", "sessionTTLInSeconds": 21600, '
        '"sessionIdleTimeoutInSeconds": 0, "disableSessionIdReuse": true}',
    ),
    ("tags", [{"Key": "k", "Value": ""}]),
    ("tags", [{"Key": f"{n}", "Value": "v" * 128} for n in range(20)]),
    ("vpcConfig", {"vpcId": "v" * 50, "vSwitchIds": ["s"] * 10, "securityGroupId": "g" * 50}),
    (
        "nasConfig",
        {
            "userId": -1,
            "groupId": 65534,
            "mountPoints": [{"serverAddr": "s" * 128, "mountDir": "/mnt", "enableTLS": True}] * 5,
        },
    ),
    (
        "ossMountConfig",
        {
            "mountPoints": [
                {
                    "bucketName": "abc",
                    "bucketPath": "/",
                    "endpoint": "e",
                    "mountDir": "/m",
                    "readOnly": True,
                }
            ]
        },
    ),
    (
        "polarFsConfig",
        {
            "userId": 1,
            "groupId": 1,
            "mountPoints": [
                {
                    "instanceId": "i",
                    "remoteDir": "/r",
                    "mountDir": "/m",
                    "readOnly": False,
                    "extraOptions": "o",
                }
            ],
        },
    ),
    (
        "juiceFsConfig",
        {
            "envs": {"Case": "Kept"},
            "mountPoints": [
                {
                    "volumeName": "v",
                    "token": "t",
                    "remoteDir": "/r",
                    "mountDir": "/m",
                    "args": ["a"],
                }
            ],
        },
    ),
    (
        "logConfig",
        {
            "project": "p" * 63,
            "logstore": "l" * 63,
            "enableRequestMetrics": True,
            "enableInstanceMetrics": True,
            "enableLlmMetrics": True,
            "logBeginRule": "DefaultRegex",
        },
    ),
    ("tracingConfig", {"type": "Jaeger", "params": {"endpoint": "http://t"}}),
    (
        "customDNS",
        {
            "nameServers": ["10.0.0.1"],
            "searches": ["a.b"],
            "dnsOptions": [{"name": "n" * 256, "value": "v" * 256}],
        },
    ),
    ("gpuConfig", {"gpuType": "fc.gpu.tesla.1", "gpuMemorySize": 8192}),
    (
        "customContainerConfig",
        {
            "image": "registry/image:1",
            "port": 1,
            "entrypoint": ["sh"],
            "command": ["-c"],
            "acrInstanceId": "cri",
            "accelerationType": "Default",
            "healthCheckConfig": HEALTH,
            "registryConfig": {
                "authConfig": {"userName": "u", "password": "p"},
                "certConfig": {"insecure": False, "rootCaCertBase64": "QQ=="},
                "networkConfig": {"vpcId": "v", "vSwitchId": "s", "securityGroupId": "g"},
            },
        },
    ),
    ("microSandboxConfig", {"image": "i", "osType": "linux", "startCommand": "s"}),
    ("instanceLifecycleConfig", {"initializer": {"handler": "index.init", "timeout": 300}}),
    ("instanceLifecycleConfig", {"preStop": {"handler": "h" * 128, "timeout": 90}}),
    ("instanceLifecycleConfig", {"initializer": {"command": ["a", "b"], "timeout": 1}}),
]


@pytest.mark.parametrize(("field", "value"), ACCEPTED, ids=lambda value: str(value)[:40])
def test_a_field_within_its_limits_is_returned_as_it_was_sent(field, value):
    assert create(**{field: value})[field] == value


REFUSED = [
    ("functionName", "", "functionName: '' has 0 characters; allowed are 1 to 128"),
    ("functionName", "a" * 129, "has 129 characters; allowed are 1 to 128"),
    ("functionName", "1a", "functionName: '1a' must begin with a letter or _"),
    ("functionName", "-a", "must begin with a letter or _"),
    ("functionName", "a/b", "must begin with a letter or _"),
    ("functionName", "a\n", "must begin with a letter or _"),
    ("functionName", "ä", "must begin with a letter or _"),
    ("description", "a" * 257, "description: 'a"),
    ("runtime", "python4", "runtime: 'python4' is not one of nodejs8"),
    ("handler", "", "handler: '' has 0 characters; allowed are 1 to 128"),
    ("handler", "h" * 129, "has 129 characters; allowed are 1 to 128"),
    ("timeout", 0, "timeout: 0 is not between 1 and 86400"),
    ("timeout", 86401, "timeout: 86401 is not between 1 and 86400"),
    ("memorySize", 64, "memorySize: 64 is not between 128 and 32768"),
    ("memorySize", 32832, "memorySize: 32832 is not between 128 and 32768"),
    ("memorySize", 500, "memorySize: 500 is not a multiple of 64"),
    ("cpu", 0.04, "cpu: 0.04 is not between 0.05 and 16"),
    ("cpu", 16.05, "cpu: 16.05 is not between 0.05 and 16"),
    ("cpu", 0.36, "cpu: 0.36 is not a multiple of 0.05"),
    ("diskSize", 1024, "diskSize: 1024 is not one of 512, 10240"),
    ("instanceConcurrency", 0, "instanceConcurrency: 0 is not between 1 and 200"),
    ("instanceConcurrency", 201, "instanceConcurrency: 201 is not between 1 and 200"),
    ("instanceConcurrency", 2, "instanceConcurrency: 2 is not 1"),
    ("environmentVariables", {"1a": ""}, "environmentVariables: '1a' must begin with a letter"),
    ("environmentVariables", {"a-b": ""}, "environmentVariables: 'a-b' must begin with a letter"),
    ("environmentVariables", {"": ""}, "environmentVariables: '' has 0 characters"),
    ("environmentVariables", {"FC_X": ""}, "'FC_X' is reserved for the platform"),
    ("environmentVariables", {"accessKeyID": ""}, "'accessKeyID' is reserved"),
    ("environmentVariables", {"accessKeySecret": ""}, "'accessKeySecret' is reserved"),
    ("environmentVariables", {"securityToken": ""}, "'securityToken' is reserved"),
    ("environmentVariables", {"topic": ""}, "'topic' is reserved"),
    ("environmentVariables", {"a": "\0"}, "environmentVariables.a: holds a NUL character"),
    ("environmentVariables", {"a": True}, "environmentVariables.'a': the value is not text"),
    ("environmentVariables", "PW=x", "environmentVariables: the value is not an object"),
    ("environmentVariables", {"PW": "x" * 16385}, "'PW': the value has 16385 characters"),
    ("environmentVariables", {"K": "v" * 4096}, "4097 bytes, names and values together"),
    ("environmentVariables", {"K": "ü" * 2048}, "4097 bytes, names and values together"),
    ("role", "admin", "role: 'admin' is not of the form acs:ram::ACCOUNT:role/NAME"),
    ("role", "acs:ram::1:role/" + "r" * 300, "allowed are 0 to 300"),
    ("idleTimeout", -2, "idleTimeout: -2 is not between -1"),
    ("internetAccess", "maybe", "internetAccess: 'maybe' is not true or false"),
    ("disableInjectCredentials", "none", "is not one of None, Env, Request, All"),
    ("instanceIsolationMode", "OWN", "instanceIsolationMode: 'OWN' is not one of SHARE"),
    ("instanceIsolationMode", "REQUEST_EXCLUSIVE", "needs at least 2 vCPU, not 0.35"),
    ("sessionAffinity", "COOKIE", "sessionAffinity: 'COOKIE' is not one of NONE"),
    ("sessionAffinityConfig", {}, "sessionAffinityConfig: {} is not text"),
    ("sessionAffinityConfig", "[]", "sessionAffinityConfig: [] is not an object"),
    (
        "sessionAffinityConfig",
        '{"affinityHeaderFieldName": "x-fc-session"}',
        "sessionAffinityConfig.affinityHeaderFieldName: 'x-fc-session' must begin with a letter",
    ),
    (
        "sessionAffinityConfig",
        '{"sessionTTLInSeconds": 21601}',
        "sessionAffinityConfig.sessionTTLInSeconds: 21601 is not between 1 and 21600",
    ),
    ("tags", [{"Key": str(n)} for n in range(21)], "tags: 21 items; at most 20 are allowed"),
    ("tags", [{"Key": "k" * 65}], "allowed are 1 to 64"),
    ("tags", [{"Key": "k", "Value": "v" * 129}], "allowed are 0 to 128"),
    ("tags", [{"Value": "v"}], "tags[0].Key: required, but not sent"),
    ("tags", [{"Key": "acs:k"}], "tags: the key 'acs:k' must not begin with aliyun or acs:"),
    ("tags", [{"Key": "a"}, {"Key": "a"}], "tags: the key 'a' is there more than once"),
    ("layers", [ARN] * 6, "layers: 6 items; at most 5 are allowed"),
    ("layers", ["my-layer"], "layers[0]: 'my-layer' is not the ARN of a layer version"),
    ("vpcConfig", "auto", "vpcConfig: 'auto' is not an object"),
    ("vpcConfig", {"vpcId": "v" * 51}, "vpcConfig.vpcId: 'v"),
    ("vpcConfig", {"vSwitchIds": ["s"] * 11}, "vpcConfig.vSwitchIds: 11 items; at most 10"),
    ("vpcConfig", {"securityGroupId": "g" * 51}, "vpcConfig.securityGroupId: 'g"),
    ("nasConfig", {"userId": 65535}, "nasConfig.userId: 65535 is not between -1 and 65534"),
    ("nasConfig", {"mountPoints": [{}] * 6}, "nasConfig.mountPoints: 6 items; at most 5"),
    (
        "nasConfig",
        {"mountPoints": [{"mountDir": "m" * 65}]},
        "nasConfig.mountPoints[0].mountDir: 'm",
    ),
    ("ossMountConfig", {"mountPoints": [{}] * 6}, "ossMountConfig.mountPoints: 6 items; at most 5"),
    (
        "ossMountConfig",
        {"mountPoints": [{"bucketName": "ab"}]},
        "ossMountConfig.mountPoints[0].bucketName: 'ab' has 2 characters; allowed are 3 to 64",
    ),
    ("logConfig", {"project": "p" * 64}, "allowed are 0 to 63"),
    ("logConfig", {"logstore": "p" * 64}, "allowed are 0 to 63"),
    ("logConfig", {"logBeginRule": "x"}, "logConfig.logBeginRule: 'x' is not one of None"),
    ("tracingConfig", {"type": "zipkin"}, "tracingConfig.type: 'zipkin' is not one of Jaeger"),
    ("customDNS", {"dnsOptions": [{"name": "n" * 257}]}, "customDNS.dnsOptions[0].name: 'n"),
    ("gpuConfig", {"gpuMemorySize": 1000}, "gpuConfig.gpuMemorySize: 1000 is not a multiple of"),
    ("gpuConfig", {"gpuType": "g" * 129}, "gpuConfig.gpuType: 'g"),
    ("customRuntimeConfig", {"port": 0}, "customRuntimeConfig.port: 0 is not between 1 and 65535"),
    ("customRuntimeConfig", {"command": "./run"}, "customRuntimeConfig.command: './run' is not a"),
    *(
        (
            "customRuntimeConfig",
            {"healthCheckConfig": {name: most + 1}},
            f"customRuntimeConfig.healthCheckConfig.{name}: {most + 1} is not between",
        )
        for name, most in HEALTH.items()
        if isinstance(most, int)
    ),
    ("customContainerConfig", {}, "customContainerConfig.image: required, but not sent"),
    (
        "instanceLifecycleConfig",
        {"initializer": {"handler": "a.b", "timeout": 301}},
        "instanceLifecycleConfig.initializer.timeout: 301 is not between 1 and 300",
    ),
    (
        "instanceLifecycleConfig",
        {"preStop": {"handler": "a.b", "timeout": 91}},
        "instanceLifecycleConfig.preStop.timeout: 91 is not between 1 and 90",
    ),
    (
        "instanceLifecycleConfig",
        {"preStop": {"handler": "h" * 129}},
        "instanceLifecycleConfig.preStop.handler: 'h",
    ),
    (
        "instanceLifecycleConfig",
        {"initializer": {"handler": "a.b", "command": ["c"]}},
        "instanceLifecycleConfig.initializer: handler and command exclude each other",
    ),
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_field_outside_its_limits_is_refused_by_name(field, value, message):
    with pytest.raises(InvalidArgument) as refusal:
        create(**{field: value})
    assert message in refusal.value.message


def test_every_kept_field_has_a_case():
    assert set(KEPT) - {"layers", "instanceIsolationMode"} <= {field for field, _ in ACCEPTED}
