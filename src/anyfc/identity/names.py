"""Names of headers, parameters, fields and cookies, as different as servers read them. No I/O."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

# A cookie's name may have spaces of Latin-1 around it: servers see the header as text.
_SPACES = b" \t\n\r\v\f\x85\xa0"
_BEFORE = re.compile(
    rb"(?:[\s\x85\xa0\x00+,?\[\]]|%(?:0[09a-d]|20|2b|2c|3f|5b|5d))*", re.IGNORECASE
)
_BRACKET = re.compile(rb"[\[\]]")
_OTHER = re.compile(rb"[^a-z0-9]")


class Names:
    """Some names, among which a name is however a client spells it.

    Servers behind us read names in ways of their own: `a.b` and `a[b` as `a_b` (PHP), `X_A` as
    `X-A` (CGI), `[a]` and `a[]` as `a` (Express), encoded ones, ones with spaces around. So names
    are compared decoded and in lower case, without spaces and brackets before them, with and
    without what is in brackets behind them, and with everything that is neither letter nor digit as
    one and the same character.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [name.encode() for name in names]
        # Of a name, so much is decoded; what is left then makes it another name in any case.
        self._most_bytes = 3 * max(map(len, encoded)) + 3
        self._bare = frozenset([_fold(_BRACKET.split(self._start(name))[0]) for name in encoded])

    def __contains__(self, name: bytes) -> bool:
        start = self._start(name)
        return any(_fold(one) in self._bare for one in {start, _BRACKET.split(start)[0]})

    def _start(self, name: bytes) -> bytes:
        before = _BEFORE.match(name)
        first = before.end() if before else 0
        part = decode(name.rstrip(_SPACES)[first : first + self._most_bytes])
        return part.partition(b"\0")[0]  # where C has it end


def _fold(name: bytes) -> bytes:
    return _OTHER.sub(b"_", name.rstrip(_SPACES).lower())


def decode(text: bytes) -> bytes:
    """Decode a name or a value as it is written in a query or a form."""
    return unquote_to_bytes(text.replace(b"+", b" "))
