"""What the jail writes for a box with a network of its own. Its walls are tested with real ones."""

import importlib.util
from pathlib import Path

import pytest

import anyfc.bootstrap

SPEC = importlib.util.spec_from_file_location(
    "jail", Path(anyfc.bootstrap.__file__).parent / "jail.py"
)
jail = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(jail)

STUB = "nameserver 127.0.0.53\noptions edns0 trust-ad\n"
BEHIND = "nameserver 192.0.2.53\n"


def test_a_box_knows_itself_and_the_host_by_name():
    assert jail.hosts_text("", "c-1", "10.231.0.2", "10.231.0.1").splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost",
        "10.231.0.2\tc-1",
        "10.231.0.1\thost.anyfc.internal",
    ]


def test_names_of_the_host_are_kept_but_for_those_on_its_loopback():
    text = (
        "127.0.0.1 localhost\n\n127.0.1.1 laptop\n::1 ip6-localhost\n192.0.2.7 database  # ours\n"
    )
    assert jail.hosts_text(text, "c-1", "10.231.0.2", "10.231.0.1").splitlines()[4:] == [
        "192.0.2.7 database  # ours"
    ]


@pytest.mark.parametrize(
    ("text", "behind", "expected"),
    [
        ("nameserver 192.0.2.1\n", BEHIND, "nameserver 192.0.2.1\n"),
        (STUB, BEHIND, BEHIND),
        ("nameserver ::1\n", BEHIND, BEHIND),
        ("", BEHIND, BEHIND),
        (STUB, "", STUB),
        (STUB + "nameserver 192.0.2.1\n", BEHIND, STUB + "nameserver 192.0.2.1\n"),
    ],
)
def test_a_name_server_on_the_hosts_loopback_is_replaced_by_those_behind_it(text, behind, expected):
    assert jail.resolver_text(text, behind) == expected
