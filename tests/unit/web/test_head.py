"""Heads of requests: which targets nobody reads differently, and are let through."""

import pytest
from calls import make_request

from anyfc.errors import InvalidArgument
from anyfc.web.head import find_problem

HOST = (b"host", b"h")


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a%20b?c=%23",
        b"/a//b/../c;d=e",
        b'/a?[x]={y}|z^`"<>\\',
        b"/\xc3\xbc?\xc3\xbc",
        b"/a%zz@b:c",
    ],
)
def test_a_target_is_passed_on_byte_for_byte(target):
    request = make_request(target=target, headers=[HOST])
    assert find_problem(request, "1.1", 0) is None
    assert request.target == target


@pytest.mark.parametrize("target", [b"/a#", b"/#/../b", b"/a?b#c", b"http://h/a#b", b"http://h#/a"])
def test_a_target_with_a_fragment_is_refused(target):
    problem = find_problem(make_request(target=target, headers=[HOST]), "1.1", 0)
    assert isinstance(problem, InvalidArgument)
    assert "encode it as %23" in problem.message


@pytest.mark.parametrize(
    "target", [b"http://user@h/a", b"http://user:secret@h/", b"http:///a", b"ftp://h/a", b"a", b"*"]
)
def test_a_target_that_is_no_path_and_names_no_host_is_refused(target):
    problem = find_problem(make_request(target=target, headers=[HOST]), "1.1", 0)
    assert isinstance(problem, InvalidArgument)
    assert "must begin with '/'" in problem.message
