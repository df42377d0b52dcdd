"""Which route serves a path, and what a rewrite makes of a target.

Source: "Configure custom domain names", "Configure rewrite policies".
"""

import time

import pytest

from anyfc.model.domain import Rewrite, Route, Rule, choose_route, compile_regex, rewrite


def routes(**functions):
    return [Route(path=path, function=name) for name, path in functions.items()]


FIVE = routes(f1="/", f2="/*", f3="/login", f4="/login/a", f5="/login/*")


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/", "f1"),
        ("/user", "f2"),
        ("/login", "f3"),
        ("/login/a", "f4"),
        ("/login/a/b", "f5"),
        ("/login/b", "f5"),
        ("/login/", "f5"),
        ("/loginx", "f2"),
    ],
)
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "in reverse"])
def test_an_exact_path_wins_and_then_the_longest_prefix(path, function, order):
    found = choose_route(FIVE[::order], path)
    assert found is not None
    assert found.function == function


@pytest.mark.parametrize("path", ["/a/", "/", "/A", "/ab", ""])
def test_a_path_without_a_star_is_met_by_itself_alone(path):
    assert choose_route(routes(f="/a"), path) is None


def wildcard(*rules):
    return Rewrite(wildcard=tuple(Rule(*rule) for rule in rules))


def regex(*rules):
    return Rewrite(regex=tuple(Rule(*rule) for rule in rules))


@pytest.mark.parametrize(
    ("rules", "target", "seen"),
    [
        (wildcard(("/api/*", "/$1")), "/api/getFunctionName", "/getFunctionName"),
        (wildcard(("^/old", "/new")), "/test/old", "/test/old"),
        (wildcard(("^/old", "/new")), "/old/page", "/new/page"),
        (wildcard(("/old", "/new")), "/test/old", "/test/new"),
        (wildcard(("/*/to/*", "/$2/$1")), "/a/to/b", "/b/a"),
        (wildcard(("/a.b/*", "/$1")), "/axb/c", "/axb/c"),
        (wildcard(("/(*", "/[$1]$2")), "/(x", "/[x]"),
        (wildcard(("/a/*", "$1")), "/a/b", "/b"),
        (wildcard(("/a/*", "/$1")), "/a/ü", "/ü"),
        (wildcard(("/a/*", "/b/$1?from=a")), "/a/c?x=1", "/b/c?from=a"),
        (wildcard(("/a/*", "/b/$1")), "/a/c?x=1", "/b/c?x=1"),
        (wildcard(("/b", "/c")), "/a?/b", "/a?/b"),
        (regex((r"^/(\d+)/(\w+)$", "/$2/$1")), "/12/cat", "/cat/12"),
        (regex(("/(?:(a)|(b))", "/$1-$2-$3")), "/b", "/-b-"),
        (regex(("^/users/([0-9]+)$", "/user?id=$1")), "/users/7", "/user?id=7"),
        (regex(("(?i)^/HELLO", "/bye")), "/hello", "/bye"),
        (Rewrite(equal=(Rule("/a", "/b"),)), "/a?x=1", "/b?x=1"),
        (Rewrite(equal=(Rule("/a", "/b"),)), "/a/", "/a/"),
        (Rewrite(), "/a?b", "/a?b"),
    ],
)
def test_a_rule_that_matches_changes_path_and_query(rules, target, seen):
    assert rewrite(rules, target) == seen


FIRST, SECOND = ("/api/v1/*", "/api/v2/$1"), ("/api/*/*", "/api/v3/$2")


def test_of_the_rules_of_a_kind_the_first_that_matches_counts():
    assert rewrite(wildcard(FIRST, SECOND), "/api/v1/getFunctionName") == "/api/v2/getFunctionName"
    assert rewrite(wildcard(SECOND, FIRST), "/api/v1/getFunctionName") == "/api/v3/getFunctionName"


def test_equal_rules_are_tried_before_wildcards_and_those_before_regexes():
    rules = Rewrite(
        equal=(Rule("/a", "/equal"),), wildcard=(Rule("/a*", "/wild"),), regex=(Rule("/.*", "/r"),)
    )
    seen = [rewrite(rules, target) for target in ("/a", "/ab", "/b")]
    assert seen == ["/equal", "/wild", "/r"]


@pytest.mark.parametrize("rules", [regex(("(a*)*b", "/")), wildcard(("*a" * 100 + "b", "/"))])
def test_no_rule_takes_long_on_any_path(rules):
    began = time.perf_counter()
    target = "/" + "a" * 4090
    assert rewrite(rules, target) == target
    # Backtracking would take longer than anybody waits.
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("wrong", ["(", r"(a)\1", "(?=a)", "a{2000}", "[", "\udc80"])
def test_what_is_no_regular_expression_is_told_why(wrong, capfd):
    with pytest.raises(ValueError, match=r"\w"):
        compile_regex(wrong)
    assert capfd.readouterr().err == ""
