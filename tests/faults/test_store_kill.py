"""A server that is killed loses nothing it has acknowledged, and half of nothing is left.

Run as a program, this file is the server: it stores packages and functions as fast as it can and
prints each name once it is acknowledged.
"""

import asyncio
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import zipfile
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from anyfc.instance.code import Packages
from anyfc.model.function import Function
from anyfc.store.blobs import Blobs
from anyfc.store.catalog import Catalog
from anyfc.store.database import open_database
from anyfc.store.functions import Functions
from anyfc.store.lock import lock_data_dir

ROUNDS = 10
CALLERS = 8
FILES = 20


def package(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for number in range(FILES):
            made.writestr(f"lib/{number}.txt", name)
    return file.getvalue()


@asynccontextmanager
async def open_store(data_dir):
    with lock_data_dir(data_dir):
        catalog = Catalog()
        packages = Packages(
            Blobs(data_dir / "blobs"), data_dir / "code", uid=None, gid=None, limit_bytes=1 << 20
        )
        async with open_database(data_dir / "anyfc.db") as database:
            yield Functions(database, catalog), catalog, packages


async def create_forever(data_dir, first):
    numbers = itertools.count(first)

    async def caller(stored, packages):
        for number in numbers:
            name = f"f{number}"
            now = datetime.now(UTC)
            await stored.create(
                Function(
                    id=name,
                    name=name,
                    runtime="python3",
                    handler="index.handler",
                    code=await packages.add(package(name), checksum=None),
                    created_at=now,
                    modified_at=now,
                )
            )
            await stored.change(name, lambda old: replace(old, generation=2))
            sys.stdout.write(name + "\n")
            sys.stdout.flush()

    async with open_store(data_dir) as (stored, catalog, packages):
        await packages.sweep(catalog.digests())
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller(stored, packages))


def run_until_killed(data_dir, first, *, lines):
    """Let a server acknowledge some functions, kill it, and return all it had acknowledged."""
    server = subprocess.Popen(
        [sys.executable, __file__, str(data_dir), str(first)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        seen = [line for _, line in zip(range(lines), server.stdout, strict=False)]
        server.send_signal(signal.SIGKILL)
        seen += server.stdout
    assert server.returncode == -signal.SIGKILL
    return {line.strip() for line in seen if line.endswith("\n")}


async def check(data_dir, acknowledged):
    async with open_store(data_dir) as (_, catalog, packages):
        for name in acknowledged:
            function = catalog.get(name)
            assert function.generation == 2
            folder = await packages.ensure(function.code)
            content = [(folder / "lib" / f"{n}.txt").read_text() for n in range(FILES)]
            assert content == [name] * FILES
        await packages.sweep(catalog.digests())
        used = catalog.digests()
        assert Blobs(data_dir / "blobs").digests() == used
        trees = {path.name for path in (data_dir / "code").glob("*/*")}
        assert trees <= used


def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path):
    chance = random.Random(2)
    acknowledged = set()
    for round_number in range(ROUNDS):
        fresh = run_until_killed(
            tmp_path / "data", round_number * 100_000, lines=chance.randrange(1, 60)
        )
        assert fresh
        acknowledged |= fresh
        asyncio.run(check(tmp_path / "data", acknowledged))


def test_a_server_that_is_killed_while_it_makes_its_database_can_be_started_again(tmp_path):
    chance = random.Random(3)
    for round_number in range(ROUNDS):
        data_dir = tmp_path / str(round_number)
        server = subprocess.Popen(
            [sys.executable, __file__, str(data_dir), "0"], stdout=subprocess.DEVNULL
        )
        with server:
            while not (data_dir / "anyfc.db").exists():  # until it has begun
                assert server.poll() is None
            for _ in range(chance.randrange(2000)):
                os.stat(data_dir)
            server.kill()
        asyncio.run(check(data_dir, set()))


if __name__ == "__main__":
    asyncio.run(create_forever(Path(sys.argv[1]), int(sys.argv[2])))
