"""Fixtures: servers, the official SDK, functions deployed for one test."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support import (
    ServerProcess,
    create_function,
    descendants,
    leftovers,
    make_sdk,
    wait_until,
)

# The same examples in every run, so that a change is judged by what it changes; `make fuzz` looks
# for new ones.
settings.register_profile("steady", derandomize=True, database=None, deadline=None)
settings.register_profile("fuzz", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("ANYFC_TEST_PROFILE", "steady"))

# Signals that are ignored stay so in the programs that tests start; with a handler, they do not.
for number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers; each one still running at the end is stopped, and must leave nothing."""
    started: list[ServerProcess] = []

    def start(
        *arguments: str, data_dir: Path | None = None, env: Mapping[str, str] | None = None
    ) -> ServerProcess:
        folder = data_dir or tmp_path_factory.mktemp("data")
        server = ServerProcess(folder, *arguments, env=env)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            processes = descendants(server.pid)
            assert server.stop() == 0, server.output
            wait_until(lambda s=server, p=processes: not leftovers(s, p), 5.0)


@pytest.fixture(scope="session")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The server that most tests share."""
    return start_server()


@pytest.fixture(scope="session")
def sdk(server: ServerProcess) -> Any:
    return make_sdk(server)


@pytest.fixture
def deploy(sdk: Any) -> Iterator[Callable[..., str]]:
    """Create functions on the shared server; they are deleted after the test."""
    names: list[str] = []

    def create(code: str | Mapping[str, str | bytes], /, **settings: Any) -> str:
        names.append(create_function(sdk, code, **settings))
        return names[-1]

    yield create
    for name in names:
        sdk.delete_function(name)
