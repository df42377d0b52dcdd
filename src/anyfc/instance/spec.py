"""Spec: everything that one instance of a function is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyfc.instance.code import Packages
from anyfc.model.function import Function
from anyfc.runtime.context import Credentials, Place, build_program
from anyfc.runtime.table import pick
from anyfc.sandbox.box import Box
from anyfc.sandbox.interpreter import Interpreter
from anyfc.sandbox.process import Sandbox
from anyfc.sandbox.zygote import SandboxFailed

MODULES = "/var/fc/modules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One instance to be made."""

    id: str
    function: Function
    interpreter: Interpreter
    box: Box
    program: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """Writes specs on this machine."""

    sandbox: Sandbox
    packages: Packages
    interpreters: Sequence[Interpreter]
    place: Place
    derive: Callable[[str], Credentials]  # role → credentials
    modules_folder: Path
    new_id: Callable[[], str]

    async def write(self, function: Function) -> Spec:
        """Raises SandboxFailed, StoreUnavailable."""
        interpreter = pick(function.runtime, self.interpreters)
        if interpreter is None or function.code is None:
            raise SandboxFailed("no Python was found on this machine")
        code = await self.packages.ensure(function.code)
        instance_id = self.new_id()
        scratch = self.sandbox.make_scratch(instance_id)
        modules = find_modules(self.modules_folder, interpreter)
        walls = scratch is None
        return Spec(
            id=instance_id,
            function=function,
            interpreter=interpreter,
            box=Box(
                hostname=instance_id,
                code=str(code),
                modules=str(modules) if modules else None,
                scratch=scratch,
                disk_mib=function.disk_mib,
            ),
            program=build_program(
                function,
                place=self.place,
                credentials=self.derive(function.role),
                instance_id=instance_id,
                code="/code" if walls else f"{scratch}/code",
                temporary="/tmp" if walls else f"{scratch}/tmp",
                modules=(MODULES if walls else str(modules)) if modules else None,
            ),
        )


def find_modules(folder: Path, interpreter: Interpreter) -> Path | None:
    """Return the folder of the modules that the cloud preinstalls, if they were installed here."""
    modules = folder / "python{}.{}".format(*interpreter.version)
    return modules if modules.is_dir() else None
