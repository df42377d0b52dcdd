"""CustomDomain: host names of the user's own, and which function serves which path.

Source: "Configure custom domain names", "Configure rewrite policies"; runtime.md 15.6 and 15.7.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import re2

from anyfc.model.access import Access, Anonymous, Cors
from anyfc.model.version import LATEST

# What cannot stand in the target of a request as it is.
UNSENDABLE = re.compile(r"[^\x21-\x7e]+|#")
# What stays in a regular expression, an escape or a class; or a character that cannot be sent.
REGEX_PIECE = re.compile(r"(\\[!\"$-~]|\[\^?\]?(?:\\.|[^\]\\])*\])|\\?([^\x21-\x7e]|#)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is replaced by what."""

    match: str
    replacement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Rules for path and query, tried kind by kind in this order; the first that matches counts."""

    equal: tuple[Rule, ...] = ()
    wildcard: tuple[Rule, ...] = ()
    regex: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, exact or with `*` at its end, and the function behind it."""

    path: str
    function: str
    qualifier: str = LATEST
    methods: tuple[str, ...] = ()  # none: all
    rewrite: Rewrite = field(default_factory=Rewrite)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate and its key, both PEM."""

    name: str
    certificate: str
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Which versions and cipher suites of TLS a domain speaks."""

    min_version: str  # TLSv1.0 … TLSv1.3
    max_version: str = ""
    cipher_suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomDomain:
    """One host name, or all names one label below another (`*.example.com`)."""

    name: str
    protocol: str  # HTTP, HTTPS or HTTP,HTTPS
    created_at: datetime
    modified_at: datetime
    routes: tuple[Route, ...] = ()
    access: Access = field(default_factory=Anonymous)
    auth_info: str = ""  # JSON text of `access`, as it was sent
    cors: Cors | None = None
    certificate: Certificate | None = None
    tls: Tls | None = None
    waf: bool = False  # kept, no effect

    @property
    def host(self) -> str:
        """The name as hosts of requests are compared with it."""
        return self.name.lower()


def percent_encode(text: str) -> str:
    """Encode what clients encode when they send a path: all but printable ASCII, and `#`."""
    return UNSENDABLE.sub(lambda found: quote(found[0], safe=""), text)


def as_requested(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Return routes with paths and rules as requests have them: percent-encoded."""
    return tuple(
        replace(
            route,
            path=percent_encode(route.path),
            rewrite=Rewrite(
                equal=_encode_rules(route.rewrite.equal, percent_encode),
                wildcard=_encode_rules(route.rewrite.wildcard, percent_encode),
                regex=_encode_rules(route.rewrite.regex, _encode_regex),
            ),
        )
        for route in routes
    )


def _encode_rules(rules: Sequence[Rule], encode: Callable[[str], str]) -> tuple[Rule, ...]:
    return tuple(Rule(encode(rule.match), percent_encode(rule.replacement)) for rule in rules)


def _encode_regex(regex: str) -> str:
    """Encode the characters of a regular expression, but for those in classes (`[…]`)."""

    def encode(piece: re.Match[str]) -> str:
        return piece[1] or f"(?:{percent_encode(piece[2])})"

    encoded = REGEX_PIECE.sub(encode, regex)
    try:
        compile_regex(encoded)
    except ValueError:  # such as the name of a group, which is not matched with anything
        return regex
    return encoded


def choose_route(routes: Sequence[Route], path: str) -> Route | None:
    """Return the route of a path: an exact one, else the one with the longest prefix.

    The routes are `as_requested`.
    """
    best: Route | None = None
    for route in routes:
        if route.path == path:
            return route
        if (
            route.path.endswith("*")
            and path.startswith(route.path[:-1])
            and (best is None or len(route.path) > len(best.path))
        ):
            best = route
    return best


def rewrite(rules: Rewrite, target: str) -> str:
    """Return path and query as the function is to see them. A replaced query replaces the old.

    The rules are `as_requested`.
    """
    path, mark, query = target.partition("?")
    for rule in rules.equal:
        if rule.match == path:
            return _with_query(rule.replacement, mark + query)
    for kind, wildcard in ((rules.wildcard, True), (rules.regex, False)):
        for rule in kind:
            pattern = compile_regex(_translate(rule.match) if wildcard else rule.match)
            found = pattern.search(path)
            if found:
                put_in = _fill(rule.replacement, found)
                return _with_query(
                    path[: found.start()] + put_in + path[found.end() :], mark + query
                )
    return target


@lru_cache(maxsize=1024)
def compile_regex(regex: str) -> Any:
    """Compile a user's regular expression; matching it takes time in proportion to the path.

    Raises ValueError that says what is wrong with it.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(regex, options)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else reason) from error


def _translate(match: str) -> str:
    """Return a wildcard rule as a regular expression."""
    anchored = match.startswith("^")
    parts = match[anchored:].split("*")
    return "(?s)" + "^" * anchored + "(.*)".join(map(re2.escape, parts))


def _fill(replacement: str, found: Any) -> str:
    """Put `$1`, `$2` … into a replacement; what was not captured is empty."""

    def captured(reference: re.Match[str]) -> str:
        number = int(reference[1])
        return (found[number] or "") if number <= found.re.groups else ""

    return re.sub(r"\$([0-9]+)", captured, replacement)


def _with_query(target: str, query: str) -> str:
    target = target if target.startswith("/") else "/" + target
    return target if "?" in target else target + query
