"""What the data plane reads: an in-memory view of functions and services, in step with the store.

What leads to functions from outside, triggers and custom domains, is in `routes`.
"""

from bisect import bisect_left, insort
from collections.abc import Callable

from anyfc.errors import FunctionNotFound, ServiceNotFound
from anyfc.model.function import Function, Service
from anyfc.model.version import LATEST, VersionId, check_qualifier
from anyfc.store.listing import page


class Catalog:
    """All functions and services. Belongs to the event loop: nothing here waits or locks."""

    def __init__(self) -> None:
        # The VersionId is made once for each change and not once for each invocation.
        self._entries: dict[str, tuple[Function, VersionId]] = {}
        self._names: list[str] = []  # sorted
        self._services: dict[str, Service] = {}
        self._watchers: list[Callable[[str], None]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str) -> Function:
        """Return a function. Raises FunctionNotFound."""
        return self.resolve(name, LATEST)[0]

    def resolve(self, name: str, qualifier: str) -> tuple[Function, VersionId]:
        """Return what a qualifier leads to. Raises FunctionNotFound and `check_qualifier`'s."""
        entry = self._entries.get(name)
        if entry is None:
            raise FunctionNotFound(name)
        check_qualifier(name, qualifier)
        return entry

    def find(self, name: str) -> tuple[Function, VersionId] | None:
        """Return a function as it is now, or None."""
        return self._entries.get(name)

    def is_current(self, version: VersionId) -> bool:
        """Say whether new calls can still be led to a version."""
        entry = self._entries.get(version.function)
        return entry is not None and entry[1] == version

    def page(
        self, prefix: str, start: str, limit: int, keep: Callable[[Function], bool]
    ) -> tuple[list[Function], str | None]:
        """List functions to `keep` by name, as `listing.page` does."""

        def pick(name: str) -> Function | None:
            function = self._entries[name][0]
            return function if keep(function) else None

        return page(self._names, prefix, start, limit, pick)

    def put(self, function: Function) -> None:
        """Take a function in, in place of an earlier state of it."""
        if function.name not in self._entries:
            insort(self._names, function.name)
        version = VersionId(function.name, function.id, LATEST, function.generation)
        self._entries[function.name] = function, version
        self._tell(function.name)

    def remove(self, name: str) -> None:
        """Forget a function that is here."""
        del self._entries[name]
        del self._names[bisect_left(self._names, name)]
        self._tell(name)

    def get_service(self, name: str) -> Service:
        """Return a service. Raises ServiceNotFound."""
        service = self._services.get(name)
        if service is None:
            raise ServiceNotFound(name)
        return service

    def page_services(
        self, prefix: str, start: str, limit: int
    ) -> tuple[list[Service], str | None]:
        """List services by name, as `listing.page` does."""
        return page(sorted(self._services), prefix, start, limit, self._services.get)

    def put_service(self, service: Service) -> None:
        """Take a service in, in place of an earlier state of it."""
        self._services[service.name] = service

    def remove_service(self, name: str) -> None:
        """Forget a service that is here."""
        del self._services[name]

    def watch(self, callback: Callable[[str], None]) -> None:
        """Have `callback` called with the name of each function after it was put or removed."""
        self._watchers.append(callback)

    def digests(self) -> set[str]:
        """Return the digests of all code that functions refer to."""
        return {function.code.digest for function, _ in self._entries.values() if function.code}

    def names(self) -> set[str]:
        return set(self._names)

    def runtimes(self) -> set[str]:
        """Return the runtimes that functions use."""
        return {function.runtime for function, _ in self._entries.values()}

    def _tell(self, name: str) -> None:
        for callback in self._watchers:
            callback(name)
