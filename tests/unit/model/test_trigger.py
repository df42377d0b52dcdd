from dataclasses import replace
from datetime import UTC, datetime

import pytest

from anyfc.errors import LimitExceededError, TriggerAlreadyExists
from anyfc.model.access import Signed
from anyfc.model.trigger import HttpSettings, Trigger, check_room

NOW = datetime(2025, 3, 1, tzinfo=UTC)
TIMER = Trigger(
    id="i",
    function="f",
    name="tick",
    type="timer",
    qualifier="LATEST",
    config="{}",
    created_at=NOW,
    modified_at=NOW,
)
WEB = replace(TIMER, name="web", type="http", http=HttpSettings(methods=(), access=Signed()))


def test_a_qualifier_has_one_http_trigger():
    second = replace(WEB, name="web2")
    check_room(second, [TIMER])
    check_room(second, [replace(WEB, qualifier="prod")])
    check_room(TIMER, [WEB])
    with pytest.raises(TriggerAlreadyExists, match="for qualifier 'LATEST': 'web'"):
        check_room(second, [TIMER, WEB])


def test_a_name_is_taken_once():
    with pytest.raises(TriggerAlreadyExists, match="trigger 'tick' of function 'f' already"):
        check_room(TIMER, [TIMER])


def test_a_function_has_at_most_fifty_triggers():
    others = [replace(TIMER, name=f"t{n}") for n in range(50)]
    check_room(TIMER, others[:49])
    with pytest.raises(LimitExceededError, match="has 50 triggers"):
        check_room(TIMER, others)
