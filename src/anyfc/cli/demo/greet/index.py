"""JSON in, JSON out."""

import json
from typing import Any


def handler(event: bytes, context: Any) -> dict[str, Any]:
    order = json.loads(event)
    return {"greeting": f"Hello, {order['name']}!", "letters": len(order["name"])}
