"""Pages of lists on the wire: which part of a list is asked for, and how it is shown.

Source: prefix, limit and nextToken of the list operations of the Function Compute 3.0 API.
"""

from typing import Any

from starlette.requests import Request

from anyfc.api.shape import Integer

PAGE = 20
LIMIT = Integer(1, 100)


def read_page(request: Request) -> tuple[str, str, int]:
    """Return prefix, the name to start at, and limit. Raises InvalidArgument."""
    query = request.query_params
    limit = LIMIT.read(query.get("limit") or PAGE, "limit")
    return query.get("prefix", ""), query.get("nextToken", ""), limit


def show_page(key: str, shown: list[dict[str, Any]], following: str | None) -> dict[str, Any]:
    """Return a page under its key; the last one has no token."""
    return {key: shown, **({"nextToken": following} if following is not None else {})}
