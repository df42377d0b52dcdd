"""Triggers on the wire: what a create or an update may say, and how a trigger is shown.

Source: CreateTriggerInput, UpdateTriggerInput and Trigger of the Function Compute 3.0 API, and the
pages on each kind of trigger.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from anyfc.api.access_wire import (
    AUTH_TYPE,
    CORS,
    METHOD,
    SETTINGS,
    read_access,
    read_cors,
    some,
)
from anyfc.api.shape import Choice, Flag, Integer, Items, JsonObject, Record, Shape, Text
from anyfc.api.wire import FUNCTION_NAME, show_time
from anyfc.model.address import own_domain
from anyfc.model.trigger import HttpSettings, Trigger
from anyfc.model.version import LATEST, check_qualifier

LABEL_NAME_CHARACTERS = 40

# What a `triggerConfig` must be, so that it could be what it says. Only `http` has an effect.
CONFIGS: Mapping[str, Record] = {
    "http": Record(
        {
            "methods": Items(METHOD),
            "authType": AUTH_TYPE,
            "authConfig": SETTINGS,
            "disableURLInternet": Flag(),
            "corsConfig": CORS,
        },
        ("methods",),
    ),
    "timer": Record(
        {"cronExpression": Text(1, 256), "payload": Text(0, 64 * 1024), "enable": Flag()},
        ("cronExpression",),
    ),
    "oss": Record(
        {
            "events": Items(Text(1, 128)),
            "filter": Record({"key": Record({"prefix": Text(), "suffix": Text()})}),
        },
        ("events",),
    ),
    "log": Record(
        {
            "sourceConfig": Record({"logstore": Text()}),
            "jobConfig": Record(
                {"maxRetryTime": Integer(0, 100), "triggerInterval": Integer(3, 600)}
            ),
            "logConfig": Record({"project": Text(), "logstore": Text()}),
            "enable": Flag(),
        },
        ("sourceConfig",),
    ),
    "mns_topic": Record(
        {"filterTag": Text(), "notifyContentFormat": Text(), "notifyStrategy": Text()}
    ),
    "cdn_events": Record(
        {
            "eventName": Text(1, 128),
            "eventVersion": Text(),
            "notes": Text(),
            "filter": Record({"domain": Items(Text())}),
        },
        ("eventName",),
    ),
    "tablestore": Record({}),
    "eventbridge": Record(
        {
            "triggerEnable": Flag(),
            "asyncInvocationType": Flag(),
            "eventSourceConfig": Record({"eventSourceType": Text()}),
        }
    ),
}

UPDATE: Mapping[str, Shape] = {
    "triggerConfig": JsonObject(secret=True),
    "qualifier": Text(0, 128),
    "invocationRole": Text(0, 300),
    "description": Text(0, 256),
}
CREATE: Mapping[str, Shape] = {
    "triggerName": FUNCTION_NAME,
    "triggerType": Choice(tuple(CONFIGS)),
    "sourceArn": Text(0, 300),
    **UPDATE,
}
REQUIRED = ("triggerName", "triggerType", "triggerConfig")

# Wire name → model name.
NAMES: Mapping[str, str] = {
    "triggerName": "name",
    "triggerType": "type",
    "triggerConfig": "config",
    "qualifier": "qualifier",
    "sourceArn": "source_arn",
    "invocationRole": "invocation_role",
    "description": "description",
}

Sent = Mapping[str, Any]  # by names in the model


def read_create(body: Any) -> Sent:
    """Read the body of CreateTrigger. Raises InvalidArgument."""
    return name_all(Record(CREATE, REQUIRED).read(body, ""))


def read_update(body: Any) -> Sent:
    """Read the body of UpdateTrigger. Raises InvalidArgument."""
    return name_all(Record(UPDATE).read(body, ""))


def name_all(fields: dict[str, Any]) -> Sent:
    sent = {NAMES[name]: value for name, value in fields.items()}
    if "qualifier" in sent:
        sent["qualifier"] = sent["qualifier"] or LATEST
    return sent


def make(sent: Sent, *, function: str, trigger_id: str, letters: str, now: datetime) -> Trigger:
    """Return the trigger that a create describes; `letters` make its host name its own.

    Raises InvalidArgument and `check_qualifier`'s.
    """
    label = make_label(function, letters) if sent["type"] == "http" else ""
    trigger = Trigger(
        id=trigger_id,
        function=function,
        created_at=now,
        modified_at=now,
        label=label,
        **{"qualifier": LATEST, **sent},
    )
    return settle(trigger)


def merge(old: Trigger, sent: Sent, *, now: datetime) -> Trigger:
    """Return the trigger after an update; what was sent replaces the old value as a whole.

    Raises InvalidArgument and `check_qualifier`'s.
    """
    return settle(replace(old, modified_at=now, **sent))


def settle(trigger: Trigger) -> Trigger:
    """Check a trigger, and read what its text says."""
    check_qualifier(trigger.function, trigger.qualifier)
    content = msgspec.json.decode(trigger.config or "{}")
    fields = CONFIGS[trigger.type].read(content, "triggerConfig")
    return replace(trigger, http=read_http(fields) if trigger.type == "http" else None)


def read_http(fields: dict[str, Any]) -> HttpSettings:
    return HttpSettings(
        methods=tuple(dict.fromkeys(some(fields["methods"], "triggerConfig.methods"))),
        access=read_access(
            fields.get("authType", "function"),
            fields.get("authConfig"),
            "triggerConfig.authConfig",
        ),
        cors=read_cors(fields.get("corsConfig", {}), "triggerConfig.corsConfig"),
        closed=fields.get("disableURLInternet", False),
    )


def make_label(function: str, letters: str) -> str:
    """Return the first part of a trigger's host name: whose it is, and letters nobody else has."""
    name = re.sub(r"[^a-z0-9]+", "-", function[:LABEL_NAME_CHARACTERS].lower()).strip("-")
    return f"{name}-{letters}" if name else letters


def find_port(host: str) -> int | None:
    """Return the port in a Host header, which some clients write with the scheme."""
    found = re.search(r":([0-9]{1,5})/?$", host)
    return int(found[1]) if found else None


def show(trigger: Trigger, *, region: str, account_id: str, port: int) -> dict[str, Any]:
    """Return a trigger as all operations answer it; `port` is where its host name is served."""
    shown: dict[str, Any] = {
        "triggerId": trigger.id,
        **{name: getattr(trigger, attribute) for name, attribute in NAMES.items()},
        "targetArn": f"acs:fc:{region}:{account_id}:functions/{trigger.function}",
        "status": "OK",
        "createdTime": show_time(trigger.created_at),
        "lastModifiedTime": show_time(trigger.modified_at),
    }
    if trigger.http is not None:
        shown["httpTrigger"] = {
            "urlInternet": f"http://{trigger.label}{own_domain(region)}:{port}",
            "urlIntranet": f"http://{trigger.label}{own_domain(region, internal=True)}:{port}",
        }
    return shown
