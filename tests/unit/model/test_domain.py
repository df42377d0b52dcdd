"""Which route serves a path, and what a rewrite makes of a target.

Source: "Configure custom domain names", "Configure rewrite policies".
"""

import time

import pytest

from anyfc.model.domain import (
    Rewrite,
    Route,
    Rule,
    as_requested,
    choose_route,
    compile_regex,
    percent_encode,
    rewrite,
)


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
        (wildcard(("/*" * 11, "/$11-$10-$1")), "/a/b/c/d/e/f/g/h/i/j/k", "/k-j-a"),
        (wildcard(("/a/*", "/$10")), "/a/b", "/"),
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


CHINESE = "%E4%B8%AD"  # of 中


def requested(rules):
    (route,) = as_requested([Route(path="/*", function="f", rewrite=rules)])
    return route.rewrite


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("/a%20b?c=%e4$1*", "/a%20b?c=%e4$1*"),
        ("/a#b", "/a%23b"),
        ("/a b/中", f"/a%20b/{CHINESE}"),
        ("/é\r\n\x7f", "/%C3%A9%0D%0A%7F"),
    ],
)
def test_what_cannot_be_sent_is_percent_encoded_and_nothing_else(text, encoded):
    assert percent_encode(text) == encoded


def test_a_path_is_met_as_clients_send_it():
    given = routes(f="/中/*", g="/a b", h="/*")
    sent = as_requested(given)
    found = [choose_route(sent, path) for path in (f"/{CHINESE}/x", "/a%20b", "/中/x", "/a b")]
    assert [route.function for route in found if route] == ["f", "g", "h", "h"]
    assert [route.path for route in given] == ["/中/*", "/a b", "/*"]


@pytest.mark.parametrize(
    ("rules", "target", "seen"),
    [
        (Rewrite(equal=(Rule("/中", "/新 b"),)), f"/{CHINESE}?x", "/%E6%96%B0%20b?x"),
        (wildcard(("/中/*", "/é/$1")), f"/{CHINESE}/%E6", "/%C3%A9/%E6"),
        (wildcard(("/a b/*", "/$1")), "/a%20b/c", "/c"),
        (regex(("^/中+/(.*)", "/$1")), f"/{CHINESE}{CHINESE}/a", "/a"),
        (regex((r"^/a\ ?b", "/c")), "/a%20b", "/c"),
        (regex((r"^/\#\"#\.", "/c")), '/%23"%23.', "/c"),
        (regex((r"^/[^]中]/\d", "/c")), "/x/1", "/c"),
        (regex((r"^/\[中\]", "/c")), f"/[{CHINESE}]", "/c"),
        (Rewrite(equal=(Rule("/a", "/b HTTP/1.1\r\nX: 1"),)), "/a", "/b%20HTTP/1.1%0D%0AX:%201"),
    ],
)
def test_rules_are_compared_with_and_make_paths_as_clients_send_them(rules, target, seen):
    assert rewrite(requested(rules), target) == seen


def test_a_regular_expression_that_cannot_be_encoded_stays_as_it_is():
    rules = regex(("/(?P<名>a)", "/$1"))
    assert requested(rules).regex[0].match == "/(?P<名>a)"


@pytest.mark.parametrize("wrong", ["(", r"(a)\1", "(?=a)", "a{2000}", "[", "\udc80"])
def test_what_is_no_regular_expression_is_told_why(wrong, capfd):
    with pytest.raises(ValueError, match=r"\w"):
        compile_regex(wrong)
    assert capfd.readouterr().err == ""
