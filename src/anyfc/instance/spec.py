"""Spec: everything that one instance of a function is made of."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyfc.errors import CAFileNotFound
from anyfc.identity.key import Credentials
from anyfc.instance.code import Packages
from anyfc.model.function import CustomRuntime, Function
from anyfc.runtime.context import Place, build_environment, build_program
from anyfc.runtime.custom import ServerPlan
from anyfc.runtime.headers import common_head
from anyfc.runtime.table import CUSTOM, pick
from anyfc.sandbox.box import Box
from anyfc.sandbox.failure import SandboxFailed
from anyfc.sandbox.interpreter import Interpreter
from anyfc.sandbox.process import Sandbox

BOOTSTRAP = "/code/bootstrap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One instance to be made."""

    id: str
    function: Function
    interpreter: Interpreter  # what its process is forked from
    box: Box
    program: dict[str, Any] = field(repr=False)  # with credentials in it
    start_s: float  # how long it may take until it can be asked something
    server: ServerPlan | None = None  # of a custom runtime
    spool_folder: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """Writes specs on this machine."""

    sandbox: Sandbox
    packages: Packages
    interpreters: Sequence[Interpreter]
    place: Place
    derive: Callable[[str], Credentials]  # role → credentials
    modules_folder: Path
    spool_folder: Path
    new_id: Callable[[], str]
    start_s: float
    server_start_s: float

    async def write(self, function: Function) -> Spec:
        """Raises SandboxFailed, StoreUnavailable, CAFileNotFound."""
        custom = function.runtime in CUSTOM
        interpreter = self.interpreters[0] if custom and self.interpreters else None
        if not custom:
            interpreter = pick(function.runtime, self.interpreters)
        if interpreter is None or function.code is None:
            raise SandboxFailed("no Python was found on this machine")
        code = await self.packages.ensure(function.code)
        if custom:
            _check_start(function, code)
        instance_id = self.new_id()
        scratch = self.sandbox.scratch_path(instance_id)
        modules = None if custom else find_modules(self.modules_folder, interpreter)
        box = Box(
            hostname=instance_id,
            code=str(code),
            modules=str(modules) if modules else None,
            scratch=scratch,
            disk_mib=function.disk_mib,
        )
        write = self._write_custom if custom else self._write_builtin
        return write(function, interpreter, box, self.derive(function.role))

    def _write_builtin(
        self, function: Function, interpreter: Interpreter, box: Box, credentials: Credentials
    ) -> Spec:
        program = build_program(
            function, self.place, credentials, instance_id=box.hostname, seen=box.seen()
        )
        return Spec(
            id=box.hostname,
            function=function,
            interpreter=interpreter,
            box=box,
            program=program,
            start_s=self.start_s,
        )

    def _write_custom(
        self, function: Function, interpreter: Interpreter, box: Box, credentials: Credentials
    ) -> Spec:
        custom = function.custom or CustomRuntime()
        words = [*custom.command, *custom.args]
        environment = build_environment(
            function, self.place, credentials, instance_id=box.hostname, seen=box.seen()
        )
        head = common_head(
            function, place=self.place, credentials=credentials, instance_id=box.hostname
        )
        return Spec(
            id=box.hostname,
            function=function,
            interpreter=interpreter,
            box=box,
            program={"argv": words or [BOOTSTRAP], "environment": environment},
            start_s=self.server_start_s,
            server=ServerPlan(
                port=custom.port,
                start_command=" ".join(words) or BOOTSTRAP,
                head=head,
                concurrency=function.instance_concurrency,
                health_check=custom.health_check,
            ),
            spool_folder=self.spool_folder,
        )


def _check_start(function: Function, code: Path) -> None:
    """See whether there is something to start. Raises CAFileNotFound."""
    custom = function.custom or CustomRuntime()
    if not custom.command and not custom.args and not os.path.lexists(code / "bootstrap"):
        raise CAFileNotFound(
            "The function cannot be started. Failed to start function instance. "
            f"Error: the file {BOOTSTRAP} is not exist"
        )


def find_modules(folder: Path, interpreter: Interpreter) -> Path | None:
    """Return the folder of the modules that the cloud preinstalls, if they were installed here."""
    modules = folder / "python{}.{}".format(*interpreter.version)
    return modules if modules.is_dir() else None
