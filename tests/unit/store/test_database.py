import asyncio
import sqlite3
import sys
import threading
from contextlib import closing

import alembic.command
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc, text

import anyfc.store.migrations
from anyfc.errors import FunctionNotFound, StoreUnavailable
from anyfc.store import database
from anyfc.store.database import open_database, translated
from anyfc.store.seal import ensure_seal
from anyfc.store.tables import HEAD, METADATA, seal_with


@pytest.fixture
def path(tmp_path):
    return tmp_path / "anyfc.db"


def using(path, work):
    """Open a database, run `work` on it, close it."""

    async def run():
        async with open_database(path) as opened:
            return await work(opened)

    return asyncio.run(run())


def seen_from_outside(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def make_notes(connection):
    connection.execute(text("CREATE TABLE notes (word TEXT UNIQUE)"))


def note(word):
    return lambda connection: connection.execute(
        text("INSERT INTO notes VALUES (:word)"), {"word": word}
    )


def words(connection):
    return list(connection.execute(text("SELECT word FROM notes ORDER BY rowid")).scalars())


# Writing and reading


def test_what_was_written_is_committed_when_the_call_returns(path):
    async def work(opened):
        await opened.write(make_notes)
        await opened.write(note("one"))
        assert seen_from_outside(path, "SELECT word FROM notes") == [("one",)]
        assert opened.read(words) == ["one"]

    using(path, work)


def test_the_disk_is_asked_on_every_commit_and_readers_do_not_block_writers(path):
    async def work(opened):
        def settings(connection):
            return [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]

        assert opened.read(settings) == ["wal", 2, 1]
        assert await opened.write(settings) == ["wal", 2, 1]

    using(path, work)


class Gate:
    """Holds the writer inside a change, so that others pile up behind it."""

    def __init__(self):
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, connection):
        self.reached.set()
        assert self.opened.wait(10)


async def pile_up(opened, *changes):
    """Have the writer find all changes waiting at once; return how each of them ended."""
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        group.create_task(opened.write(gate))
        await asyncio.to_thread(gate.reached.wait, 10)
        waiting = asyncio.gather(*map(opened.write, changes), return_exceptions=True)
        await asyncio.sleep(0)
        gate.opened.set()
        return await waiting


def test_changes_that_wait_together_share_a_transaction(path):
    async def work(opened):
        return await pile_up(opened, *[lambda connection: connection.get_transaction()] * 5)

    transactions = using(path, work)
    assert transactions[0] is not None
    assert all(transaction is transactions[0] for transaction in transactions)


def test_a_change_that_fails_undoes_itself_and_nothing_else(path):
    def half(connection):
        note("half")(connection)
        raise FunctionNotFound("half")

    async def work(opened):
        await opened.write(make_notes)
        outcomes = await pile_up(opened, note("a"), half, note("a"), note("b"))
        assert isinstance(outcomes[1], FunctionNotFound)
        assert isinstance(outcomes[2], exc.IntegrityError)
        assert opened.read(words) == ["a", "b"]

    using(path, work)


def test_when_sqlite_gives_up_the_transaction_everybody_in_it_hears_of_it(path):
    def lose_everything(connection):
        connection.exec_driver_sql("ROLLBACK")  # what SQLite does by itself on some I/O errors
        raise StoreUnavailable("disk I/O error")

    async def work(opened):
        await opened.write(make_notes)
        outcomes = await pile_up(opened, note("before"), lose_everything, note("after"))
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert opened.read(words) == []
        await opened.write(note("later"))
        assert opened.read(words) == ["later"]

    using(path, work)


def test_a_full_disk_is_the_stores_failure_and_what_was_there_stays(path):
    async def work(opened):
        await opened.write(make_notes)
        await opened.write(note("kept"))

        def fill(connection):
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            note("x" * 10_000_000)(connection)

        with pytest.raises(StoreUnavailable, match="full"):
            await opened.write(fill)
        assert opened.read(words) == ["kept"]

    using(path, work)


