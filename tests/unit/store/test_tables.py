from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy.dialects import sqlite

from anyfc.model.function import Function
from anyfc.store.tables import FUNCTIONS, Moment

DIALECT = sqlite.dialect()


def test_every_field_of_a_function_has_a_column_of_the_same_name():
    assert {column.name for column in FUNCTIONS.columns} == {f.name for f in fields(Function)}


def test_a_time_from_another_zone_is_the_same_moment_when_it_comes_back():
    there = datetime(2025, 3, 1, 9, 30, 15, 123456, tzinfo=timezone(timedelta(hours=8)))
    stored = Moment().process_bind_param(there, DIALECT)
    assert stored is not None
    back = Moment().process_result_value(stored.replace(tzinfo=None), DIALECT)
    assert back == there
    assert back.tzinfo is UTC
