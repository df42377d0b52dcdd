"""The architecture: which way imports point, what stands alone, and where things may be done."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import anyfc

ROOT = Path(anyfc.__file__).parent
BOOTSTRAP = ROOT / "bootstrap"

RANK = {
    "errors": 0, "observe": 0, "durable": 0, "model": 1,
    "store": 2, "sandbox": 2, "web": 2, "identity": 2,
    "runtime": 3, "client": 3, "instance": 4, "scheduler": 5,
    "chores": 6, "api": 8, "gateway": 8, "config": 8, "server": 9, "cli": 10,
}  # fmt: skip

MODULES = sorted(path for path in ROOT.rglob("*.py") if BOOTSTRAP not in path.parents)
INSIDE = sorted(BOOTSTRAP.rglob("*.py"))
LONG_LINES = 400

# Sockets, files and processes are for these. The control API is the one part that hands a file to a
# client, which is Starlette's work; it may look whether the file is there.
IO_HAS_AN_ADDRESS = (
    "web/", "store/", "sandbox/", "cli/", "server.py", "client.py", "durable.py",
    "runtime/channel.py", "runtime/custom.py", "identity/key.py", "api/control.py",
    "api/download.py",
    "instance/archive.py", "instance/code.py", "instance/logs.py", "instance/output.py",
    "instance/segments.py", "instance/spec.py",
)  # fmt: skip
IO_MODULES = {
    "fcntl", "http", "httpx", "mmap", "select", "shutil", "socket", "sqlite3", "subprocess",
    "tempfile", "urllib.request", "uvicorn",
}  # fmt: skip
IO_METHODS = {
    "chmod", "exists", "glob", "is_dir", "is_file", "iterdir", "mkdir", "read_bytes", "read_text",
    "rglob", "rmdir", "symlink_to", "touch", "unlink", "write_bytes", "write_text",
}  # fmt: skip
# The numbers of HTTP's statuses, from the package that also holds its client.
HARMLESS = {"http.HTTPStatus"}

# Who may read settings: what runs before the parts are built, and what builds them.
SETTINGS_ARE_FOR = ("config.py", "server.py", "cli/")

VAGUE = {
    "base", "common", "core", "data", "handle", "helper", "helpers", "info", "manager", "misc",
    "service", "util", "utils",
}  # fmt: skip

# Functions inside functions that are not made for each request.
CLOSURES_APART = {
    ("scheduler/lease.py", "pool_of"),
    ("scheduler/lease.py", "_make_room"),
    ("scheduler/lease.py", "_live"),
    ("store/catalog.py", "page"),
    ("web/upstream.py", "over_socket"),
    ("web/upstream.py", "over_unix_socket"),
}

# A task is the caller's own when it ends where it was started, whatever happens there.
OWN_TASKS = {("sandbox/finish.py", "finish")}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Every dotted name that is imported; `from a import b` is `a.b`."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def calls(path: Path) -> Iterator[tuple[str, str, int]]:
    """Every call: the last name of what it is called on, the name of what is called, the line."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name):
                    yield "", name, node.lineno
                case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                    yield owner, name, node.lineno
                case ast.Attribute(attr=name):
                    yield "?", name, node.lineno


def function_at(path: Path, line: int) -> str:
    """The innermost function that a line is in."""
    around = [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno).name


# --- imports -------------------------------------------------------------------------------------


def test_imports_point_down():
    assert not [
        f"{name_of(path)} imports {name}"
        for path in MODULES
        for name in imports(path)
        if name.startswith("anyfc.")
        and (part := part_of(path)) in RANK
        and (other := name.split(".")[1]) in RANK
        and part != other
        and RANK[part] <= RANK[other]
    ]


def test_every_part_has_a_rank():
    there = {part_of(path) for path in MODULES} - {"__init__", "__main__"}
    assert there == RANK.keys()


def test_nothing_of_the_bootstrap_is_imported():
    # The folder may be asked where it is; the programs in it are run, never imported.
    assert not [
        f"{name_of(path)} imports {name}"
        for path in MODULES
        for name in imports(path)
        if name.startswith("anyfc.bootstrap.")
    ]


def test_the_bootstrap_stands_alone():
    allowed = sys.stdlib_module_names | {path.stem for path in INSIDE}
    assert not [
        f"{name_of(path)} imports {name}"
        for path in INSIDE
        for name in imports(path)
        if name.split(".")[0] not in allowed
    ]


# --- what is done where --------------------------------------------------------------------------


def test_io_has_an_address():
    elsewhere = [path for path in MODULES if not name_of(path).startswith(IO_HAS_AN_ADDRESS)]
    assert not [
        f"{name_of(path)} imports {name}"
        for path in elsewhere
        for name in imports(path)
        if not IO_MODULES.isdisjoint((name, name.split(".")[0])) and name not in HARMLESS
    ]
    assert not [
        f"{name_of(path)}:{line} calls {owner}.{name}"
        for path in elsewhere
        for owner, name, line in calls(path)
        if (owner, name) == ("", "open") or owner == "os" or name in IO_METHODS
    ]


def test_only_what_builds_the_parts_reads_settings():
    others = [path for path in MODULES if not name_of(path).startswith(SETTINGS_ARE_FOR)]
    assert not [
        f"{name_of(path)} imports {name}"
        for path in others
        for name in imports(path)
        if name.startswith("anyfc.config")
    ]
    assert not [
        f"{name_of(path)}:{node.lineno} reads the environment"
        for path in others
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
    ]


def test_every_task_has_an_owner():
    assert not [
        f"{name_of(path)}:{line} calls {owner}.{name}"
        for path in MODULES
        for owner, name, line in calls(path)
        if (name == "create_task" and not owner.endswith(("group", "tending")))
        or (name == "ensure_future" and (name_of(path), function_at(path, line)) not in OWN_TASKS)
    ]


def test_no_cancellation_is_swallowed():
    assert not [
        f"{name_of(path)}:{node.lineno} does not end in raise"
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) == "BaseException")
        and not isinstance(node.body[-1], ast.Raise)
    ]


# --- the hot path --------------------------------------------------------------------------------


def compiled() -> list[Path]:
    settings = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())
    hook = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    return [ROOT.parent / f"{name.replace('.', '/')}.py" for name in hook["modules"]]


def test_constants_of_compiled_modules_are_final():
    assert not [
        f"{name_of(path)}:{node.lineno} {target.id}"
        for path in compiled()
        for node in parse(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and re.fullmatch("_?[A-Z][A-Z0-9_]*", target.id)
    ]


def test_no_request_makes_a_closure_in_compiled_modules():
    assert not [
        f"{name_of(path)}:{inner.lineno} in {outer.name}"
        for path in compiled()
        for outer in outermost_functions(parse(path))
        for inner in ast.walk(outer)
        if inner is not outer
        and isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        and (name_of(path), outer.name) not in CLOSURES_APART
    ]


def outermost_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        for inside in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inside, ast.FunctionDef | ast.AsyncFunctionDef):
                yield inside


# --- modules -------------------------------------------------------------------------------------


def test_every_module_begins_with_what_lives_in_it():
    assert not [
        name_of(path)
        for path in MODULES + INSIDE
        if not (ast.get_docstring(parse(path)) or "").partition("\n\n")[0].endswith((".", ":"))
    ]


def test_a_long_module_says_why_it_is_one():
    assert not [
        f"{name_of(path)}: {lines} lines"
        for path in MODULES + INSIDE
        if (lines := path.read_text().count("\n")) > LONG_LINES
        and "One module because" not in (ast.get_docstring(parse(path)) or "")
    ]


def test_module_names_mean_something():
    assert not [
        name_of(path)
        for path in MODULES + INSIDE
        if path.stem in VAGUE or path.stem == path.parent.name
    ]
