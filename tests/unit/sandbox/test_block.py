from ipaddress import IPv4Network

import pytest

from anyfc.sandbox.block import Block, divide, unrouted

WHOLE = IPv4Network("10.231.0.0/16")


def first_unrouted(*routed, whole=WHOLE):
    return str(next(unrouted(whole, map(IPv4Network, routed))).network)


def test_a_range_is_divided_into_blocks_that_do_not_overlap():
    blocks = list(divide(WHOLE))
    assert len(blocks) == 64
    assert str(blocks[0].network) == "10.231.0.0/22"
    assert str(blocks[-1].network) == "10.231.252.0/22"
    assert sum(block.network.num_addresses for block in blocks) == WHOLE.num_addresses


def test_a_small_range_is_one_block():
    (block,) = divide(IPv4Network("10.9.8.0/28"))
    assert block.network == block.whole


def test_the_host_and_the_instances_share_no_address():
    block = Block(IPv4Network("10.9.8.0/29"), WHOLE)
    assert block.gateway == "10.9.8.1"
    assert [str(address) for address in block.addresses()] == [
        "10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6",
    ]  # fmt: skip


def test_the_links_of_different_blocks_are_marked_differently():
    assert len({block.group for block in divide(WHOLE)}) == 64


@pytest.mark.parametrize(
    ("routed", "taken"),
    [
        ([], "10.231.0.0/22"),
        (["192.168.1.0/24"], "10.231.0.0/22"),
        (["10.231.0.7/32"], "10.231.4.0/22"),
        (["10.231.0.0/21"], "10.231.8.0/22"),
        (["10.231.0.0/22", "10.231.5.0/24"], "10.231.8.0/22"),
    ],
)
def test_what_the_host_has_a_route_to_is_passed_over(routed, taken):
    assert first_unrouted(*routed) == taken


def test_a_route_to_more_than_the_range_bars_nothing():
    assert first_unrouted("10.0.0.0/8") == "10.231.0.0/22"


def test_a_range_that_is_used_as_a_whole_has_no_block():
    assert not list(unrouted(WHOLE, [WHOLE]))
