import json

from anyfc.errors import FunctionNotFound, Unauthorized
from anyfc.gateway.problem import describe


def test_a_problem_is_told_in_the_spellings_of_all_clients():
    response = describe(FunctionNotFound("f"), "1-a")
    told = json.loads(response.body)
    assert response.status == 404
    assert told["Code"] == told["ErrorCode"] == "FunctionNotFound"
    assert told["Message"] == told["ErrorMessage"] == "function 'f' does not exist."
    assert (b"X-Fc-Request-Id", b"1-a") in response.headers


def test_a_caller_who_must_say_who_it_is_is_told_how():
    response = describe(Unauthorized("authorization require", challenge="Basic"), "1-a")
    assert response.status == 401
    assert (b"WWW-Authenticate", b"Basic") in response.headers
    others = describe(FunctionNotFound("f"), "1-a").headers
    assert b"WWW-Authenticate" not in dict(others)
