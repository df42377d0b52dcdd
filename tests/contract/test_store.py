"""What every store of functions promises, whatever database it stands on."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anyfc.errors import AccessDenied, FunctionAlreadyExists, FunctionNotFound
from anyfc.model.function import Code, Function, Hook, Restriction
from anyfc.store.catalog import Catalog
from anyfc.store.database import open_database
from anyfc.store.functions import Functions

NOW = datetime(2025, 3, 1, 12, 30, 1, 2345, tzinfo=UTC)

PLAIN = Function(
    id="id-1",
    name="plain",
    runtime="python3.10",
    handler="index.handler",
    code=Code(digest="d" * 64, checksum="18446744073709551615", size_bytes=22),
    created_at=NOW,
    modified_at=NOW,
)

RICH = replace(
    PLAIN,
    id="id-2",
    name="rich",
    generation=7,
    description="grüße, 世界 🎈\0\n",
    timeout_s=86400,
    memory_mib=32768,
    cpu=0.05,
    environment={"EMPTY": "", "KEY": "värde", "a\tb": "\0"},
    initializer=Hook(handler="index.initialize", timeout_s=300),
    pre_stop=Hook(handler="index.stop", timeout_s=90),
    idle_timeout_s=0,
    restriction=Restriction(reason="unpaid", since=NOW),
    kept={"vpcConfig": {"vSwitchIds": ["a"], "n": None, "big": 2**63, "f": 0.1}, "tags": []},
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
moments = st.datetimes(
    datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(timezone(timedelta(hours=8)))
)
hooks = st.none() | st.builds(Hook, handler=texts, timeout_s=st.integers(1, 300))
kept = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts | st.floats(0, 1e9),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=8,
)
functions = st.builds(
    Function,
    id=st.uuids().map(str),
    name=st.uuids().map(str),
    runtime=texts,
    handler=texts,
    code=st.none()
    | st.builds(Code, digest=texts, checksum=texts, size_bytes=st.integers(0, 2**40)),
    created_at=moments,
    modified_at=moments,
    generation=st.integers(1, 2**31 - 1),
    description=texts,
    cpu=st.floats(0.05, 16),
    environment=st.dictionaries(texts, texts, max_size=4),
    initializer=hooks,
    pre_stop=hooks,
    idle_timeout_s=st.none() | st.integers(0, 3600),
    restriction=st.none() | st.builds(Restriction, reason=texts, since=moments),
    kept=st.dictionaries(texts, kept, max_size=4),
)


class FunctionsContract:
    """Inherit, say in `open_store` how to open the same store again and again, pass."""

    def open_store(self, folder):
        """Return an async context manager that yields Functions and their Catalog."""
        raise NotImplementedError

    def using(self, folder, work):
        async def run():
            async with self.open_store(folder) as (stored, catalog):
                return await work(stored, catalog)

        return asyncio.run(run())

    def reopened(self, folder):
        async def look(stored, catalog):
            return {f.name: f for f in catalog.page("", "", 100_000, lambda f: True)[0]}

        return self.using(folder, look)

    @pytest.mark.parametrize("function", [PLAIN, RICH], ids=["plain", "rich"])
    def test_a_function_comes_back_as_it_was(self, tmp_path, function):
        async def work(stored, catalog):
            await stored.create(function)
            assert catalog.get(function.name) == function

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == {function.name: function}

    @settings(
        max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(several=st.lists(functions, min_size=5, max_size=20, unique_by=lambda f: f.name))
    def test_any_function_comes_back_as_it_was(self, tmp_path_factory, several):
        folder = tmp_path_factory.mktemp("any")

        async def work(stored, catalog):
            await asyncio.gather(*map(stored.create, several))

        self.using(folder, work)
        assert self.reopened(folder) == {function.name: function for function in several}

    def test_a_name_is_taken_once(self, tmp_path):
        async def work(stored, catalog):
            await stored.create(PLAIN)
            with pytest.raises(FunctionAlreadyExists, match="plain"):
                await stored.create(replace(PLAIN, id="id-9", description="another"))
            assert catalog.get("plain") == PLAIN

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == {"plain": PLAIN}

    def test_one_of_many_that_create_the_same_name_at_once_succeeds(self, tmp_path):
        async def work(stored, catalog):
            attempts = [replace(PLAIN, id=f"id-{n}") for n in range(20)]
            outcomes = await asyncio.gather(*map(stored.create, attempts), return_exceptions=True)
            assert sum(outcome is None for outcome in outcomes) == 1
            assert sum(isinstance(o, FunctionAlreadyExists) for o in outcomes) == 19
            assert catalog.get("plain") == attempts[outcomes.index(None)]

        self.using(tmp_path, work)

    def test_a_change_is_seen_before_it_returns_and_after_a_restart(self, tmp_path):
        async def work(stored, catalog):
            await stored.create(PLAIN)
            changed = await stored.change(
                "plain", lambda old: replace(old, memory_mib=1024, generation=old.generation + 1)
            )
            assert changed == replace(PLAIN, memory_mib=1024, generation=2)
            assert catalog.get("plain") == changed
            assert catalog.resolve("plain", "")[1].generation == 2
            return changed

        changed = self.using(tmp_path, work)
        assert self.reopened(tmp_path) == {"plain": changed}

    def test_changes_at_the_same_time_all_count(self, tmp_path):
        def grow(old):
            return replace(old, generation=old.generation + 1)

        async def work(stored, catalog):
            await stored.create(PLAIN)
            grown = await asyncio.gather(*(stored.change("plain", grow) for _ in range(50)))
            assert sorted(f.generation for f in grown) == list(range(2, 52))
            assert catalog.get("plain").generation == 51

        self.using(tmp_path, work)
        assert self.reopened(tmp_path)["plain"].generation == 51

    def test_a_change_that_is_refused_changes_nothing(self, tmp_path):
        def refuse(old):
            raise AccessDenied("not yours")

        async def work(stored, catalog):
            await stored.create(PLAIN)
            with pytest.raises(AccessDenied, match="not yours"):
                await stored.change("plain", refuse)
            assert catalog.get("plain") == PLAIN

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == {"plain": PLAIN}

    def test_what_does_not_exist_cannot_be_changed_or_deleted(self, tmp_path):
        async def work(stored, catalog):
            with pytest.raises(FunctionNotFound, match="absent"):
                await stored.change("absent", lambda old: old)
            with pytest.raises(FunctionNotFound, match="absent"):
                await stored.delete("absent")

        self.using(tmp_path, work)

    def test_a_deleted_function_is_gone_and_its_name_is_free(self, tmp_path):
        again = replace(PLAIN, id="id-again")

        async def work(stored, catalog):
            await stored.create(PLAIN)
            assert await stored.delete("plain") == PLAIN
            with pytest.raises(FunctionNotFound):
                catalog.get("plain")
            await stored.create(again)
            assert catalog.get("plain") == again

        self.using(tmp_path, work)
        assert self.reopened(tmp_path) == {"plain": again}

    def test_the_catalog_follows_in_the_order_of_the_changes(self, tmp_path):
        async def work(stored, catalog):
            heard = []
            catalog.watch(heard.append)
            await asyncio.gather(
                stored.create(PLAIN),
                stored.create(RICH),
                stored.change("plain", lambda old: replace(old, generation=2)),
                stored.delete("rich"),
            )
            assert heard == ["plain", "rich", "plain", "rich"]
            assert len(catalog) == 1

        self.using(tmp_path, work)

    def test_the_catalog_follows_a_change_whose_caller_has_gone(self, tmp_path):
        async def work(stored, catalog):
            leaving = asyncio.ensure_future(stored.create(PLAIN))
            await asyncio.sleep(0)
            leaving.cancel()
            await stored.create(RICH)  # a later one: what came before it is settled now
            assert len(catalog) == 2

        self.using(tmp_path, work)
        assert set(self.reopened(tmp_path)) == {"plain", "rich"}


class TestSqlite(FunctionsContract):
    @asynccontextmanager
    async def open_store(self, folder):
        catalog = Catalog()
        async with open_database(folder / "anyfc.db") as database:
            yield Functions(database, catalog), catalog
