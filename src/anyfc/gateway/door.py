"""Doors: where an HTTP call arrives, and which function is behind it.

Source: runtime.md 15.1 (addresses), 15.6 and 15.7 (custom domains); decided here, because the cloud
has none: `/proxy/{function}`, for clients that cannot choose the Host they send.
"""

import ipaddress
from functools import lru_cache
from typing import Final

from anyfc.errors import (
    AccessDenied,
    DomainRouteNotFound,
    FunctionComputeError,
    TriggerNotFound,
)
from anyfc.gateway.address import cut_port, decode_segment
from anyfc.model.access import Access, Anonymous, Cors
from anyfc.model.address import ADDRESSES, OLDER_VERSIONS, own_domain
from anyfc.model.domain import (
    CustomDomain,
    Route,
    as_requested,
    choose_route,
    rewrite,
)
from anyfc.model.function import name_in
from anyfc.model.trigger import Trigger
from anyfc.model.version import LATEST
from anyfc.store.routes import Routes

DOMAIN: Final = f".{ADDRESSES}"
PROXY: Final = b"/proxy/"
PROXY_OF_SERVICES: Final = tuple([f"/{version}/proxy/".encode() for version in OLDER_VERSIONS])
TARGET_HEADER: Final = b"x-fc-invocation-target"
CLOSED: Final = "access denied due to function internet URL is disable"
# Clients send few hosts, but could send any number.
KNOWN_HOSTS: Final = 1024


class AddressNotFound(TriggerNotFound):
    """A host that could be a trigger's, and is not."""

    def __init__(self, host: str) -> None:
        FunctionComputeError.__init__(self, f"no HTTP trigger has the address '{host}'")


class Door:
    """What an HTTP call leads to, and what it has to pass.

    `target` is path and query as a server behind the door sees them, None: as they were asked for;
    `base_path` the part of the path that leads here, which WSGI handlers do not see. No `methods`
    means all. `attachment`: this is a default domain, and browsers are to save what they get, if
    that is wanted. `anonymous`: everybody may pass. `inside_only`: only peers with a private
    address may knock. With a `problem`, everybody is told that; such a door is made for one
    request.
    """

    __slots__ = (
        "access", "anonymous", "attachment", "base_path", "cors", "function", "https_only",
        "inside_only", "methods", "problem", "qualifier", "target",
    )  # fmt: skip

    def __init__(
        self,
        *,
        function: str,
        qualifier: str,
        target: bytes | None,
        base_path: bytes = b"",
        access: Access,
        cors: Cors | None,
        methods: tuple[str, ...],
        attachment: bool,
        https_only: bool = False,
        inside_only: bool = False,
        problem: FunctionComputeError | None = None,
    ) -> None:
        self.function = function
        self.qualifier = qualifier
        self.target = target
        self.base_path = base_path
        self.access = access
        self.anonymous = isinstance(access, Anonymous)
        self.cors = cors
        self.methods = methods
        self.attachment = attachment
        self.https_only = https_only
        self.inside_only = inside_only
        self.problem = problem


