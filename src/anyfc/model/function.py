"""Function: its code, its resources, its lifecycle hooks, and the service it may belong to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A call at the start or the end of an instance's life."""

    handler: str
    timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A path of a custom runtime that says how it is: 200 to 399 is well."""

    path: str
    initial_delay_s: int = 0
    period_s: int = 3
    timeout_s: int = 1
    failure_threshold: int = 3
    success_threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomRuntime:
    """How the server that a function brings along is started, and where it listens."""

    command: tuple[str, ...] = ()  # with `args` empty too: /code/bootstrap
    args: tuple[str, ...] = ()
    port: int = 9000
    health_check: HealthCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code package: `digest` finds its bytes in the blob store, `checksum` goes on the wire."""

    digest: str  # SHA-256, lower-case hex
    checksum: str  # CRC-64/XZ, unsigned decimal
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """Invocations of the function are refused, since when and why."""

    reason: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Code, settings and handler under one name, as they are now (`LATEST`)."""

    id: str
    name: str
    runtime: str
    handler: str
    code: Code | None  # None only for runtimes that bring an image
    created_at: datetime
    modified_at: datetime
    # Grows with every change that an instance must see; instances of an older one are retired.
    generation: int = 1
    description: str = ""
    timeout_s: int = 3
    memory_mib: int = 512
    cpu: float = 0.35
    disk_mib: int = 512
    instance_concurrency: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    role: str = ""
    initializer: Hook | None = None
    pre_stop: Hook | None = None
    pre_freeze: Hook | None = None  # of functions made with an API before 3.0 only
    custom: CustomRuntime | None = None  # of custom runtimes only
    service: str = ""  # of functions made with an API before 3.0: `name` is then `service$function`
    log_project: str = ""
    log_store: str = ""
    idle_timeout_s: int | None = None
    restriction: Restriction | None = None
    # Fields that have no effect here, in the shape in which the API returns them.
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What functions made with an API before 3.0 belong to; some of their settings are its own."""

    id: str
    name: str
    created_at: datetime
    modified_at: datetime
    description: str = ""
    role: str = ""
    log_project: str = ""
    log_store: str = ""
    # Fields that have no effect here, in the shape in which the API returns them.
    kept: Mapping[str, Any] = field(default_factory=dict)


def name_in(service: str, function: str) -> str:
    """Return the name of a service's function. No other function has a `$` in its name."""
    return f"{service}${function}"


def furnish(function: Function, service: Service) -> Function:
    """Return a function with the settings that all functions of its service have."""
    return replace(
        function,
        role=service.role,
        log_project=service.log_project,
        log_store=service.log_store,
        kept={**function.kept, **service.kept},
    )


def follow(function: Function, service: Service) -> Function:
    """Return a function after a change of its service; instances must see what is new to it."""
    furnished = furnish(function, service)
    if furnished == function:
        return function
    return replace(furnished, generation=function.generation + 1)
