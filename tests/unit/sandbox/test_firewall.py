from ipaddress import IPv4Network

from anyfc.sandbox.block import Block
from anyfc.sandbox.firewall import barriers, find_swept, rules, table_of

WHOLE = IPv4Network("10.231.0.0/16")
BLOCK = Block(IPv4Network("10.231.4.0/22"), WHOLE)


def chain(hook, policy, family="ip"):
    return {
        "chain": {
            "family": family, "table": "filter", "name": hook.upper(), "hook": hook,
            "type": "filter", "policy": policy,
        }
    }  # fmt: skip


def test_the_script_replaces_the_table_of_its_block():
    assert (
        rules(BLOCK)
        == """\
table ip anyfc_10.231.4.0/22
delete table ip anyfc_10.231.4.0/22
table ip anyfc_10.231.4.0/22 {
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "anyfc*" ip daddr 10.231.0.0/16 drop
        iifname "anyfc*" ip daddr { 169.254.0.0/16, 100.100.100.200 } drop
        ip daddr 10.231.4.0/22 ct state != { established, related } drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.231.4.0/22 oifname != "anyfc*" masquerade
    }
}
"""
    )


def test_tables_of_the_range_are_found_among_others():
    listed = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "ip", "name": "nat"}},
        {"table": {"family": "ip", "name": "anyfc_10.9.4.0/22"}},
        {"table": {"family": "ip", "name": table_of(BLOCK)}},
    ]
    assert find_swept(listed, WHOLE) == [BLOCK]


def test_a_chain_that_drops_what_is_forwarded_is_named():
    (problem,) = barriers([chain("forward", "drop"), chain("output", "drop")])
    assert problem == (
        "instances may have no way out: chain FORWARD of the firewall's table filter drops what "
        "it is not told to accept"
    )


def test_a_chain_that_drops_what_is_for_the_host_is_named():
    (problem,) = barriers([chain("input", "drop", family="inet")])
    assert problem.startswith("instances may not reach the host: chain INPUT")


def test_chains_that_accept_and_those_of_other_protocols_are_no_barrier():
    regular = {"chain": {"family": "ip", "table": "t", "name": "mine"}}
    assert not barriers([chain("forward", "accept"), chain("forward", "drop", "ip6"), regular])
