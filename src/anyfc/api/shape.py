"""Shapes of JSON values: what is accepted, and the sentence that refuses the rest.

Real clients spell keys in other cases, write numbers as text and send nulls for what they leave
out; and a refusal has to name the field, the value and the limit. Hence tables of these shapes
instead of typed structs: what `read` returns is in canonical spelling and within its limits.

Refusals go to logs and screens, so what may hold a secret is `secret`, and its value not shown.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from anyfc.errors import InvalidArgument

INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
FLAGS = {"true": True, "false": False}
TOLERANCE = 1e-6


class Shape(Protocol):
    def read(self, value: Any, field: str) -> Any:
        """Return the value as it is kept, or raise InvalidArgument that names the field."""


def excerpt(value: Any, *, secret: bool = False) -> str:
    """A value as error messages show it: short, whatever was sent."""
    if secret:
        return "the value"
    text = f"'{value}'" if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:60]}…"


def mistyped(field: str, value: Any, wanted: str, *, secret: bool = False) -> InvalidArgument:
    return InvalidArgument(f"{field}: {excerpt(value, secret=secret)} is not {wanted}")


@dataclass(frozen=True, slots=True)
class Text:
    """Text of `least` to `most` characters; `form` says in words what `pattern` demands."""

    least: int = 0
    most: int = 16 * 1024
    pattern: re.Pattern[str] | None = None
    form: str = ""
    secret: bool = False

    def read(self, value: Any, field: str) -> str:
        if not isinstance(value, str):
            raise mistyped(field, value, "text", secret=self.secret)
        if not self.least <= len(value) <= self.most:
            raise InvalidArgument(
                f"{field}: {excerpt(value, secret=self.secret)} has {len(value)} characters; "
                f"allowed are {self.least} to {self.most}"
            )
        if value and self.pattern and not self.pattern.fullmatch(value):
            raise InvalidArgument(f"{field}: {excerpt(value, secret=self.secret)} {self.form}")
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number, also when it is written as text; both ends are allowed."""

    least: int
    most: int
    step: int = 1

    def read(self, value: Any, field: str) -> int:
        number = self._parse(value, field)
        if not self.least <= number <= self.most:
            raise InvalidArgument(
                f"{field}: {excerpt(number)} is not between {self.least} and {self.most}"
            )
        if number % self.step:
            raise InvalidArgument(f"{field}: {number} is not a multiple of {self.step}")
        return number

    def _parse(self, value: Any, field: str) -> int:
        if isinstance(value, str) and INTEGER.fullmatch(value):
            return int(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise mistyped(field, value, "a whole number")


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is a multiple of `1 / steps_per_one`, also when it is written as text."""

    least: float
    most: float
    steps_per_one: int

    def read(self, value: Any, field: str) -> float:
        number = self._parse(value, field)
        if not self.least - TOLERANCE <= number <= self.most + TOLERANCE:
            raise InvalidArgument(
                f"{field}: {excerpt(value)} is not between {self.least} and {self.most}"
            )
        steps = round(number * self.steps_per_one)
        if abs(number * self.steps_per_one - steps) > TOLERANCE * self.steps_per_one:
            raise InvalidArgument(
                f"{field}: {excerpt(value)} is not a multiple of {1 / self.steps_per_one}"
            )
        return steps / self.steps_per_one

    def _parse(self, value: Any, field: str) -> float:
        if isinstance(value, str) and NUMBER.fullmatch(value):
            return float(value)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 1e18
            and math.isfinite(value)
        ):
            return float(value)
        raise mistyped(field, value, "a number")


@dataclass(frozen=True, slots=True)
class Flag:
    def read(self, value: Any, field: str) -> bool:
        flag = FLAGS.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(flag, bool):
            raise mistyped(field, value, "true or false")
        return flag


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed list of words or numbers."""

    options: tuple[str | int, ...]

    def read(self, value: Any, field: str) -> str | int:
        number = isinstance(value, str) and INTEGER.fullmatch(value) is not None
        for option in self.options:
            if value == option and not isinstance(value, bool):
                return option
            if number and isinstance(option, int) and int(value) == option:
                return option
        allowed = ", ".join(str(option) for option in self.options)
        raise InvalidArgument(f"{field}: {excerpt(value)} is not one of {allowed}")


@dataclass(frozen=True, slots=True)
class Items:
    """A list of at most `most` values of one shape."""

    shape: Shape
    most: int = 1000
    secret: bool = False

    def read(self, value: Any, field: str) -> list[Any]:
        if not isinstance(value, list):
            raise mistyped(field, value, "a list", secret=self.secret)
        if len(value) > self.most:
            raise InvalidArgument(f"{field}: {len(value)} items; at most {self.most} are allowed")
        return [self.shape.read(item, f"{field}[{at}]") for at, item in enumerate(value)]


@dataclass(frozen=True, slots=True)
class TextMap:
    """Text by text; the keys are the user's own, so their spelling stays.

    If it is `secret`, the keys are shown all the same.
    """

    key: Text = Text()
    most: int = 1000
    secret: bool = False

    def read(self, value: Any, field: str) -> dict[str, str]:
        if not isinstance(value, dict):
            raise mistyped(field, value, "an object", secret=self.secret)
        if len(value) > self.most:
            raise InvalidArgument(f"{field}: {len(value)} keys; at most {self.most} are allowed")
        shape = Text(secret=self.secret)
        return {
            self.key.read(key, field): shape.read(text, f"{field}.{excerpt(key)}")
            for key, text in value.items()
            if text is not None
        }


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known keys, found whatever their case; nulls and other keys are dropped."""

    fields: Mapping[str, Shape]
    required: tuple[str, ...] = ()
    secret: bool = False

    def read(self, value: Any, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise mistyped(field or "the body", value, "an object", secret=self.secret)
        prefix = f"{field}." if field else ""
        names = {name.lower(): name for name in self.fields}
        found = {}
        # Sorted, so that of two spellings of one key the exact one is read last and wins.
        for key in sorted(value, key=self.fields.__contains__):
            name = names.get(key.lower())
            if name is not None and value[key] is not None:
                found[name] = self.fields[name].read(value[key], prefix + name)
        for name in self.required:
            if name not in found:
                raise InvalidArgument(f"{prefix}{name}: required, but not sent")
        return found


@dataclass(frozen=True, slots=True)
class JsonText:
    """Text that holds a JSON object of a shape; it is kept as the text that was sent."""

    shape: Record

    def read(self, value: Any, field: str) -> str:
        text = Text().read(value, field)
        if text:
            try:
                content = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                raise InvalidArgument(f"{field}: {excerpt(text)} is not JSON: {error}") from None
            self.shape.read(content, field)
        return text


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object, written as text or not; it is kept as compact text, its keys in their order.

    Empty text stays empty.
    """

    most: int = 64 * 1024
    secret: bool = False

    def read(self, value: Any, field: str) -> str:
        if isinstance(value, dict):
            value = msgspec.json.encode(value).decode()
        text = Text(0, self.most, secret=self.secret).read(value, field)
        if not text:
            return ""
        try:
            content = msgspec.json.decode(text)
            text = msgspec.json.format(text, indent=-1)
        except (msgspec.DecodeError, RecursionError) as error:
            shown = excerpt(text, secret=self.secret)
            raise InvalidArgument(f"{field}: {shown} is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise mistyped(field, content, "an object", secret=self.secret)
        return text


@dataclass(frozen=True, slots=True)
class Clearable:
    """A record, or an object without anything in it, which takes away what was there."""

    record: Record

    def read(self, value: Any, field: str) -> dict[str, Any]:
        return {} if value == {} else self.record.read(value, field)


@dataclass(frozen=True, slots=True)
class Anything:
    """A value that another field says how to read."""

    def read(self, value: Any, field: str) -> Any:
        return value
