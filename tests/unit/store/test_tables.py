from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from anyfc.model.access import (
    Access,
    Anonymous,
    Basic,
    Bearer,
    BearerToken,
    ClaimPass,
    Jwt,
    Lookup,
    Signed,
    User,
)
from anyfc.model.domain import CustomDomain
from anyfc.model.function import Function, Service
from anyfc.model.trigger import HttpSettings, Trigger
from anyfc.store.tables import CUSTOM_DOMAINS, FUNCTIONS, SERVICES, TRIGGERS, Moment, OneOf

DIALECT = sqlite.dialect()


def names(kind):
    return {f.name for f in fields(kind)}


def test_every_field_has_a_column_of_the_same_name():
    assert {column.name for column in FUNCTIONS.columns} == names(Function)
    assert {column.name for column in SERVICES.columns} == names(Service)
    assert {column.name for column in CUSTOM_DOMAINS.columns} == {"host", *names(CustomDomain)}
    flat = (names(Trigger) - {"http"}) | names(HttpSettings)
    assert {column.name for column in TRIGGERS.columns} == flat


@pytest.mark.parametrize(
    "access",
    [
        Anonymous(),
        Signed(),
        Jwt(
            keys=({"kty": "RSA", "n": "1", "x": {"y": [1]}},),
            lookups=(Lookup(position="header", name="Authorization", prefix="Bearer"),),
            claims=(ClaimPass(position="query", claim="uid", name="id"),),
            public=("/a/*",),
        ),
        Bearer((BearerToken(name="a", token="b", enabled=False),)),
        Basic((User(name="a", password="b"),)),
        None,
    ],
    ids=lambda access: type(access).__name__,
)
def test_a_struct_of_a_union_is_the_same_kind_when_it_comes_back(access):
    column = OneOf(Access)
    stored = column.process_bind_param(access, DIALECT)
    back = column.process_result_value(stored, DIALECT)
    assert (type(back), back) == (type(access), access)


def test_a_time_from_another_zone_is_the_same_moment_when_it_comes_back():
    there = datetime(2025, 3, 1, 9, 30, 15, 123456, tzinfo=timezone(timedelta(hours=8)))
    stored = Moment().process_bind_param(there, DIALECT)
    assert stored is not None
    back = Moment().process_result_value(stored.replace(tzinfo=None), DIALECT)
    assert back == there
    assert back.tzinfo is UTC
