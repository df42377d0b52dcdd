"""The Python that will read a function's files, asked beforehand what it cannot read."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from anyfc.cli.terminal import readable
from anyfc.runtime.context import CUSTOM_SEARCH_PATH
from anyfc.runtime.table import CUSTOM, PYTHON, pick

if TYPE_CHECKING:
    from anyfc.config import Config

_PYTHON = re.compile(r"python3?(\.\d+)?")

# Any Python from 3.6 on runs this, so newer syntax stays out.
_ASK = """
import json, sys, warnings
warnings.simplefilter("ignore")
found = []
for path in json.load(sys.stdin):
    try:
        with open(path, "rb") as file:
            compile(file.read(), path, "exec", dont_inherit=True)
    except OSError:
        pass  # it is gone again
    except (SyntaxError, ValueError) as error:
        text = str(getattr(error, "msg", error))
        found.append([path, getattr(error, "lineno", None), type(error).__name__, text])
json.dump(found, sys.stdout)
"""


def find_judge(function: Mapping[str, Any], config: "Config", *, here: bool) -> str:
    """Return the path of the interpreter that runs a function, or nothing if that is not known.

    `here`: its server is on this machine, and takes what this machine has.
    """
    from anyfc.cli.modules import find_here

    runtime = str(function.get("runtime"))
    if runtime in PYTHON:
        interpreter = pick(runtime, find_here(config))
        if interpreter is not None and (here or interpreter.version == PYTHON[runtime]):
            return interpreter.path
    elif runtime in CUSTOM and here:
        program = next(iter(function["customRuntimeConfig"].get("command", ())), "")
        if _PYTHON.fullmatch(PurePath(program).name):
            return shutil.which(program, path=CUSTOM_SEARCH_PATH) or ""
    return ""


def find_mistakes(paths: Sequence[str], judge: str) -> list[str]:
    """Say where Python files cannot be parsed; nothing if there is no judge."""
    files = [path for path in paths if path.endswith(".py")]
    if not files or not judge:
        return []
    asked = subprocess.run(
        [judge, "-I", "-c", _ASK], input=json.dumps(files), stdout=subprocess.PIPE, text=True
    )
    if asked.returncode:
        return [f"{judge} could not look for mistakes; it says above why"]
    return [
        f"{readable(path)}{f':{line}' if line else ''}: {kind}: {text}"
        for path, line, kind, text in json.loads(asked.stdout)
    ]
