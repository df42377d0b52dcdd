"""Functions that bring their own server: deployed with a trigger, called through its address.

Their programs are folders of `tests/functions`.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support import (
    ServerProcess,
    create_function,
    descendants,
    invoke,
    make_sdk,
    read_log,
    wait_until,
)
from transport import Seen
from vendored import closure
from wire import Raw

FUNCTIONS = Path(__file__).parent / "functions"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]
# What can be made again, types, and translations.
LEFT_OUT = (".pyc", ".pyi", ".po", ".mo")

Headers = Iterable[tuple[str, str]]


def read_folder(name: str) -> dict[str, str | bytes]:
    """The files of a program."""
    folder = FUNCTIONS / name
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def read_packages(*names: str) -> dict[str, str | bytes]:
    """The files of installed packages and of all that they need."""
    return {
        str(file): file.read_binary()
        for name in closure(names)
        for file in distribution(name).files or ()
        if file.parts[0] != ".." and file.suffix not in LEFT_OUT
    }


@dataclass(frozen=True, slots=True)
class Web:
    """A deployed function, and the host of its trigger."""

    server: ServerProcess
    sdk: Any
    name: str
    host: str

    def head(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Headers = (),
        *,
        framing: str = "",
        version: str = "1.1",
    ) -> bytes:
        """The head of a request, `framing` being the header that says how long the body is."""
        lines = [f"{method} {target} HTTP/{version}", f"host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [framing] if framing else []
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def request(
        self, method: str = "GET", target: str = "/", body: bytes = b"", headers: Headers = ()
    ) -> bytes:
        framing = f"content-length: {len(body)}" if body or method == "POST" else ""
        return self.head(method, target, headers, framing=framing) + body

    def ask(
        self, method: str = "GET", target: str = "/", body: bytes = b"", headers: Headers = ()
    ) -> Seen:
        """Call it through the address of its trigger."""
        with Raw(self.server) as raw:
            return raw.ask(self.request(method, target, body, headers))

    def invoke(self, event: bytes = b"", **headers: str) -> tuple[dict[str, str], bytes]:
        return invoke(self.sdk, self.name, event, **headers)

    def log(self, request_id: str = "") -> list[str]:
        return read_log(self.server, self.name, request_id)

    def wait_line(self, text: str) -> str:
        """Wait until a line of the log holds a text; return the line."""
        lines = wait_until(lambda: [line for line in self.log() if text in line])
        return str(lines[0])

    def remove(self) -> None:
        self.sdk.delete_trigger(self.name, "web")
        self.sdk.delete_function(self.name)


def deploy_web(
    server: ServerProcess,
    sdk: Any,
    files: Mapping[str, str | bytes],
    *command: str,
    **settings: Any,
) -> Web:
    """Create a function of a custom runtime with a trigger that lets everybody in."""
    from alibabacloud_fc20230330.models import CreateTriggerInput, CreateTriggerRequest

    more = settings.pop("customRuntimeConfig", {})
    settings.setdefault("runtime", "custom.debian12")
    settings.setdefault("timeout", 20)
    settings.setdefault("cpu", 1)
    settings.setdefault("memorySize", 1024)
    config = {"command": list(command), **more}
    name = create_function(sdk, files, customRuntimeConfig=config, **settings)
    trigger = CreateTriggerInput(
        trigger_name="web",
        trigger_type="http",
        trigger_config=json.dumps({"methods": METHODS, "authType": "anonymous"}),
    )
    made = sdk.create_trigger(name, CreateTriggerRequest(body=trigger)).body
    return Web(server, sdk, name, urlsplit(made.http_trigger.url_internet).netloc)


@contextmanager
def deploying(server: ServerProcess) -> Iterator[Callable[..., Web]]:
    """Deploy functions in a block, as `deploy_web` does; they are deleted at its end."""
    sdk = make_sdk(server)
    made: list[Web] = []

    def deploy(files: Mapping[str, str | bytes], *command: str, **settings: Any) -> Web:
        made.append(deploy_web(server, sdk, files, *command, **settings))
        return made[-1]

    yield deploy
    for web in made:
        web.remove()


def need_networks(server: ServerProcess) -> None:
    """Without a network for each, only one instance at a time can listen on port 9000."""
    if "network: one for each instance" not in server.output:
        pytest.skip("networks: this server cannot make them for its instances")


class Boxes:
    """What the instances of a server are on this machine, and what of them is left when they go.

    For a server that keeps no spare processes and networks.
    """

    def __init__(self, server: ServerProcess) -> None:
        need_networks(server)
        self._server = server
        self._own = _namespaces(Path(f"/proc/{server.pid}"))
        self._seen: set[str] = set()
        self._block = self._find_block()

    def _find_block(self) -> IPv4Network:
        """The addresses that the server has taken for itself, by the name of a socket."""
        folder = Path(f"/proc/{self._server.pid}/fd")
        mine = {_read_link(path) for path in folder.iterdir()}
        for row in Path("/proc/net/unix").read_text().splitlines():
            inode, _, name = row.partition(" @anyfc-network-")
            if name and f"socket:[{inode.split()[-1]}]" in mine:
                return IPv4Network(name)
        raise AssertionError("the server has no networks")

    def look(self) -> int:
        """Remember the namespaces of the instances that there are, and count their processes."""
        found = [_namespaces(Path(f"/proc/{pid}")) for pid in descendants(self._server.pid)]
        boxes = [namespaces - self._own for namespaces in found if namespaces - self._own]
        self._seen.update(*boxes)
        return len(boxes)

    def left(self) -> list[str]:
        """What there is of instances, those seen before and others."""
        self.look()
        found = [
            f"process {path.name} in {namespace}"
            for path in Path("/proc").glob("[0-9]*")
            for namespace in self._seen & _namespaces(path)
        ]
        found += [
            f"descriptor {path.name}"
            for path in Path(f"/proc/{self._server.pid}/fd").iterdir()
            if (name := _read_link(path)).startswith("net:") and name not in self._own
        ]
        names = (path.name for path in Path("/sys/class/net").iterdir())
        found += [f"link {name}" for name in names if self._is_link(name)]
        return found

    def _is_link(self, name: str) -> bool:
        digits = name.removeprefix("anyfc")
        return digits != name and IPv4Address(int(digits, 16)) in self._block


def _namespaces(path: Path) -> set[str]:
    return {_read_link(path / "ns" / kind) for kind in ("pid", "net")} - {""}


def _read_link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:  # it has gone meanwhile
        return ""
