"""Compiles the hot path when a wheel is built, with mypyc and the machine's C compiler.

The modules are those that `pyproject.toml` lists. Their source goes into the wheel too: it is what
runs where the wheel was built without a compiler, and in an editable installation. ANYFC_COMPILE
says what is wanted: `auto` (compile if that is possible), `must`, or `no`.

GCC compiles twice: the first time so that the modules count, in `scripts/rehearse.py`, which way
calls mostly go; then by what was counted (decision 13).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Functions of the modules call one another directly: nobody puts others in their place.
FLAGS = "-fno-semantic-interposition"
COUNT = "-fprofile-generate"
# Several threads have counted, and what was not rehearsed is no less important.
BY_COUNTS = "-fprofile-use -fprofile-correction -fprofile-partial-training -Wno-missing-profile"
REHEARSAL = Path("scripts/rehearse.py")
SETUP = """\
from mypyc.build import mypycify
from setuptools import setup

modules = {modules!r}
setup(name="compiled", packages=[], ext_modules=mypycify(modules, opt_level="3", debug_level="0"))
"""


class CannotCompile(Exception):
    """The reason, in a line."""


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to the wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        if _wanted() == "no":
            return []
        return ["mypy[mypyc]>=1.18", *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = _wanted()
        if version == "editable" or wanted == "no":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="anyfc-compile-"))
        try:
            built = self._compile(Path(self.root), self.config["modules"])
        except CannotCompile as problem:
            if wanted == "must":
                shutil.rmtree(self._folder)
                raise
            self.app.display_warning(f"the hot path stays interpreted: {problem}")
            return
        build_data["force_include"] |= {str(self._folder / file): file for file in built}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def _compile(self, root: Path, modules: list[str]) -> list[str]:
        """Compile in a copy of the source; return the files that are made, relative to it.

        Raises CannotCompile.
        """
        folder = self._folder
        shutil.copytree(
            root / "src", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        paths = [f"{module.replace('.', '/')}.py" for module in modules]
        arguments = ["--config-file", os.devnull, "--ignore-missing-imports", *paths]
        (folder / "setup.py").write_text(SETUP.format(modules=arguments))
        if not _is_gcc():
            compile_modules(folder, FLAGS)
        else:
            compile_modules(folder, f"{FLAGS} {COUNT}")
            try:
                rehearse(root / REHEARSAL, folder)
            except CannotCompile as problem:
                self.app.display_warning(f"no rehearsal, so it will be slower: {problem}")
                compile_modules(folder, FLAGS)
            else:
                compile_modules(folder, f"{FLAGS} {BY_COUNTS}")
        return [
            str(path.relative_to(folder))
            for path in folder.rglob("*.so")
            if "build" not in path.parts
        ]

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder)


def _wanted() -> str:
    wanted = os.environ.get("ANYFC_COMPILE", "auto")
    if wanted not in ("auto", "must", "no"):
        raise ValueError(f"ANYFC_COMPILE is '{wanted}'; it may be auto, must or no")
    return wanted


def _is_gcc() -> bool:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return False
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True)
    return "Free Software Foundation" in told.stdout


def compile_modules(folder: Path, flags: str) -> None:
    """Compile what `setup.py` in a folder names. Raises CannotCompile."""
    command = [sys.executable, "setup.py", "build_ext", "--inplace", "--force"]
    run(command, folder, CFLAGS=f"{os.environ.get('CFLAGS', '')} {flags}")


def rehearse(script: Path, folder: Path) -> None:
    """Let the modules in a folder count. Raises CannotCompile."""
    found = os.environ.get("PYTHONPATH")  # where the build's own packages may be
    path = os.pathsep.join([str(folder), found] if found else [str(folder)])
    run([sys.executable, str(script)], folder, PYTHONPATH=path)


def run(command: list[str], folder: Path, **environ: str) -> None:
    """Raises CannotCompile with the last of what was printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise CannotCompile("\n".join(done.stdout.splitlines()[-20:]))
