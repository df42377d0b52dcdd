"""Shapes: what each accepts, what it makes of it, and how it refuses."""

import re

import pytest

from anyfc.api.shape import (
    Choice,
    Clearable,
    Flag,
    Integer,
    Items,
    JsonObject,
    JsonText,
    Number,
    Record,
    Text,
    TextMap,
)
from anyfc.errors import InvalidArgument

ACCEPTED = [
    (
        JsonObject(),
        '{ "b": 1.0,\n "a": 123456789012345678901234567890 }',
        '{"b":1.0,"a":123456789012345678901234567890}',
    ),
    (JsonObject(), {"b": 1, "a": {"c": "ü"}}, '{"b":1,"a":{"c":"ü"}}'),
    (JsonObject(), "", ""),
    (Clearable(Record({"n": Integer(1, 2)}, ("n",))), {}, {}),
    (Clearable(Record({"n": Integer(1, 2)}, ("n",))), {"N": 1}, {"n": 1}),
    (Text(0, 3), "abc", "abc"),
    (Text(0, 3), "äöü", "äöü"),
    (Integer(1, 60), 60, 60),
    (Integer(1, 60), "60", 60),
    (Integer(1, 60), 60.0, 60),
    (Integer(-1, 60), "-1", -1),
    (Number(0.05, 16, 20), "0.35", 0.35),
    (Number(0.05, 16, 20), 0.35, 0.35),
    (Number(0.05, 16, 20), 0.1 + 0.2, 0.3),
    (Number(0.05, 16, 20), 16, 16.0),
    (Flag(), True, True),
    (Flag(), "False", False),
    (Choice((512, 10240)), "512", 512),
    (Choice(("a", "b")), "b", "b"),
    (Items(Integer(0, 9), 2), ["1", 2], [1, 2]),
    (TextMap(), {"Key": "v", "none": None}, {"Key": "v"}),
    (Record({"vpcId": Text()}), {"VPCID": "v", "other": 1}, {"vpcId": "v"}),
    (Record({"vpcId": Text()}), {"vpcId": None}, {}),
    (Record({"vpcId": Text()}), {"vpcId": "exact", "VpcId": "other"}, {"vpcId": "exact"}),
    (Record({"vpcId": Text()}), {"VpcId": "other", "vpcId": "exact"}, {"vpcId": "exact"}),
    (JsonText(Record({"n": Integer(1, 2)})), '{"n": 1}', '{"n": 1}'),
    (JsonText(Record({"n": Integer(1, 2)})), "", ""),
]

