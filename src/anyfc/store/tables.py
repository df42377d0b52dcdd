"""The tables, one schema for SQLite and PostgreSQL; a change here needs a new migration.

A plain field of a noun is a column of its own; a field with structure is one JSON column. The
column types below convert both ways, so that a row holds exactly the noun's own values; what may
hold secrets is sealed besides.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect

from anyfc.model.access import Access, Cors
from anyfc.model.domain import Certificate, Route, Tls
from anyfc.model.function import Code, CustomRuntime, Hook, Restriction
from anyfc.store.seal import Seal

# The migration that makes the schema below. Known here so that a database that is up to date can
# be opened without importing Alembic, which takes longer than everything else at start together.
HEAD = "0004"


class Moment(TypeDecorator[datetime]):
    """An aware time, kept in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC)


class Json(TypeDecorator[Any]):
    """A struct or a mapping as JSON text; `None` stays NULL."""

    impl = Text
    cache_ok = True

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape
        self._decoder = msgspec.json.Decoder(shape)

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self._decoder.decode(value)


class OneOf(TypeDecorator[Any]):
    """A struct of a union as JSON text, under its own name: `{"Basic": {"users": []}}`.

    Structs of a union have no mark of their own that a decoder could tell them apart by.
    """

    impl = Text
    cache_ok = True

    def __init__(self, union: Any) -> None:
        super().__init__()
        self.union = union
        self._decoders = {kind.__name__: msgspec.json.Decoder(kind) for kind in get_args(union)}

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return msgspec.json.encode({type(value).__name__: value}).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        ((name, content),) = msgspec.json.decode(value, type=dict[str, msgspec.Raw]).items()
        return self._decoders[name].decode(content)


class Sealed(TypeDecorator[Any]):
    """Text, or what another type makes text of, encrypted with the seal of the engine."""

    impl = Text
    cache_ok = True

    def __init__(self, inner: Json | OneOf | None = None) -> None:
        super().__init__()
        self.inner = inner

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        text = self.inner.process_bind_param(value, dialect) if self.inner else value
        return None if text is None else seal_of(dialect).close(text)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        text = None if value is None else seal_of(dialect).open(value)
        return self.inner.process_result_value(text, dialect) if self.inner else text


def seal_with(dialect: Dialect, seal: Seal) -> None:
    """Give an engine its seal: its dialect is all of it that a column type gets to see."""
    dialect.seal = seal  # type: ignore[attr-defined]


def seal_of(dialect: Dialect) -> Seal:
    seal: Seal = dialect.seal  # type: ignore[attr-defined]
    return seal


METADATA = MetaData()

FUNCTIONS = Table(
    "functions",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("generation", Integer, nullable=False),
    Column("runtime", Text, nullable=False),
    Column("handler", Text, nullable=False),
    Column("code", Json(Code)),
    Column("created_at", Moment, nullable=False),
    Column("modified_at", Moment, nullable=False),
    Column("description", Text, nullable=False),
    Column("timeout_s", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("cpu", Double, nullable=False),
    Column("disk_mib", Integer, nullable=False),
    Column("instance_concurrency", Integer, nullable=False),
    Column("environment", Sealed(Json(Mapping[str, str])), nullable=False),
    Column("role", Text, nullable=False),
    Column("initializer", Json(Hook)),
    Column("pre_stop", Json(Hook)),
    Column("pre_freeze", Json(Hook)),
    Column("custom", Json(CustomRuntime)),
    Column("service", Text, nullable=False),
    Column("log_project", Text, nullable=False),
    Column("log_store", Text, nullable=False),
    Column("idle_timeout_s", Integer),
    Column("restriction", Json(Restriction)),
    Column("kept", Sealed(Json(Mapping[str, Any])), nullable=False),
)

SERVICES = Table(
    "services",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("modified_at", Moment, nullable=False),
    Column("description", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("log_project", Text, nullable=False),
    Column("log_store", Text, nullable=False),
    Column("kept", Sealed(Json(Mapping[str, Any])), nullable=False),
)

# The settings of an HTTP trigger are columns too, NULL for all other triggers.
TRIGGERS = Table(
    "triggers",
    METADATA,
    Column("function", Text, ForeignKey("functions.name"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("qualifier", Text, nullable=False),
    Column("config", Sealed(), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("modified_at", Moment, nullable=False),
    Column("source_arn", Text, nullable=False),
    Column("invocation_role", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("methods", Json(tuple[str, ...])),
    Column("access", Sealed(OneOf(Access))),
    Column("cors", Json(Cors)),
    Column("closed", Boolean),
)

# `host` is the name in lower case: two names that differ in capitals only are one.
CUSTOM_DOMAINS = Table(
    "custom_domains",
    METADATA,
    Column("host", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("modified_at", Moment, nullable=False),
    Column("routes", Json(tuple[Route, ...]), nullable=False),
    Column("access", Sealed(OneOf(Access)), nullable=False),
    Column("auth_info", Sealed(), nullable=False),
    Column("cors", Json(Cors)),
    Column("certificate", Sealed(Json(Certificate))),
    Column("tls", Json(Tls)),
    Column("waf", Boolean, nullable=False),
)