def test_an_error_does_not_tell_what_was_written(path):
    async def work(opened):
        with pytest.raises(StoreUnavailable) as caught:
            await opened.write(note("secret"))
        assert "secret" not in str(caught.value)
        assert "secret" not in str(caught.value.__cause__)

    using(path, work)


def test_what_follows_a_commit_happens_in_order_even_when_nobody_waits_any_more(path):
    followed = []

    async def work(opened):
        gate = Gate()
        blocked = asyncio.ensure_future(opened.write(gate))
        await asyncio.to_thread(gate.reached.wait, 10)
        writes = [
            asyncio.ensure_future(
                opened.write(lambda connection, n=n: n, on_commit=followed.append)
            )
            for n in range(5)
        ]
        await asyncio.sleep(0)
        writes[2].cancel()
        gate.opened.set()
        await asyncio.wait([blocked, *writes])
        assert writes[2].cancelled()
        assert followed == [0, 1, 2, 3, 4]

    using(path, work)


def test_nothing_follows_a_change_that_failed(path):
    followed = []

    def fail(connection):
        raise FunctionNotFound("f")

    async def work(opened):
        with pytest.raises(FunctionNotFound):
            await opened.write(fail, on_commit=followed.append)

    using(path, work)
    assert followed == []


def test_closing_finishes_the_writes_that_wait_and_takes_no_more(path):
    async def run():
        gate = Gate()
        async with open_database(path) as opened:
            await opened.write(make_notes)
            blocked = asyncio.ensure_future(opened.write(gate))
            await asyncio.to_thread(gate.reached.wait, 10)
            late = asyncio.ensure_future(opened.write(note("late")))
            await asyncio.sleep(0)
            gate.opened.set()
        await asyncio.gather(blocked, late)
        with pytest.raises(StoreUnavailable, match="closed"):
            await opened.write(note("too late"))

    asyncio.run(run())
    assert seen_from_outside(path, "SELECT word FROM notes") == [("late",)]
    assert "store-writer" not in {thread.name for thread in threading.enumerate()}


def test_more_changes_than_may_wait_are_refused(path, monkeypatch):
    monkeypatch.setattr(database, "WAITING_WRITES", 2)

    async def work(opened):
        return await pile_up(opened, *[lambda connection: None] * 3)

    outcomes = using(path, work)
    assert outcomes[:2] == [None, None]
    assert isinstance(outcomes[2], StoreUnavailable)


def test_a_read_sees_one_state_even_in_two_queries(path):
    async def work(opened):
        await opened.write(make_notes)

        def look_twice(connection):
            first = words(connection)
            with closing(sqlite3.connect(path)) as other:
                other.execute("INSERT INTO notes VALUES ('between')")
                other.commit()
            return first, words(connection)

        assert opened.read(look_twice) == ([], [])
        assert opened.read(words) == ["between"]

    using(path, work)


# Migrations


def script():
    config = Config()
    config.set_main_option("script_location", str(anyfc.store.migrations.__path__[0]))
    return ScriptDirectory.from_config(config)


async def nothing(opened):
    pass


def test_the_known_head_is_the_newest_migration():
    assert script().get_current_head() == HEAD


def test_the_migrations_make_exactly_the_tables(path):
    using(path, nothing)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_every_migration_can_be_undone(path):
    using(path, nothing)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    seal_with(engine.dialect, ensure_seal(path.parent, make=False))
    config = Config()
    config.set_main_option("script_location", str(anyfc.store.migrations.__path__[0]))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "base")
    engine.dispose()
    assert seen_from_outside(path, "SELECT name FROM sqlite_schema WHERE type = 'table'") == [
        ("alembic_version",)
    ]


def test_an_up_to_date_database_is_opened_without_alembic(path, monkeypatch):
    using(path, nothing)
    monkeypatch.setitem(sys.modules, "alembic", None)  # importing it fails from here on
    using(path, nothing)


