"""Qualifiers, and the exact thing a qualifier leads to."""

from typing import NamedTuple

from anyfc.errors import AliasNotFound, VersionNotFound

LATEST = "LATEST"


class VersionId(NamedTuple):
    """One state of one function that instances can be made of.

    `function_id` tells a function from an earlier one of the same name; `generation` tells apart
    the states that the changeable `LATEST` has gone through.
    """

    function: str
    function_id: str
    version: str
    generation: int


def check_qualifier(function: str, qualifier: str) -> None:
    """Refuse every qualifier but `LATEST`: versions and aliases cannot be made yet."""
    if qualifier in ("", LATEST):
        return
    if qualifier.isdecimal():
        raise VersionNotFound(qualifier, function)
    raise AliasNotFound(qualifier, function)
