"""The SQLite database: reads at once, durable writes in groups, migrations, the driver's errors.

Reads run on the event loop: one takes some twenty microseconds, a tenth of the way through a
thread. Writes wait for the disk, so they run on a thread of their own, which takes all that are
waiting into one transaction: one wait for the disk serves them all.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc
from sqlalchemy.pool import NullPool

from anyfc.errors import StoreUnavailable
from anyfc.store.seal import Seal, ensure_seal
from anyfc.store.tables import HEAD, seal_with

BATCH_WRITES = 1000
WAITING_WRITES = 10_000
BUSY_S = 5.0
# The first revision that cannot be read without a key.
SEALED_SINCE = "0004"

# What a healthy program meets on an unhealthy disk, but for our own mistakes, which stay what they
# are, as do the exceptions that are not named here.
UNAVAILABLE = (exc.DBAPIError, exc.DisconnectionError, exc.TimeoutError, sqlite3.Error)
MISTAKES = (
    exc.DataError,
    exc.IntegrityError,
    exc.NotSupportedError,
    exc.ProgrammingError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.NotSupportedError,
    sqlite3.ProgrammingError,
)

T = TypeVar("T")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into StoreUnavailable."""
    try:
        yield
    except MISTAKES:
        raise
    except UNAVAILABLE as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        raise StoreUnavailable(f"the store cannot be used at the moment: {cause}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    """A change that waits for the writer."""

    change: Callable[[Connection], Any]
    on_commit: Callable[[Any], None] | None
    done: asyncio.Future[Any]

    def settle(self, outcome: Any, error: Exception | None) -> None:
        """Tell the caller, if it still waits. What was committed is followed up in any case."""
        if error is None and self.on_commit is not None:
            try:
                self.on_commit(outcome)
            except Exception as mistake:
                error = mistake
        if self.done.done():
            return
        if error is None:
            self.done.set_result(outcome)
        else:
            self.done.set_exception(error)


class Database:
    """One open database. All methods are for the event loop it was opened on."""

    def __init__(
        self,
        reader: Connection,
        writes: "SimpleQueue[_Write | None]",
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._reader = reader
        self._writes = writes
        self._loop = loop
        self.closed = False

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query that sees one state of the database. Raises StoreUnavailable."""
        with translated(), self._reader.begin():
            return query(self._reader)

    async def write(
        self,
        change: Callable[[Connection], T],
        *,
        on_commit: Callable[[T], None] | None = None,
    ) -> T:
        """Make a change; when this returns, it is on the disk.

        `change` runs on the writer thread, next to changes of others but apart from them: what it
        raises undoes only itself, and is raised here. `on_commit` is given its result on the event
        loop, in the order of the commits, even when the caller has stopped waiting.

        Raises StoreUnavailable; whether the change was made is then known only after a restart.
        """
        if self.closed:
            raise StoreUnavailable("the store is closed")
        if self._writes.qsize() >= WAITING_WRITES:
            raise StoreUnavailable(f"{WAITING_WRITES} changes are already waiting for the store")
        done: asyncio.Future[T] = self._loop.create_future()
        self._writes.put(_Write(change, on_commit, done))
        return await done


@asynccontextmanager
async def open_database(path: Path, seal: Seal | None = None) -> AsyncIterator[Database]:
    """Open the database in a file, made or migrated when needed; on exit, finish all writes.

    Without a `seal` it is one whose key lies beside the file. Raises StoreUnavailable, also when a
    newer anyfc has written the file.
    """
    reading, writing = _engine(path, begin="BEGIN"), _engine(path, begin="BEGIN IMMEDIATE")
    with translated():
        writer = writing.connect()
    try:
        with translated():
            found = _revision(writer)
            seal = seal or ensure_seal(path.parent, make=found is None or found < SEALED_SINCE)
            for engine in (reading, writing):
                seal_with(engine.dialect, seal)
            _migrate(writer, path, found)
            reader = reading.connect()
    except BaseException:
        writer.close()
        raise
    writes: SimpleQueue[_Write | None] = SimpleQueue()
    loop = asyncio.get_running_loop()
    thread = Thread(target=_write_all, args=(writer, writes, loop), name="store-writer")
    thread.start()
    database = Database(reader, writes, loop)
    try:
        yield database
    finally:
        database.closed = True
        reader.close()
        writes.put(None)
        await asyncio.to_thread(thread.join)


def _engine(path: Path, *, begin: str) -> Engine:
    # NullPool: both connections are taken once and kept. Parameters stay out of error messages,
    # because environment variables hold secrets.
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": BUSY_S},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # the driver would begin too late, and not before reads
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _migrate(connection: Connection, path: Path, found: str | None) -> None:
    """Bring the schema from a revision to HEAD, all of it or nothing."""
    with connection.begin():
        if found == HEAD:
            return
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise StoreUnavailable(
                f"{path}: written by a newer anyfc (schema {found}, this one knows up to {HEAD}); "
                "start that version, or another data directory"
            )
        command.upgrade(config, HEAD)


def _revision(connection: Connection) -> str | None:
    with connection.begin():
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return None
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return None if found is None else str(found)


def _write_all(
    connection: Connection,
    writes: "SimpleQueue[_Write | None]",
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Work as the writer thread until `None` comes."""
    with connection:
        while (first := writes.get()) is not None:
            batch = [first, *_waiting(writes)]
            outcomes = _commit(connection, batch)
            loop.call_soon_threadsafe(_settle, batch, outcomes)


def _waiting(writes: "SimpleQueue[_Write | None]") -> Iterator[_Write]:
    for _ in range(BATCH_WRITES - 1):
        try:
            write = writes.get_nowait()
        except Empty:
            return
        if write is None:
            writes.put(None)  # the end, for the next round
            return
        yield write


Outcome = tuple[Any, Exception | None]


def _commit(connection: Connection, batch: list[_Write]) -> list[Outcome]:
    """Make all changes in one transaction: each counts by itself, the disk is asked once."""
    try:
        with translated(), connection.begin():
            return [_apply(connection, write) for write in batch]
    except Exception as error:
        return [(None, error)] * len(batch)


def _apply(connection: Connection, write: _Write) -> Outcome:
    # In plain text: SQLAlchemy's own savepoints are compiled anew each time, a third of a write.
    connection.exec_driver_sql("SAVEPOINT change")
    outcome: Outcome
    try:
        with translated():
            outcome = write.change(connection), None
    except Exception as error:
        outcome = None, error
        try:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT change")
        except exc.OperationalError:
            # A full disk, for one, makes SQLite roll back everything, not only this change.
            raise error from None
    connection.exec_driver_sql("RELEASE SAVEPOINT change")
    return outcome


def _settle(batch: list[_Write], outcomes: list[Outcome]) -> None:
    for write, (outcome, error) in zip(batch, outcomes, strict=True):
        write.settle(outcome, error)
