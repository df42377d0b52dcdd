"""What the gateway, the API and clients have to agree on: versions, addresses, marks of our own."""

API_VERSION = "2023-03-30"
OLDER_VERSIONS = ("2016-08-15", "2021-04-06")

# Below this name are the addresses of HTTP triggers.
ADDRESSES = "fcapp.localhost"

# Code packages by their digest; an address carries a signature of its own.
CODE = "/anyfc/code/"
# Set where the signature that was verified does not cover the body. Clients cannot send it.
UNSIGNED_BODY = "x-anyfc-unsigned-body"


def own_domain(region: str, *, internal: bool = False) -> str:
    """Return what the hosts of a region's triggers end with, from the dot after their label.

    `internal`: the address inside the cloud. Source: runtime.md 15.1.
    """
    return f".{region}{'-vpc' if internal else ''}.{ADDRESSES}"
