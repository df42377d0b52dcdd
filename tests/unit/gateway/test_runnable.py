from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_instances import make_function

from anyfc.errors import AccessDenied, AliasNotFound, FunctionNotFound, NotSupported
from anyfc.gateway.runnable import Runnables
from anyfc.model.function import Restriction
from anyfc.store.catalog import Catalog

FUNCTION = replace(make_function("f"), runtime="custom", timeout_s=3)
SCHEDULER: Any = None  # nothing is run here
DISABLED = Restriction(reason="no money", since=datetime(2025, 3, 1, tzinfo=UTC))


def test_what_calls_need_to_know_of_a_function_is_kept_until_it_changes():
    catalog = Catalog()
    runnables = Runnables(catalog, SCHEDULER)
    catalog.put(FUNCTION)
    runnable = runnables.resolve("f", "LATEST")
    assert (runnable.function, runnable.custom, runnable.timeout_s) == (FUNCTION, True, 3)
    assert runnables.resolve("f", "LATEST") is runnable

    changed = replace(FUNCTION, generation=2, runtime="python3.12", timeout_s=4)
    catalog.put(changed)
    runnable = runnables.resolve("f", "LATEST")
    assert (runnable.function, runnable.custom, runnable.timeout_s) == (changed, False, 4)
    assert runnable.version.generation == 2

    catalog.remove("f")
    with pytest.raises(FunctionNotFound):
        runnables.resolve("f", "LATEST")


def test_a_function_that_may_not_run_any_more_does_not():
    catalog = Catalog()
    runnables = Runnables(catalog, SCHEDULER)
    catalog.put(FUNCTION)
    runnables.resolve("f", "LATEST")
    catalog.put(replace(FUNCTION, restriction=DISABLED))
    for _ in range(2):
        with pytest.raises(AccessDenied, match="no money"):
            runnables.resolve("f", "LATEST")
    catalog.put(FUNCTION)
    assert runnables.resolve("f", "LATEST").function is FUNCTION


def test_other_qualifiers_are_looked_at_each_time():
    catalog = Catalog()
    runnables = Runnables(catalog, SCHEDULER)
    catalog.put(FUNCTION)
    assert runnables.resolve("f", "").function is FUNCTION
    for _ in range(2):
        with pytest.raises(AliasNotFound):
            runnables.resolve("f", "prod")


def test_a_runtime_that_is_not_run_here_is_refused():
    catalog = Catalog()
    catalog.put(replace(FUNCTION, runtime="java11"))
    with pytest.raises(NotSupported, match="runtime 'java11' of function 'f' cannot be run"):
        Runnables(catalog, SCHEDULER).resolve("f", "LATEST")
