"""What leads to functions from outside: triggers and custom domains, in memory.

The data plane asks for every request, so whatever it asks is a lookup or two.
"""

from bisect import bisect_left, insort
from collections.abc import Callable

from anyfc.errors import DomainNameNotFound, TriggerNotFound
from anyfc.model.domain import CustomDomain
from anyfc.model.trigger import Trigger
from anyfc.store.listing import page


class Routes:
    """All triggers and custom domains. Belongs to the event loop: nothing here waits or locks."""

    def __init__(self) -> None:
        self._triggers: dict[str, dict[str, Trigger]] = {}  # function → name → trigger
        self._http: dict[tuple[str, str], Trigger] = {}  # function and qualifier → HTTP trigger
        self._labels: dict[str, Trigger] = {}
        self._domains: dict[str, CustomDomain] = {}  # host → domain
        self._hosts: list[str] = []  # sorted
        self._watchers: list[Callable[[CustomDomain | None, CustomDomain | None], None]] = []
        self.generation = 0  # grows with every change

    def get_trigger(self, function: str, name: str) -> Trigger:
        """Return a trigger. Raises TriggerNotFound."""
        trigger = self._triggers.get(function, {}).get(name)
        if trigger is None:
            raise TriggerNotFound(name, function)
        return trigger

    def find_http_trigger(self, function: str, qualifier: str) -> Trigger | None:
        """Return the HTTP trigger of a function's version or alias, if it has one."""
        return self._http.get((function, qualifier))

    def find_trigger_by_host_label(self, label: str) -> Trigger | None:
        """Return the HTTP trigger whose host name begins with a label, in lower case."""
        return self._labels.get(label)

    def page_triggers(
        self, function: str, prefix: str, start: str, limit: int
    ) -> tuple[list[Trigger], str | None]:
        """List the triggers of a function by name, as `listing.page` does."""
        triggers = self._triggers.get(function, {})
        return page(sorted(triggers), prefix, start, limit, triggers.get)

    def put_trigger(self, trigger: Trigger) -> None:
        """Take a trigger in, in place of an earlier state of it."""
        old = self._triggers.get(trigger.function, {}).get(trigger.name)
        if old is not None:
            self.remove_trigger(old)
        self.generation += 1
        self._triggers.setdefault(trigger.function, {})[trigger.name] = trigger
        if trigger.http is not None:
            self._http[trigger.function, trigger.qualifier] = trigger
            self._labels[trigger.label] = trigger

    def remove_trigger(self, trigger: Trigger) -> None:
        """Forget a trigger that is here."""
        self.generation += 1
        of_function = self._triggers[trigger.function]
        del of_function[trigger.name]
        if not of_function:
            del self._triggers[trigger.function]
        if trigger.http is not None:
            del self._http[trigger.function, trigger.qualifier]
            del self._labels[trigger.label]

    def get_domain(self, name: str) -> CustomDomain:
        """Return a custom domain, whatever the case of its name. Raises DomainNameNotFound."""
        domain = self._domains.get(name.lower())
        if domain is None:
            raise DomainNameNotFound(name)
        return domain

    def find_domain(self, host: str) -> CustomDomain | None:
        """Return the custom domain of a host, which is in lower case and without a port.

        An exact name wins; the `*` of another one stands for exactly one label.
        """
        found = self._domains.get(host)
        return found or self._domains.get("*." + host.partition(".")[2])

    def page_domains(
        self, prefix: str, start: str, limit: int
    ) -> tuple[list[CustomDomain], str | None]:
        """List custom domains by name, as `listing.page` does; capitals make no difference."""
        return page(self._hosts, prefix.lower(), start.lower(), limit, self._domains.get)

    def put_domain(self, domain: CustomDomain) -> None:
        """Take a custom domain in, in place of an earlier state of it."""
        old = self._domains.get(domain.host)
        if old is None:
            insort(self._hosts, domain.host)
        self._domains[domain.host] = domain
        self._tell(old, domain)

    def remove_domain(self, domain: CustomDomain) -> None:
        """Forget a custom domain that is here."""
        del self._domains[domain.host]
        del self._hosts[bisect_left(self._hosts, domain.host)]
        self._tell(domain, None)

    def watch_domains(
        self, callback: Callable[[CustomDomain | None, CustomDomain | None], None]
    ) -> None:
        """Have `callback` called with the old and the new state of each domain that changes.

        For those that are here it is called now.
        """
        self._watchers.append(callback)
        for domain in self._domains.values():
            callback(None, domain)

    def _tell(self, old: CustomDomain | None, new: CustomDomain | None) -> None:
        self.generation += 1
        for callback in self._watchers:
            callback(old, new)
