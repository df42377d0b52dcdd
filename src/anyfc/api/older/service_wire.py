"""Services on the wire: what a create or an update may say, and how a service is shown.

Source: CreateServiceRequest, UpdateServiceRequest and Service of API version 2021-04-06.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from anyfc.api.kept import KEPT, ROLE_NAME
from anyfc.api.shape import Record, Shape, Text
from anyfc.api.wire import FUNCTION_NAME, show_in_list, show_time, take_log
from anyfc.errors import InvalidArgument
from anyfc.model.function import Function, Service

# Wire name → model name.
NAMES: Mapping[str, str] = {
    "serviceName": "name",
    "description": "description",
    "role": "role",
}
# In 3.0 these are settings of a function.
KEPT_HERE = (
    "internetAccess",
    "vpcConfig",
    "nasConfig",
    "ossMountConfig",
    "logConfig",
    "tracingConfig",
)

UPDATE: Mapping[str, Shape] = {
    "description": Text(0, 256),
    "role": ROLE_NAME,
    **{name: KEPT[name].shape for name in KEPT_HERE},
}
CREATE: Mapping[str, Shape] = {"serviceName": FUNCTION_NAME, **UPDATE}
REQUIRED = ("serviceName",)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a create or an update said; what it left out is not in here."""

    values: Mapping[str, Any]  # by their names in the model
    kept: Mapping[str, Any]


def read_create(body: Any) -> Sent:
    """Read the body of CreateService. Raises InvalidArgument."""
    return sort_out(Record(CREATE, REQUIRED).read(body, ""))


def read_update(body: Any) -> Sent:
    """Read the body of UpdateService. Raises InvalidArgument."""
    return sort_out(Record(UPDATE).read(body, ""))


def sort_out(fields: dict[str, Any]) -> Sent:
    values = {NAMES[name]: value for name, value in fields.items() if name in NAMES}
    kept = {name: value for name, value in fields.items() if name in KEPT_HERE}
    values |= take_log(kept)
    return Sent(values, kept)


def make(sent: Sent, *, service_id: str, now: datetime) -> Service:
    """Return the service that a create describes."""
    return Service(id=service_id, created_at=now, modified_at=now, kept=sent.kept, **sent.values)


def merge(old: Service, sent: Sent, *, now: datetime) -> Service:
    """Return the service after an update; what was sent replaces the old value as a whole."""
    return replace(old, modified_at=now, kept={**old.kept, **sent.kept}, **sent.values)


def check_function(old: Function, new: Function) -> None:
    """Refuse an update of 3.0 that sets a function apart from its service.

    Raises InvalidArgument.
    """
    if not old.service:
        return
    before, after = (show_in_list(function, region="", account_id="") for function in (old, new))
    for name in ("role", *KEPT_HERE):
        if before[name] != after[name]:
            raise InvalidArgument(
                f"{name}: service '{old.service}' has one for all of its functions; "
                "change it there, with UpdateService of the API before 3.0"
            )


def show(service: Service) -> dict[str, Any]:
    """Return a service as all operations answer it."""
    shown: dict[str, Any] = {
        "serviceId": service.id,
        **{name: getattr(service, attribute) for name, attribute in NAMES.items()},
        "createdTime": show_time(service.created_at),
        "lastModifiedTime": show_time(service.modified_at),
        "useSLRAuthentication": False,
    }
    for name in KEPT_HERE:
        unset = KEPT[name].unset
        value = service.kept.get(name, unset)
        shown[name] = {**unset, **value} if isinstance(unset, dict) else value
    shown["logConfig"] |= {"project": service.log_project, "logstore": service.log_store}
    return shown
