from dataclasses import replace
from datetime import UTC, datetime

import pytest

from anyfc.errors import AliasNotFound, FunctionNotFound, ServiceNotFound, VersionNotFound
from anyfc.model.function import Code, Function, Service
from anyfc.model.version import LATEST, VersionId
from anyfc.store.catalog import Catalog

NOW = datetime(2025, 3, 1, tzinfo=UTC)


def function(name, **changes):
    plain = Function(
        id=f"id-{name}",
        name=name,
        runtime="python3.10",
        handler="index.handler",
        code=Code(digest=f"digest-{name}", checksum="1", size_bytes=22),
        created_at=NOW,
        modified_at=NOW,
    )
    return replace(plain, **changes)


def catalog(*names):
    made = Catalog()
    for name in names:
        made.put(function(name))
    return made


def everything(_):
    return True


def names(page):
    return [f.name for f in page[0]]


def test_a_qualifier_leads_to_the_function_and_the_state_it_is_in():
    made = catalog("a")
    for qualifier in ("", LATEST):
        found, version = made.resolve("a", qualifier)
        assert found is made.get("a")
        assert version == VersionId("a", "id-a", LATEST, 1)


def test_a_changed_function_is_another_state():
    made = catalog("a")
    made.put(function("a", generation=2))
    assert made.resolve("a", LATEST)[1].generation == 2
    assert len(made) == 1


def test_a_version_is_current_until_its_function_changes():
    made = catalog("a")
    version = made.resolve("a", LATEST)[1]
    made.put(function("a", description="of other words"))
    assert made.is_current(version)
    made.put(function("a", generation=2))
    assert not made.is_current(version)
    made.remove("a")
    assert not made.is_current(version)


def test_an_unknown_name_is_told_before_an_unknown_qualifier():
    made = catalog("a")
    with pytest.raises(FunctionNotFound):
        made.resolve("b", "7")
    with pytest.raises(VersionNotFound):
        made.resolve("a", "7")
    with pytest.raises(AliasNotFound):
        made.resolve("a", "prod")
    with pytest.raises(FunctionNotFound):
        made.get("b")


def test_a_removed_function_is_gone_everywhere():
    made = catalog("a", "b", "c")
    made.remove("b")
    with pytest.raises(FunctionNotFound):
        made.get("b")
    assert names(made.page("", "", 10, everything)) == ["a", "c"]
    assert made.digests() == {"digest-a", "digest-c"}
    assert len(made) == 2


def test_pages_follow_each_other_in_order_without_gaps_or_repeats():
    made = catalog(*(f"f{n:03}" for n in reversed(range(25))))
    seen, start = [], ""
    while start is not None:
        found, start = made.page("", start, 10, everything)
        seen += [f.name for f in found]
    assert seen == [f"f{n:03}" for n in range(25)]


def test_a_page_that_ends_exactly_with_the_last_function_has_no_next():
    made = catalog("a", "b")
    assert made.page("", "", 2, everything)[1] is None
    assert made.page("", "", 1, everything)[1] == "b"


def test_a_page_holds_only_names_with_the_prefix():
    made = catalog("a", "ab", "abc", "b", "b2")
    assert names(made.page("ab", "", 10, everything)) == ["ab", "abc"]
    assert names(made.page("b", "b2", 10, everything)) == ["b2"]
    assert names(made.page("b", "a", 10, everything)) == ["b", "b2"]
    assert names(made.page("x", "", 10, everything)) == []


def test_a_page_is_filled_past_functions_that_are_not_kept():
    made = catalog(*"abcdef")
    for name in "bdf":
        made.put(function(name, runtime="custom"))
    found, start = made.page("", "", 2, lambda f: f.runtime == "custom")
    assert ([f.name for f in found], start) == (["b", "d"], "f")


def test_a_next_name_that_was_deleted_meanwhile_leads_to_what_comes_after_it():
    made = catalog("a", "b", "c")
    made.remove("b")
    assert names(made.page("", "b", 10, everything)) == ["c"]


def test_watchers_hear_of_each_change_once_it_can_be_seen():
    made = Catalog()
    heard = []
    made.watch(lambda name: heard.append((name, len(made))))
    made.put(function("a"))
    made.put(function("a", generation=2))
    made.remove("a")
    assert heard == [("a", 1), ("a", 1), ("a", 0)]


def test_a_function_without_code_uses_no_digest():
    made = Catalog()
    made.put(function("image", code=None))
    assert made.digests() == set()


# --- services ---


def service(name):
    return Service(id=f"id-{name}", name=name, created_at=NOW, modified_at=NOW)


def test_services_are_found_and_listed_by_name():
    made = Catalog()
    for name in ("b", "a", "c"):
        made.put_service(service(name))
    assert made.get_service("b") == service("b")
    assert made.page_services("", "", 2) == ([service("a"), service("b")], "c")
    assert made.page_services("c", "", 2) == ([service("c")], None)


def test_a_service_that_was_removed_does_not_exist():
    made = Catalog()
    made.put_service(service("a"))
    made.remove_service("a")
    with pytest.raises(ServiceNotFound, match="service 'a' does not exist"):
        made.get_service("a")


def test_a_service_is_no_function():
    made = Catalog()
    made.put_service(service("a"))
    with pytest.raises(FunctionNotFound):
        made.get("a")
