"""What changed in a folder that is watched: which files count, and what is wrong with them."""

import itertools
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from anyfc.cli.package import SKIPPED

# Files that editors and interpreters write beside the ones that people save.
_BESIDE = re.compile(r"^\..*\.sw[a-z]$|~$|^\.#|^#.*#$|^4913$|^\.___jb_|\.py[co]$|^\.goutputstream-")


def is_source(path: str, root: str) -> bool:
    """Whether a path below a root is code, or something else that a function may read."""
    parts = os.path.relpath(path, root).split(os.sep)
    cache = ("node_modules", ".cache") in itertools.pairwise(parts)
    return not cache and SKIPPED.isdisjoint(parts) and not _BESIDE.search(parts[-1])


def render_changes(paths: Sequence[str], root: str) -> str:
    """Name the first of several paths, and say how many more there are."""
    first = os.path.relpath(paths[0], root)
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def find_mistakes(paths: Sequence[str]) -> Iterator[str]:
    """Say where Python files cannot be parsed; the Python that runs this command is the judge."""
    for path in paths:
        if not path.endswith(".py"):
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
        except OSError:
            continue  # it is gone again
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            place = f"{path}:{line}" if line else path
            yield f"{place}: {type(error).__name__}: {getattr(error, 'msg', error)}"
