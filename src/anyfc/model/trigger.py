"""Trigger: a rule that makes invocations of a function from something outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from anyfc.errors import LimitExceededError, TriggerAlreadyExists
from anyfc.model.access import Access, Cors

MOST_OF_A_FUNCTION = 50
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What an HTTP trigger lets through."""

    methods: tuple[str, ...]
    access: Access
    cors: Cors | None = None
    closed: bool = False  # `disableURLInternet`: it is reached from inside and by custom domains


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One trigger of one version or alias of a function."""

    id: str
    function: str
    name: str
    type: str
    qualifier: str
    config: str  # JSON text, as it was sent
    created_at: datetime
    modified_at: datetime
    source_arn: str = ""
    invocation_role: str = ""
    description: str = ""
    label: str = ""  # of an HTTP trigger: the first part of its host name, chosen once
    http: HttpSettings | None = None  # what `config` of an HTTP trigger says


def check_room(trigger: Trigger, others: Sequence[Trigger]) -> None:
    """Refuse a trigger that has no room among the others of its function.

    A second HTTP trigger of a qualifier is refused with TriggerAlreadyExists: of the documented
    codes it is the one that says what is in the way. Raises that and LimitExceededError.

    Source: "Quotas and limits": one HTTP trigger for each version or alias, 50 triggers in all.
    """
    for other in others:
        if other.name == trigger.name:
            raise TriggerAlreadyExists(
                f"trigger '{trigger.name}' of function '{trigger.function}' already exists"
            )
        if other.http and trigger.http and other.qualifier == trigger.qualifier:
            raise TriggerAlreadyExists(
                f"function '{trigger.function}' already has an HTTP trigger for qualifier "
                f"'{trigger.qualifier}': '{other.name}'"
            )
    if len(others) >= MOST_OF_A_FUNCTION:
        raise LimitExceededError(
            f"function '{trigger.function}' has {len(others)} triggers; "
            f"at most {MOST_OF_A_FUNCTION} are allowed"
        )
