"""Trigger: a rule that makes invocations of a function from something outside."""

from dataclasses import dataclass
from datetime import datetime

from anyfc.model.access import Access, Cors

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What an HTTP trigger lets through."""

    methods: tuple[str, ...]
    access: Access
    cors: Cors | None = None
    closed: bool = False  # `disableURLInternet`: the address refuses, custom domains work on


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