def test_a_database_of_a_newer_program_is_refused_and_left_alone(path):
    using(path, nothing)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(StoreUnavailable, match=r"newer anyfc \(schema 9999"):
        using(path, nothing)
    assert seen_from_outside(path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_migration_that_breaks_leaves_nothing_and_can_be_tried_again(path, monkeypatch):
    upgrade = alembic.command.upgrade

    def break_at_the_end(*arguments):
        upgrade(*arguments)
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(alembic.command, "upgrade", break_at_the_end)
        with pytest.raises(RuntimeError):
            using(path, nothing)
    assert seen_from_outside(path, "SELECT name FROM sqlite_schema") == []
    using(path, nothing)
    assert seen_from_outside(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


# The driver's errors

UNAVAILABLE = {
    exc.DBAPIError,
    exc.DatabaseError,
    exc.DisconnectionError,
    exc.InterfaceError,
    exc.InternalError,
    exc.InvalidatePoolError,
    exc.OperationalError,
    exc.TimeoutError,
    sqlite3.DatabaseError,
    sqlite3.Error,
    sqlite3.InterfaceError,
    sqlite3.InternalError,
    sqlite3.OperationalError,
}
MISTAKES = {
    exc.AmbiguousColumnError,
    exc.AmbiguousForeignKeysError,
    exc.ArgumentError,
    exc.AwaitRequired,
    exc.CircularDependencyError,
    exc.CompileError,
    exc.ConstraintColumnNotFoundError,
    exc.DataError,
    exc.DuplicateColumnError,
    exc.IdentifierError,
    exc.IllegalStateChangeError,
    exc.IntegrityError,
    exc.InvalidRequestError,
    exc.MissingGreenlet,
    exc.MultipleResultsFound,
    exc.NoDBAPILoaded,
    exc.NoForeignKeysError,
    exc.NoInspectionAvailable,
    exc.NoReferenceError,
    exc.NoReferencedColumnError,
    exc.NoReferencedTableError,
    exc.NoResultFound,
    exc.NoSuchColumnError,
    exc.NoSuchModuleError,
    exc.NoSuchTableError,
    exc.NotSupportedError,
    exc.ObjectNotExecutableError,
    exc.PendingRollbackError,
    exc.ProgrammingError,
    exc.ResourceClosedError,
    exc.SQLAlchemyError,
    exc.StatementError,
    exc.UnboundExecutionError,
    exc.UnreflectableTableError,
    exc.UnsupportedCompilationError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.NotSupportedError,
    sqlite3.ProgrammingError,
}


def public(module, base):
    return {
        kind
        for name, kind in vars(module).items()
        if not name.startswith("_") and isinstance(kind, type) and issubclass(kind, base)
    }


def test_every_exception_of_the_drivers_is_known():
    there = public(exc, exc.SQLAlchemyError) | public(sqlite3, sqlite3.Error)
    assert there == UNAVAILABLE | MISTAKES


@pytest.mark.parametrize("kind", sorted(UNAVAILABLE, key=str))
def test_an_unhealthy_store_is_told_in_our_own_words(kind):
    if issubclass(kind, exc.DBAPIError):
        error = kind("INSERT", {"word": "secret"}, Exception("disk I/O error"))
    else:
        error = kind("disk I/O error")
    with pytest.raises(StoreUnavailable, match=r"disk I/O error$"), translated():
        raise error


@pytest.mark.parametrize("kind", sorted(MISTAKES, key=str))
def test_a_mistake_of_our_own_stays_what_it_is(kind):
    with pytest.raises(kind), translated():
        raise kind.__new__(kind)


def test_a_file_that_is_not_a_database_is_told_so(path):
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        using(path, nothing)


def test_a_folder_that_is_missing_is_told_so(tmp_path):
    with pytest.raises(StoreUnavailable, match="unable to open"):
        using(tmp_path / "missing" / "anyfc.db", nothing)
