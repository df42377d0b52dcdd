"""Runs every case against a real server, and holds cases, reasons and the page together."""

import ast
from collections.abc import Callable, Iterator

import httpx
import pytest
from conformance.case import ROOT, SECTIONS, SERVERS, Case, Names, missing, read_cases, read_reasons
from conformance.run import Run
from conformance.table import PAGE, build_page
from support import ServerProcess

CASES = read_cases()
# What a server says at its start when instances have networks of their own.
OWN_NETWORKS = "network: one for each instance"


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def find_server(
    server: ServerProcess, start_server: Callable[..., ServerProcess]
) -> Callable[[str], ServerProcess]:
    """Start a server with other settings when the first case needs it."""
    started = {"": server}

    def find(name: str) -> ServerProcess:
        if name not in started:
            started[name] = start_server(env=SERVERS[name])
        return started[name]

    return find


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.scripted], ids=lambda case: case.name
)
def test_a_case_is_met(
    case: Case, find_server: Callable[[str], ServerProcess], http: httpx.Client
) -> None:
    server = find_server(case.given.get("server", ""))
    if case.given.get("needs_networks") and OWN_NETWORKS not in server.output:
        pytest.skip("instances have no network of their own here")
    with Run(case, server, http).opened() as run:
        for step in case.steps:
            run.take(step)


def test_every_statement_has_a_case_or_a_reason_and_not_both() -> None:
    covered = {number for case in CASES for number in case.statements}
    reasons = read_reasons()
    every = {number for numbers in SECTIONS.values() for number in numbers}
    assert covered & reasons.keys() == set()
    assert covered | reasons.keys() == every
    assert all(len(reason) > 10 for reason in reasons.values())


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.scripted], ids=lambda case: case.name
)
def test_a_scripted_case_names_a_test_that_exists(case: Case) -> None:
    path, _, name = case.scripted.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_compatibility_page_is_up_to_date() -> None:
    assert PAGE.read_text() == build_page(), (
        "run `python -m conformance.table` in the folder `tests`"
    )


class TestNames:
    """The matching itself: a case that always matches would prove nothing."""

    def test_a_name_keeps_its_value(self) -> None:
        names = Names()
        assert names.matches("<a>-<a>", "x-x")
        assert not names.matches("<a>", "y")
        assert names.matches("<a>", "x")

    def test_two_names_are_two_values(self) -> None:
        names = Names(a="x")
        assert not names.matches("<b>", "x")
        assert names.matches("<b>", "y")

    def test_the_text_around_a_name_is_literal(self) -> None:
        assert not Names().matches("a.c<any>", "abc")
        assert Names().matches("a.c<any>", "a.c\nd")

    def test_json_must_be_equal_in_keys_length_and_type(self) -> None:
        names = Names()
        assert names.matches_json({"a": ["<x>", 1]}, {"a": ["y", 1]})
        assert not names.matches_json({"a": 1}, {"a": 1, "b": 2})
        assert not names.matches_json({"a": 1}, {"a": True})
        assert not names.matches_json([1], [1, 1])

    def test_json_that_need_not_be_whole_must_still_be_there(self) -> None:
        names = Names()
        assert names.matches_json(
            {"a": {"b": "<x>"}}, {"a": {"b": "y", "c": 1}, "d": 1}, whole=False
        )
        assert not names.matches_json({"a": {"b": "z"}}, {"a": {"c": "z"}}, whole=False)
        assert not names.matches_json({"a": {"b": "<x>"}}, {"a": {"b": "z"}}, whole=False)

    def test_known_names_are_put_in_and_others_left(self) -> None:
        assert Names(a="x").put_in({"k": ["<a>-<b>", 1, "<fill:3>"]}) == {"k": ["x-<b>", 1, "xxx"]}

    def test_lines_are_wanted_in_their_order(self) -> None:
        expressions = [Names().expression("a"), Names().expression("b.*")]
        assert missing(expressions, ["x", "a", "bc"]) == ""
        assert missing(expressions, ["bc", "a"]) == "b.*"
