"""Which version of a function a call is for, and whether it may be run."""

from anyfc.errors import AccessDenied, NotSupported
from anyfc.model.function import Function
from anyfc.model.version import LATEST, VersionId
from anyfc.runtime.table import CUSTOM, PYTHON
from anyfc.scheduler.lease import Lease, Scheduler
from anyfc.store.catalog import Catalog


class Runnable:
    """A version of a function that may be run now, and what its calls need to know each time."""

    __slots__ = (
        "_scheduler", "checksum", "concurrency", "custom", "function", "timeout_s", "version",
    )  # fmt: skip

    def __init__(self, function: Function, version: VersionId, scheduler: Scheduler) -> None:
        self.function = function
        self.version = version
        self.custom = function.runtime in CUSTOM
        self.timeout_s = function.timeout_s
        self.concurrency = function.instance_concurrency
        self.checksum = function.code.checksum.encode() if function.code else b""
        self._scheduler = scheduler

    def lease(self) -> Lease:
        """Return the right to an instance; see `Scheduler.lease`."""
        return self._scheduler.lease(self.function, self.version)


class Runnables:
    """Finds the function that a call is for; what was seen of one holds until it changes."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._latest: dict[str, Runnable] = {}
        catalog.watch(self._forget)

    def resolve(self, name: str, qualifier: str) -> Runnable:
        """Return what a qualifier leads to.

        Raises NotSupported, AccessDenied, and what `Catalog.resolve` does.
        """
        if qualifier == LATEST:
            runnable = self._latest.get(name)
            if runnable is not None:
                return runnable
        function, version = self._catalog.resolve(name, qualifier)
        _check_runnable(function)
        runnable = Runnable(function, version, self._scheduler)
        if qualifier == LATEST:
            self._latest[name] = runnable
        return runnable

    def _forget(self, name: str) -> None:
        self._latest.pop(name, None)


def _check_runnable(function: Function) -> None:
    if function.runtime not in PYTHON and function.runtime not in CUSTOM:
        raise NotSupported(
            f"runtime '{function.runtime}' of function '{function.name}' cannot be run by this "
            f"version of anyfc; it runs {', '.join([*PYTHON, *sorted(CUSTOM)])}"
        )
    if function.restriction is not None:
        raise AccessDenied(
            f"invocation of function '{function.name}' is disabled: {function.restriction.reason}"
        )
