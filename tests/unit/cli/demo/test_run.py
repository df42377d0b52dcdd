import json
import runpy
from dataclasses import replace

import pytest

from anyfc.cli.demo.run import FUNCTIONS, STEPS
from anyfc.client import Answer

OK = Answer(
    status=200, headers={}, body=b"", error_type="", log_tail=b"", request_id="1-a", duration_ms=1.0
)


def load(function):
    return runpy.run_path(str(FUNCTIONS / function / "index.py"))


def test_each_function_answers_what_the_demo_expects():
    count = load("count")
    count["initialize"](None)
    for step in STEPS:
        module = count if step.function == "count" else load(step.function)
        if step.function != "fail":
            answer = replace(OK, body=json.dumps(module["handler"](step.event, None)).encode())
            assert step.expected(answer)


def test_the_function_that_fails_is_expected_to_fail_with_its_log():
    with pytest.raises(ZeroDivisionError):
        load("fail")["handler"](b"", None)
    (step,) = [step for step in STEPS if step.function == "fail"]
    answer = replace(
        OK,
        body=b'{"errorType": "ZeroDivisionError"}',
        error_type="UnhandledInvocationError",
        log_tail=b"[INFO] about to divide by zero\nprinted by the function\n",
    )
    assert step.expected(answer)
    assert not step.expected(replace(answer, log_tail=b""))
    assert not step.expected(replace(answer, error_type=""))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.says)
def test_another_answer_is_noticed(step):
    assert not step.expected(replace(OK, body=b"null"))
