from hypothesis import given
from hypothesis import strategies as st

from anyfc.scheduler.limits import Limits


def test_the_smaller_limit_decides_how_much_room_a_function_has():
    limits = Limits(in_all=5, per_function=3)
    assert limits.room("f") == 3
    for _ in range(3):
        limits.take("f")
    assert (limits.room("f"), limits.room("g")) == (0, 2)


def test_what_is_given_back_can_be_taken_again_by_anybody():
    limits = Limits(in_all=1, per_function=1)
    limits.take("f")
    assert limits.room("g") == 0
    limits.give_back("f")
    assert (limits.room("f"), limits.room("g")) == (1, 1)


def test_others_are_in_the_way_only_when_they_alone_are():
    limits = Limits(in_all=2, per_function=1)
    limits.take("f")
    assert not limits.room_is_with_others("g")  # there is room
    limits.take("g")
    assert limits.room_is_with_others("h")
    assert not limits.room_is_with_others("g")  # its own limit is in the way as well


@given(st.lists(st.tuples(st.sampled_from("fgh"), st.booleans())))
def test_the_counts_are_those_of_a_list(steps):
    limits = Limits(in_all=6, per_function=4)
    there = []
    for name, take in steps:
        if take:
            limits.take(name)
            there.append(name)
        elif name in there:
            limits.give_back(name)
            there.remove(name)
        for each in "fgh":
            assert limits.room(each) == min(6 - len(there), 4 - there.count(each))


def test_a_port_of_the_host_has_room_for_one():
    limits = Limits(in_all=5, per_function=5)
    assert limits.room("f", 9000) == 1
    limits.take("f", 9000)
    assert [limits.room("f", 9000), limits.room("g", 9000), limits.room("g", 8080)] == [0, 0, 1]
    assert limits.room("g") == 4
    limits.give_back("f", 9000)
    assert limits.room("g", 9000) == 1