class Doors:
    """Finds the door of a request."""

    def __init__(self, routes: Routes, *, region: str) -> None:
        self._routes = routes
        self._suffix = own_domain(region)
        self._internal_suffix = own_domain(region, internal=True)
        # Hosts, as sent → their trigger's door; None: they lead to the API and nowhere else.
        self._known: dict[bytes, Door | None] = {}
        # Hosts of custom domains → their routes as requests have them.
        self._routes_of: dict[str, tuple[Route, ...]] = {}
        self._known_of = routes.generation

    def find(self, host: bytes, target: bytes, invocation_target: bytes | None) -> Door | None:
        """Return the door that a host and a target lead to; None: they are the API's.

        Raises TriggerNotFound.
        """
        if self._known_of != self._routes.generation:
            self._known_of = self._routes.generation
            self._known.clear()
            self._routes_of.clear()
        known = host in self._known
        door = self._known[host] if known else self._of_host(host, target)
        if door is not None:
            return door
        if target.startswith(PROXY):
            return self._of_proxy(target)
        if target.startswith(PROXY_OF_SERVICES):
            return self._of_service(target, shown=target)
        if invocation_target is not None:
            path, mark, query = target.partition(b"?")
            led = b"/" + invocation_target.strip().strip(b"/") + path + mark + query
            if led.startswith(PROXY_OF_SERVICES):
                return self._of_service(led, shown=target)
        return None

    def _of_host(self, host: bytes, target: bytes) -> Door | None:
        name = host_name(host)
        if name.endswith(DOMAIN):
            door = self._of_trigger(name)
            return door if door.problem is not None else self._keep(host, door)
        domain = self._routes.find_domain(name)
        if domain is None:
            return self._keep(host, None)
        path, _, _ = target.partition(b"?")
        route = choose_route(self._requested(domain), path.decode("latin-1"))
        if route is None:
            return _no_route(domain, DomainRouteNotFound(name, path.decode(errors="replace")))
        return Door(
            function=route.function,
            qualifier=route.qualifier,
            target=rewrite(route.rewrite, target.decode("latin-1")).encode("latin-1"),
            access=domain.access,
            cors=domain.cors,
            methods=route.methods,
            attachment=False,
            https_only=domain.protocol == "HTTPS",
        )

    def _requested(self, domain: CustomDomain) -> tuple[Route, ...]:
        routes = self._routes_of.get(domain.host)
        if routes is None:
            routes = self._routes_of[domain.host] = as_requested(domain.routes)
        return routes

    def _keep(self, host: bytes, door: Door | None) -> Door | None:
        if len(self._known) == KNOWN_HOSTS:
            self._known.clear()
        self._known[host] = door
        return door

    def _of_trigger(self, host: str) -> Door:
        label = host.partition(".")[0]
        suffix = host[len(label) :]
        trigger = None
        if suffix == self._suffix or suffix == self._internal_suffix:
            trigger = self._routes.find_trigger_by_host_label(label)
        if trigger is None:
            raise AddressNotFound(host)
        internal = suffix == self._internal_suffix
        return _open(trigger, None, attachment=not internal, internal=internal)

    def _of_proxy(self, target: bytes) -> Door:
        path, mark, query = target.partition(b"?")
        name, slash, rest = path[len(PROXY) :].partition(b"/")
        function, _, qualifier = decode_segment(name).partition(":")
        trigger = self._find(function, qualifier or LATEST)
        base_path = path[: len(PROXY) + len(name)]
        return _open(trigger, (slash + rest or b"/") + mark + query, base_path=base_path)

    def _of_service(self, target: bytes, *, shown: bytes) -> Door:
        """A function made with an API before 3.0: its server is shown the path as it was asked."""
        path = target.partition(b"?")[0]
        _, version, proxy, service, function, *_ = [*path.split(b"/"), b"", b""]
        service_name, _, qualifier = decode_segment(service).partition(".")
        name = name_in(service_name, decode_segment(function))
        trigger = self._find(name, qualifier or LATEST)
        base_path = b"/".join((b"", version, proxy, service, function))
        return _open(
            trigger, shown, base_path=base_path if shown is target else b"", attachment=True
        )

    def _find(self, function: str, qualifier: str) -> Trigger:
        trigger = self._routes.find_http_trigger(function, qualifier)
        if trigger is None:
            raise TriggerNotFound("http", function)
        return trigger


def _open(
    trigger: Trigger,
    target: bytes | None,
    *,
    base_path: bytes = b"",
    attachment: bool = False,
    internal: bool = False,
) -> Door:
    settings = trigger.http
    assert settings is not None, "a door is an HTTP trigger's"
    return Door(
        function=trigger.function,
        qualifier=trigger.qualifier,
        target=target,
        base_path=base_path,
        access=settings.access,
        cors=settings.cors,
        methods=settings.methods,
        attachment=attachment,
        inside_only=settings.closed and internal,
        problem=AccessDenied(CLOSED) if settings.closed and not internal else None,
    )


def _no_route(domain: CustomDomain, problem: DomainRouteNotFound) -> Door:
    """A door to nothing: who knocks is told so in the way of the domain."""
    return Door(
        function="",
        qualifier="",
        target=None,
        access=domain.access,
        cors=domain.cors,
        methods=(),
        attachment=False,
        problem=problem,
    )


def check_knock(door: Door, peer: str) -> None:
    """Raises the door's problem, and AccessDenied for a peer that may not knock here.

    `peer` is an IP address, or empty where that is not known.
    """
    if door.problem is not None:
        raise door.problem
    if door.inside_only and not is_inside(peer):
        raise AccessDenied(CLOSED)


@lru_cache(maxsize=1024)
def is_inside(peer: str) -> bool:
    """Say whether an address is one of a private network or of this machine."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_private
    return address.is_private


def check_method(door: Door, method: str) -> None:
    """Raises AccessDenied for a method that the trigger or the route does not let through."""
    if door.methods and method not in door.methods:
        allowed = ", ".join(door.methods)
        raise AccessDenied(f"method {method} is not allowed here; allowed are {allowed}")


@lru_cache(maxsize=1024)
def host_name(host: bytes) -> str:
    """Return a Host header's name in lower case, without its port."""
    return cut_port(host).decode("latin-1").lower().rstrip(".")
