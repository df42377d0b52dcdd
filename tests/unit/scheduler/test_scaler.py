from dataclasses import dataclass

import pytest

from anyfc.scheduler.scaler import stale, starts


@dataclass(frozen=True)
class Seen:
    idle_since: float
    born_at: float = 0.0


@pytest.mark.parametrize(
    ("waiting", "starting", "room", "wanted"),
    [
        (0, 0, 5, 0),
        (1, 0, 5, 1),
        (3, 0, 5, 3),
        (3, 1, 5, 2),
        (3, 3, 5, 0),
        (1, 3, 5, 0),
        (9, 0, 5, 5),
        (9, 2, 5, 5),
        (9, 0, 0, 0),
        (9, 0, -1, 0),
    ],
)
def test_one_is_started_for_each_who_waits_as_far_as_there_is_room(waiting, starting, room, wanted):
    assert starts(waiting=waiting, starting=starting, room=room) == wanted


def test_an_instance_is_stale_when_it_was_idle_for_longer_than_it_may():
    idle = [Seen(10.0), Seen(69.9), Seen(70.0), Seen(100.0)]
    assert stale(idle, 100.0, idle_s=30.0, age_s=1000.0) == idle[:2]


def test_an_instance_is_stale_when_it_is_old_however_busy_it_was():
    idle = [Seen(100.0, born_at=10.0), Seen(100.0, born_at=90.0)]
    assert stale(idle, 100.0, idle_s=30.0, age_s=50.0) == idle[:1]


@pytest.mark.parametrize(
    ("waiting", "starting", "wanted"), [(1, 0, 1), (10, 0, 1), (11, 0, 2), (11, 1, 1), (20, 2, 0)]
)
def test_instances_that_can_be_shared_are_started_for_as_many_as_each_can_serve(
    waiting, starting, wanted
):
    assert starts(waiting=waiting, starting=starting, room=99, capacity=10) == wanted
