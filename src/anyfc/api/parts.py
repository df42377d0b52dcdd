"""What the endpoints of the control API work with, and what an endpoint is."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_lowercase
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from anyfc.instance.code import Packages
from anyfc.instance.logs import Logs
from anyfc.model.function import Function
from anyfc.sandbox.box import Level
from anyfc.store.catalog import Catalog
from anyfc.store.domains import Domains
from anyfc.store.functions import Functions
from anyfc.store.routes import Routes
from anyfc.store.services import Services
from anyfc.store.triggers import Triggers


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts and settings that the composition root hands to the control API."""

    catalog: Catalog
    routes: Routes
    functions: Functions
    services: Services
    triggers: Triggers
    domains: Domains
    packages: Packages
    logs: Logs
    code_path: Callable[[str], Path]  # digest → the stored package
    address_key: bytes  # signs the addresses of code packages
    address_port: Callable[[], int]  # the server's, for callers who do not say which they used
    tls_port: Callable[[], int]  # where custom domains with a certificate are served
    tls_problem: Callable[[], str]  # why that port, though it is needed, is not open
    level: Level
    own_networks: bool  # each instance of a custom runtime has a network of its own
    region: str
    account_id: str
    body_bytes: int
    announce: Callable[[Function], None]  # told of each function created or updated
    abort: Callable[[str], None]  # ends the running requests of a function
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: str(uuid4())
    new_letters: Callable[[], str] = lambda: "".join(
        secrets.choice(ascii_lowercase) for _ in range(10)
    )


Endpoint = Callable[[Request, Parts], Awaitable[Response]]
# Operation, method, path below the version, and what serves it; None: not built yet.
Operations = tuple[tuple[str, str, str, Endpoint | None], ...]
