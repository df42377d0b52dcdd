"""Fixtures: instances of functions, on every interpreter found."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from driven import USED, Instance, Start, find_interpreter, make_program


@pytest.fixture(params=USED, ids=[f"python{version}" for version in USED])
def python(request: pytest.FixtureRequest) -> str:
    path = find_interpreter(request.param)
    assert path is not None
    return path


@pytest.fixture
def start(python: str, tmp_path: Path) -> Iterator[Start]:
    """Start an instance of a function: its index.py, further files, and other settings."""
    started: list[Instance] = []

    def start(
        index: str | bytes = "",
        files: Mapping[str, str | bytes] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
        **program: Any,
    ) -> Instance:
        code = tmp_path / "code"
        for name, text in {"index.py": index, **(files or {})}.items():
            path = code / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        log = tmp_path / f"log{len(started)}"
        settings = make_program(environment or {}, context or {}, program)
        instance = Instance(python, code, log, settings)
        started.append(instance)
        kind, hello = instance.frame()
        assert kind == b"H"
        assert re.fullmatch(r"3\.\d+\.\d+", json.loads(hello)["python"])
        return instance

    yield start
    for instance in started:
        instance.close()