REFUSED = [
    (Text(0, 3), "abcd", "x: 'abcd' has 4 characters; allowed are 0 to 3"),
    (Text(1, 3), "", "x: '' has 0 characters; allowed are 1 to 3"),
    (Text(), 5, "x: 5 is not text"),
    (Text(), ["a"], 'x: ["a"] is not text'),
    (Integer(1, 60), 61, "x: 61 is not between 1 and 60"),
    (Integer(1, 60), 0, "x: 0 is not between 1 and 60"),
    (Integer(1, 60), 1.5, "x: 1.5 is not a whole number"),
    (Integer(1, 60), True, "x: true is not a whole number"),
    (Integer(1, 60), "1e1", "x: '1e1' is not a whole number"),
    (Integer(1, 60), "٣", "x: '٣' is not a whole number"),
    (Integer(1, 60), "9" * 5000, f"x: '{'9' * 59}… is not a whole number"),
    (Integer(0, 640, step=64), 65, "x: 65 is not a multiple of 64"),
    (Number(0.05, 16, 20), 0.33, "x: 0.33 is not a multiple of 0.05"),
    (Number(0.05, 16, 20), 0.0, "x: 0.0 is not between 0.05 and 16"),
    (Number(0.05, 16, 20), "nan", "x: 'nan' is not a number"),
    (Number(0.05, 16, 20), float("inf"), "x: null is not a number"),
    (Number(0.05, 16, 20), False, "x: false is not a number"),
    (Flag(), "yes", "x: 'yes' is not true or false"),
    (Flag(), 1, "x: 1 is not true or false"),
    (Choice((512, 10240)), 1024, "x: 1024 is not one of 512, 10240"),
    (Choice((1, 2)), True, "x: true is not one of 1, 2"),
    (Items(Text(), 2), ["a", "b", "c"], "x: 3 items; at most 2 are allowed"),
    (Items(Text(), 2), "ab", "x: 'ab' is not a list"),
    (Items(Text(0, 1)), ["a", "bc"], "x[1]: 'bc' has 2 characters; allowed are 0 to 1"),
    (TextMap(), {"k": 5}, "x.'k': 5 is not text"),
    (TextMap(), [], "x: [] is not an object"),
    (TextMap(most=1), {"a": "", "b": ""}, "x: 2 keys; at most 1 are allowed"),
    (Record({}), "text", "x: 'text' is not an object"),
    (Record({"a": Text()}, ("a",)), {}, "x.a: required, but not sent"),
    (Record({"a": Text()}, ("a",)), {"a": None}, "x.a: required, but not sent"),
    (Record({"a": Record({"b": Text()})}), {"a": {"b": 1}}, "x.a.b: 1 is not text"),
    (JsonText(Record({"n": Integer(1, 2)})), '{"n": 3}', "x.n: 3 is not between 1 and 2"),
    (JsonText(Record({})), "{", "x: '{' is not JSON: Input data was truncated"),
    (JsonObject(), "{", "x: '{' is not JSON: Input data was truncated"),
    (JsonObject(), "[1]", "x: [1] is not an object"),
    (JsonObject(), [1], "x: [1] is not text"),
    (JsonObject(8), {"a": "long"}, 'x: \'{"a":"long"}\' has 12 characters; allowed are 0 to 8'),
    (Clearable(Record({"n": Text()}, ("n",))), {"m": ""}, "x.n: required, but not sent"),
]


@pytest.mark.parametrize(("shape", "value", "read"), ACCEPTED)
def test_a_value_within_its_limits_is_read(shape, value, read):
    result = shape.read(value, "x")
    assert (result, type(result)) == (read, type(read))


@pytest.mark.parametrize(("shape", "value", "message"), REFUSED)
def test_a_refusal_names_the_field_the_value_and_the_limit(shape, value, message):
    with pytest.raises(InvalidArgument) as refusal:
        shape.read(value, "x")
    assert refusal.value.message == message


SECRET = "a-secret"


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        (Text(0, 3, secret=True), SECRET, "x: the value has 8 characters; allowed are 0 to 3"),
        (Text(0, 9, re.compile("x"), "is no x", secret=True), SECRET, "x: the value is no x"),
        (Text(secret=True), [SECRET], "x: the value is not text"),
        (Items(Text(), secret=True), SECRET, "x: the value is not a list"),
        (TextMap(secret=True), SECRET, "x: the value is not an object"),
        (TextMap(secret=True), {"k": [SECRET]}, "x.'k': the value is not text"),
        (TextMap(secret=True), {"k": SECRET * 9999}, "x.'k': the value has 79992 characters; "
         "allowed are 0 to 16384"),
        (Record({}, secret=True), SECRET, "x: the value is not an object"),
        (JsonObject(secret=True), SECRET, "x: the value is not JSON: JSON is malformed: "
         "invalid character (byte 0)"),
        (JsonObject(secret=True), f'["{SECRET}"]', "x: the value is not an object"),
        (JsonObject(secret=True), [SECRET], "x: the value is not text"),
        (JsonObject(3, secret=True), SECRET, "x: the value has 8 characters; allowed are 0 to 3"),
    ],
)  # fmt: skip
def test_a_refusal_does_not_show_what_is_secret(shape, value, message):
    with pytest.raises(InvalidArgument) as refusal:
        shape.read(value, "x")
    assert refusal.value.message == message


def test_a_long_value_is_cut_in_a_refusal():
    with pytest.raises(InvalidArgument) as refusal:
        Text(0, 10).read("a" * 10_000, "x")
    assert len(refusal.value.message) < 150
