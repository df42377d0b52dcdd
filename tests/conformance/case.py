"""Conformance cases: what a case file may say, and when an answer is as it says.

    title       what is so, in one sentence
    statements  numbers of the compatibility statements that the case stands for
    known       observed, documented or assumed
    source      the page or the place where the behaviour can be looked up
    scripted    the test that stands in, where time or two parties play a part; then nothing follows
    [given]     the function: see `GIVEN`
    [when]      what is sent: see `WHEN`
    [then]      what comes back: see `CHECKS`

Several operations are `[[steps]]`, each with `when` and `then`. A first CreateFunction creates what
is given; otherwise it exists before the first step.

`<name>` in an expected text stands for a value, the same one all through the case; two names never
stand for the same value. `<any>` stands for anything each time. `<rid>` is the request id of the
step, `<function>`, `<service>`, `<region>`, `<account>` and, of an HTTP trigger, its host
`<trigger>` are known from the start, and may be in what is sent too. `<fill:N>` in what is sent is
N bytes of filler.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"
NOT_COVERED = Path(__file__).parent / "not_covered.toml"
FUNCTIONS = ROOT / "tests" / "functions"

KNOWN = ("observed", "documented", "assumed")
# Section → numbers of its statements.
SECTIONS = {
    "Python event handlers": range(1, 25),
    "Context and environment": range(25, 40),
    "Logging": range(40, 52),
    "HTTP calls to built-in runtimes": range(52, 84),
    "Limits": range(84, 90),
    "WSGI handlers": range(90, 103),
    "Web calls to custom runtimes": range(103, 129),
    "Events for custom runtimes": range(129, 135),
    "Lifecycle": range(135, 153),
    "Asynchronous calls, routes, authentication": range(153, 166),
}
# Servers with other settings than the usual one.
SERVERS = {
    # Default domains as in the cloud; the servers that functions bring have little time to start;
    # instances are not frozen between two requests, so that connections to them stay open.
    "strict": {
        "ANYFC_STRICT_DOMAINS": "true",
        "ANYFC_SERVER_START_S": "2",
        "ANYFC_FREEZE_AFTER_S": "30",
    },
}

HEAD = {"title", "statements", "known", "source"}
GIVEN = {
    "runtime",
    "handler",
    "settings",
    "files",
    "executable",  # names of files that may be executed
    "function",  # a folder of `tests/functions` instead of files
    "service",  # true: made in a service, with the API before 3.0
    "others",  # more functions of the same kind: `<function>-` and one of these words
    "trigger",  # the config of an HTTP trigger; anonymous, and with the usual methods
    "domains",  # custom domains, as they are created
    "server",  # one of `SERVERS`
    "needs_networks",  # true: cannot be so where instances have no network of their own
}
WHEN = {
    "operation",
    "headers",  # a list of values is a header for each
    "query",
    # InvokeFunction; the function that is given if no other is named
    "function",
    "event",
    "event_hex",
    # CreateFunction, UpdateFunction, CreateTrigger
    "settings",
    "files",
    # Call: an HTTP call, to the host of the trigger if no other is named
    "method",
    "path",  # with the query
    "host",
    "body",
    "body_hex",
    "signed",  # true, or the secret to sign with instead of the right one
    # All: so many of them at the same time; each is answered as expected
    "at_once",
}
# What `then` may hold; lists of expressions match whole lines, in that order, others in between.
CHECKS = {
    "status",
    "headers",
    "absent_headers",
    "body",
    "body_hex",
    "body_regex",
    "json",
    "json_has",  # what objects hold at least
    "json_lacks",  # names that objects do not hold, as `outer.inner`
    "took_s",  # at least and at most
    "log",  # lines of the request
    "log_never",
    "function_log",  # lines of the function, with and without request
    "function_log_never",
    "tail",  # lines of X-Fc-Log-Result
    "tail_at_most_bytes",
}
OPERATIONS = {"Call", "CreateFunction", "CreateTrigger", "InvokeFunction", "UpdateFunction"}

PLACEHOLDER = re.compile(r"<([a-z][a-z-]*)>")
FILLER = re.compile(r"<fill:(\d+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation and what must come of it."""

    when: Mapping[str, Any]
    then: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case file."""

    path: Path
    title: str
    statements: Sequence[int]
    known: str
    source: str
    scripted: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Step] = ()

    @property
    def name(self) -> str:
        return self.path.relative_to(CASES).with_suffix("").as_posix()

    @property
    def files(self) -> dict[str, str | bytes]:
        """The code of the given function."""
        if "files" in self.given:
            return dict(self.given["files"])
        folder = FUNCTIONS / self.given["function"]
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }


def read_case(path: Path) -> Case:
    """Read a case file. A key that nobody looks at is a mistake: it raises ValueError."""
    told = tomllib.loads(path.read_text())
    head = {name: told.pop(name) for name in HEAD}
    if head["known"] not in KNOWN:
        raise ValueError(f"{path}: known: '{head['known']}'")
    if "scripted" in told:
        refuse_unknown(path, told, {"scripted"})
        return Case(path=path, **head, scripted=told["scripted"])
    refuse_unknown(path, told, {"given", "when", "then", "steps"})
    given = told["given"]
    refuse_unknown(path, given, GIVEN)
    if given.get("server", "strict") not in SERVERS:
        raise ValueError(f"{path}: there is no server '{given['server']}'")
    steps = told["steps"] if "steps" in told else [{"when": told["when"], "then": told["then"]}]
    for step in steps:
        refuse_unknown(path, step["when"], WHEN)
        refuse_unknown(path, step["then"], CHECKS)
        if step["when"]["operation"] not in OPERATIONS or "status" not in step["then"]:
            raise ValueError(f"{path}: a step needs an operation, and a status that it answers")
    return Case(path=path, **head, given=given, steps=[Step(**step) for step in steps])


def refuse_unknown(path: Path, told: Mapping[str, Any], names: set[str]) -> None:
    if unknown := told.keys() - names:
        raise ValueError(f"{path}: {', '.join(sorted(unknown))}: nobody looks at that")


def read_cases() -> list[Case]:
    return [read_case(path) for path in sorted(CASES.rglob("*.toml"))]


def read_reasons() -> dict[int, str]:
    """Return the statements that no case stands for yet, each with the reason."""
    return {int(number): why for number, why in tomllib.loads(NOT_COVERED.read_text()).items()}


def fill(text: str) -> str:
    """Put in the filler that a text asks for."""
    return FILLER.sub(lambda found: "x" * int(found[1]), text)


class Names:
    """What the placeholders of one case stand for so far."""

    def __init__(self, **values: str) -> None:
        self.values = values

    def matches(self, template: str, text: str) -> bool:
        """Whether a text is as the template says; names it had not seen get their values."""
        new: list[str] = []
        pattern, at = "", 0
        for found in PLACEHOLDER.finditer(template):
            pattern += re.escape(template[at : found.start()])
            pattern += self._part(found[1], new)
            at = found.end()
        match = re.fullmatch(pattern + re.escape(template[at:]), text, re.DOTALL)
        if match is None:
            return False
        for name, value in zip(new, match.groups(), strict=True):
            if value in self.values.values():
                return False
            self.values[name] = value
        return True

    def _part(self, name: str, new: list[str]) -> str:
        if name == "any":
            return ".*"
        if name in self.values:
            return re.escape(self.values[name])
        if name in new:
            return rf"\{new.index(name) + 1}"
        new.append(name)
        return "(.+)"

    def matches_json(self, template: Any, value: Any, *, whole: bool = True) -> bool:
        """The same for JSON; texts may hold placeholders, all else must be equal.

        Objects that need not be `whole` may hold more than what is asked for.
        """
        match template, value:
            case dict(), dict():
                return (template.keys() == value.keys() if whole else True) and all(
                    key in value and self.matches_json(template[key], value[key], whole=whole)
                    for key in template
                )
            case list(), list():
                return len(template) == len(value) and all(
                    self.matches_json(*pair, whole=whole)
                    for pair in zip(template, value, strict=True)
                )
            case str(), str():
                return self.matches(template, value)
            case _:
                return type(template) is type(value) and bool(template == value)

    def put_in(self, value: Any) -> Any:
        """Return what is to be sent: fillers and known names in its texts are replaced."""
        match value:
            case dict():
                return {key: self.put_in(item) for key, item in value.items()}
            case list():
                return [self.put_in(item) for item in value]
            case str():
                return PLACEHOLDER.sub(
                    lambda found: self.values.get(found[1], found[0]), fill(value)
                )
            case _:
                return value

    def expression(self, text: str) -> re.Pattern[str]:
        """A regular expression in which known names stand for their values."""
        known = partial(PLACEHOLDER.sub, lambda found: re.escape(self.values[found[1]]))
        return re.compile(known(text), re.DOTALL)


def missing(expressions: Sequence[re.Pattern[str]], lines: Sequence[str]) -> str:
    """Return the first expression without a line of its own behind the lines of those before it."""
    rest = iter(lines)
    for expression in expressions:
        if not any(expression.fullmatch(line) for line in rest):
            return expression.pattern
    return ""
