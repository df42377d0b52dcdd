"""The reference says what the code does: nothing is missing in it, and no link leads nowhere."""

import re
import shlex
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import anyfc.errors
from anyfc.api.app import OPERATIONS, OWN
from anyfc.api.kept import KEPT
from anyfc.api.older.operations import OPERATIONS as SERVICE_OPERATIONS
from anyfc.cli.main import COMMANDS, build
from anyfc.config import Config
from anyfc.model.address import API_VERSION
from anyfc.runtime.preinstalled import PREINSTALLED
from anyfc.runtime.table import PYTHON

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
FIRST = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md", "examples/README.md")
PAGES = [
    *(ROOT / name for name in FIRST),
    *sorted((ROOT / "docs").rglob("*.md")),
]

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"[a-z]+:")

# The gateway's, and so without an endpoint in the table of the control API.
BUILT_ELSEWHERE = {"InvokeFunction"}


def read(page):
    return (REFERENCE / page).read_text()


def section(text, heading):
    """The text below a heading that begins so, up to the next one of its level or a higher one."""
    level = heading.split()[0]
    found = re.search(
        rf"^{re.escape(heading)}(?!\w).*?$\n(.*?)(?=^#{{1,{len(level)}}} |\Z)",
        text,
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"no heading {heading}"
    return found[1]


def rows(text):
    """The cells of every table, without the lines that only rule it."""
    lines = [line for line in text.splitlines() if re.match(r"\| (?!---)", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(text):
    return f"`{text}`"


def test_every_setting_has_a_heading_and_no_heading_is_without_one():
    headings = re.findall(r"^### `(\w+)`$", read("settings.md"), re.MULTILINE)
    assert headings == [field.name for field in fields(Config)]


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_a_setting_is_described_with_its_default_and_its_variable(field):
    text = section(read("settings.md"), f"### `{field.name}`")
    default = "empty" if field.default == "" else code(field.default)
    assert f"Default: {default}" in text
    assert f"Variable: `ANYFC_{field.name.upper()}`." in text


def test_the_flags_of_settings_are_those_of_serve():
    flags = set(re.findall(r"Flag: `(--[\w-]+)`", read("settings.md")))
    assert flags == options("serve")


def test_every_error_code_is_listed_with_its_status():
    coded = {
        (code(kind.code), str(kind.status))
        for kind in vars(anyfc.errors).values()
        if isinstance(kind, type) and "code" in vars(kind)
    }
    listed = [row[:2] for row in rows(section(read("errors.md"), "## Errors of the service"))[1:]]
    assert sorted(listed) == sorted(map(list, coded))


@pytest.mark.parametrize(
    ("page", "operations"), [("api.md", OPERATIONS), ("service-api.md", SERVICE_OPERATIONS)]
)
def test_every_operation_is_listed_as_built_or_as_not_built(page, operations):
    text = read(page)
    built = [row[:2] for row in rows(section(text, "## Built"))[1:]]
    missing = re.findall(r"`(\w+)`", section(text, "## Not built").partition("| --- |")[2])
    there = [
        [code(name), code(f"{method} {path}")]
        for name, method, path, endpoint in operations
        if endpoint or name in BUILT_ELSEWHERE
    ]
    assert built == there
    names = [name for name, _, _, endpoint in operations if not endpoint]
    assert missing == list(dict.fromkeys(name for name in names if name not in BUILT_ELSEWHERE))


def test_the_version_of_the_api_is_named():
    assert API_VERSION in read("api.md")


def test_the_endpoints_that_only_anyfc_has_are_described():
    headings = HEADING.findall(section(read("api.md"), "## What only anyfc has"))
    assert sorted(headings) == sorted(code(f"{method} {path}") for method, path, _ in OWN)


def test_every_field_without_effect_is_listed():
    listed = [row[0] for row in rows(section(read("api.md"), "## Kept, no effect"))[1:]]
    assert listed == [code(name) for name in KEPT]


def options(command):
    module, function = COMMANDS[command]
    made = build(command, getattr(import_module(module), function))
    return {
        option
        for parameter in made.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
    }


def test_every_command_is_described_in_the_order_of_the_help():
    assert re.findall(r"^## `anyfc (\w+)", read("cli.md"), re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_described_with_its_options_and_no_others(command):
    text = section(read("cli.md"), f"## `anyfc {command}")
    described = set(re.findall(r"`(--?[a-z][a-z-]*)`", text))
    assert described == options(command)


def shown_commands():
    """Every `anyfc …` in a block that people type or copy."""
    for page in PAGES:
        for block in FENCE.findall(page.read_text()):
            if block.startswith(("```sh", "```console")):
                for words in re.findall(r'^(?:\$ |eval "\$\()?anyfc ([^\n|<>&#)]+)', block, re.M):
                    yield pytest.param(shlex.split(words), id=f"{page.stem}: anyfc {words.strip()}")


@pytest.mark.parametrize("words", list(shown_commands()))
def test_a_command_that_is_shown_can_be_parsed(words):
    name, *arguments = words
    module, function = COMMANDS[name]
    assert build(name, getattr(import_module(module), function)).make_context(name, arguments)


def test_every_runtime_is_listed_with_its_python():
    listed = [row[:2] for row in rows(section(read("runtimes.md"), "## What runs"))[1:]]
    assert listed == [[code(name), "{}.{}".format(*version)] for name, version in PYTHON.items()]


def test_every_preinstalled_module_is_listed_with_its_versions():
    head, *listed = rows(section(read("runtimes.md"), "## Modules that the cloud preinstalls"))
    assert head[1:] == [code(runtime) for runtime in PREINSTALLED]
    there = {name for versions in PREINSTALLED.values() for name in versions}
    assert {row[0] for row in listed} == there
    assert len(listed) == len(there)
    for name, *versions in listed:
        assert versions == [brought.get(name, "") for brought in PREINSTALLED.values()]


def anchors(page):
    """The names under which the headings of a page can be linked to."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken
