"""Messages say which function is meant, also where functions are made in services."""

import pytest

from anyfc.errors import (
    AliasNotFound,
    FunctionAlreadyExists,
    FunctionNotEmpty,
    FunctionNotFound,
    TriggerNotFound,
    VersionNotFound,
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FunctionNotFound("f"), "function 'f' does not exist."),
        (FunctionNotFound("s$f"), "function 'f' does not exist in service 's'"),
        (FunctionAlreadyExists("f"), "function 'f' already exists"),
        (FunctionAlreadyExists("s$f"), "function 'f' already exists in service 's'"),
        (FunctionNotEmpty("s$f"), "function 'f' has active triggers"),
        (VersionNotFound("1", "f"), "version '1' of function 'f' does not exist"),
        (VersionNotFound("1", "s$f"), "version '1' of service 's' does not exist"),
        (AliasNotFound("a", "f"), "alias 'a' of function 'f' does not exist"),
        (AliasNotFound("a", "s$f"), "alias 'a' of service 's' does not exist"),
        (TriggerNotFound("t", "f"), "trigger 't' does not exist in function 'f'"),
        (
            TriggerNotFound("http", "s$f"),
            "trigger 'http' does not exist in service 's' and function 'f'",
        ),
    ],
)
def test_a_message_names_the_function_as_its_api_does(error, message):
    assert error.message == message
