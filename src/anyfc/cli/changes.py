"""What changed in a folder that is watched: which files count, and how they are named."""

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from anyfc.cli.source import is_left_out, why_left_out
from anyfc.cli.terminal import readable

# They go into a package, but nobody saves them: what is compiled, and what vim tries a folder with.
_QUIET = re.compile(r"^4913$|\.py[co]$")


def is_source(path: str, root: str, data_dir: Path | None = None) -> bool:
    """Whether a path below a root is code, or something else that a function may read.

    `data_dir` is that of the server.
    """
    parts = Path(os.path.relpath(path, root)).parts
    if any(is_left_out(part) for part in parts) or _QUIET.search(parts[-1] if parts else ""):
        return False
    if ("node_modules", ".cache") in itertools.pairwise(parts):
        return False
    folders = itertools.accumulate(parts, Path.joinpath, initial=Path(root))
    return not any(why_left_out(folder, data_dir) for folder in itertools.islice(folders, 1, None))


def render_changes(paths: Sequence[str], root: str) -> str:
    """Name the first of several paths, and say how many more there are."""
    if root in paths:
        return "the whole folder"
    first = readable(os.path.relpath(paths[0], root))
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
