"""What becomes of what older versions have written."""

import asyncio
import base64
import json
import sqlite3
from contextlib import closing

import alembic.command
import pytest
import sqlalchemy
from alembic.config import Config

import anyfc.store.migrations
from anyfc.errors import StoreUnavailable
from anyfc.model.function import CustomRuntime, HealthCheck
from anyfc.store.catalog import Catalog
from anyfc.store.database import open_database
from anyfc.store.functions import Functions

COLUMNS = {
    "id": "id",
    "generation": 3,
    "handler": "index.handler",
    "code": '{"digest":"d","checksum":"1","size_bytes":22}',
    "created_at": "2025-03-01 12:30:01.002345",
    "modified_at": "2025-03-01 12:30:01.002345",
    "description": "grüße",
    "timeout_s": 3,
    "memory_mib": 512,
    "cpu": 0.35,
    "disk_mib": 512,
    "instance_concurrency": 1,
    "environment": '{"A":"1"}',
    "role": "",
    "initializer": '{"handler":"index.init","timeout_s":5}',
    "log_project": "",
    "log_store": "",
}


@pytest.fixture
def path(tmp_path):
    """A database as revision 0001 made it."""
    path = tmp_path / "anyfc.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(anyfc.store.migrations.__path__[0]))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
    engine.dispose()
    return path


def write(path, name, runtime, kept):
    row = {**COLUMNS, "name": name, "id": name, "runtime": runtime, "kept": json.dumps(kept)}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            f"INSERT INTO functions ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
            tuple(row.values()),
        )
        connection.commit()


def opened(path):
    async def look():
        catalog = Catalog()
        async with open_database(path) as database:
            Functions(database, catalog)
        return {name: catalog.get(name) for name in catalog.names()}

    return asyncio.run(look())


def test_settings_of_custom_runtimes_that_were_only_kept_get_their_own_place(path):
    tags = [{"Key": "k", "Value": "ü"}]
    sent = {
        "command": ["./run"],
        "args": ["a"],
        "port": 8080,
        "healthCheckConfig": {"httpGetUrl": "/up", "timeoutSeconds": 2},
    }
    write(path, "full", "custom.debian10", {"tags": tags, "customRuntimeConfig": sent})
    write(path, "part", "custom", {"customRuntimeConfig": {"healthCheckConfig": {}}})
    write(path, "none", "custom", {})
    write(path, "image", "custom-container", {"customContainerConfig": {"image": "i"}})
    write(path, "python", "python3.10", {"customRuntimeConfig": sent, "tags": []})
    found = opened(path)
    assert found["full"].custom == CustomRuntime(
        command=("./run",),
        args=("a",),
        port=8080,
        health_check=HealthCheck(path="/up", timeout_s=2),
    )
    assert found["full"].kept == {"tags": tags}
    assert found["part"].custom == found["none"].custom == CustomRuntime()
    assert found["image"].custom is None
    assert found["python"].custom is None
    assert found["python"].kept == {"tags": []}


def test_everything_else_about_a_function_stays_as_it_was(path):
    write(path, "f", "python3.10", {"big": 2**63, "f": 0.1})
    function = opened(path)["f"]
    assert (function.generation, function.description) == (3, "grüße")
    assert function.initializer.handler == "index.init"
    assert function.kept == {"big": 2**63, "f": 0.1}
    assert (function.service, function.pre_freeze) == ("", None)


# --- 0004: secrets are sealed --------------------------------------------------------------------


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_what_was_stored_plainly_is_sealed_and_stays_what_it_was(path):
    secret = "hunter2" * 20
    write(path, "f", "python3.12", {"secret": secret})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE functions SET environment = ?", (json.dumps({"P": secret}),))
        connection.commit()
    function = opened(path)["f"]
    assert function.environment == {"P": secret}
    assert function.kept == {"secret": secret}
    for file in path.parent.iterdir():
        assert b"hunter2" not in file.read_bytes(), file
    assert opened(path)["f"] == function


def test_a_sealed_database_is_of_no_use_without_its_key(path):
    write(path, "f", "python3.12", {})
    opened(path)
    before = rows(path, "SELECT environment, kept FROM functions")
    (path.parent / "store.key").rename(path.parent / "elsewhere")
    with pytest.raises(StoreUnavailable, match=r"store\.key is missing"):
        opened(path)
    (path.parent / "store.key").write_text(base64.b64encode(bytes(32)).decode())
    with pytest.raises(StoreUnavailable, match="was not sealed with this key"):
        opened(path)
    assert rows(path, "SELECT environment, kept FROM functions") == before
    (path.parent / "elsewhere").replace(path.parent / "store.key")
    assert set(opened(path)) == {"f"}
