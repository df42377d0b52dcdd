"""Where an HTTP call arrives, and which function is behind it."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routed import make_domain, make_routes, make_trigger

from anyfc.errors import AccessDenied, FunctionComputeError, TriggerNotFound
from anyfc.gateway.door import (
    KNOWN_HOSTS,
    Door,
    Doors,
    check_knock,
    check_method,
    host_name,
    is_inside,
)
from anyfc.model.access import Anonymous, Cors, Signed
from anyfc.model.domain import Rewrite, Route, Rule

HOST = b"f-abcdefghij.cn-hangzhou.fcapp.localhost"
INTERNAL = b"f-abcdefghij.cn-hangzhou-vpc.fcapp.localhost"
CORS = Cors(origins=("https://a.example",))
INVOCATION = b"/2023-03-30/functions/f/invocations"


def find(
    host: bytes, target: bytes = b"/", *things: Any, header: bytes | None = None
) -> Door | None:
    return Doors(make_routes(*things), region="cn-hangzhou").find(host, target, header)


def found(*arguments: Any, **settings: Any) -> Door:
    door = find(*arguments, **settings)
    assert door is not None
    return door


def refusal_of(door: Door, peer: str = "10.0.0.1") -> str:
    """Why a peer may not knock at a door; empty if it may."""
    try:
        check_knock(door, peer)
    except FunctionComputeError as problem:
        return f"{problem.code}: {problem}"
    return ""


def parts_of(door: Door) -> dict[str, Any]:
    return {name: getattr(door, name) for name in Door.__slots__}


# --- hosts of triggers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        HOST + b":9000",
        HOST + b".",
        HOST + b".:80",
        HOST.upper(),
        b"F-Abcdefghij.CN-hangzhou.FCapp.localhost:9000",
    ],
)
def test_the_host_of_a_trigger_leads_to_its_function(host):
    trigger = make_trigger("f", access=Signed(), cors=CORS, methods=("GET", "PUT"))
    expected = Door(
        function="f",
        qualifier="LATEST",
        target=None,
        base_path=b"",
        access=Signed(),
        cors=CORS,
        methods=("GET", "PUT"),
        attachment=True,
    )
    assert parts_of(found(host, b"/a%20b?c=%2F", trigger)) == parts_of(expected)


@pytest.mark.parametrize("host", [INTERNAL, INTERNAL + b":9000"])
def test_the_internal_host_of_a_trigger_leads_there_too_and_is_no_default_domain(host):
    door = found(host, b"/", make_trigger("f"))
    assert (door.function, door.attachment) == ("f", False)
    assert refusal_of(door, "8.8.8.8") == ""


def test_each_trigger_leads_to_its_own_qualifier():
    triggers = [make_trigger("f"), make_trigger("f", qualifier="prod", label="f-klmnopqrst")]
    assert found(HOST, b"/", *triggers).qualifier == "LATEST"
    host = HOST.replace(b"abcdefghij", b"klmnopqrst")
    assert found(host, b"/", *triggers).qualifier == "prod"


@pytest.mark.parametrize(
    "host",
    [
        b"g-abcdefghij.cn-hangzhou.fcapp.localhost",
        b"f-abcdefghij.cn-beijing.fcapp.localhost",
        b"f-abcdefghij.fcapp.localhost",
        b"a.f-abcdefghij.cn-hangzhou.fcapp.localhost",
        b".cn-hangzhou.fcapp.localhost",
        b"cn-hangzhou.fcapp.localhost",
        b"\xff.cn-hangzhou.fcapp.localhost",
    ],
)
def test_a_host_that_could_be_a_triggers_and_is_not_leads_nowhere(host):
    with pytest.raises(TriggerNotFound) as caught:
        find(host, INVOCATION, make_trigger("f"))
    assert str(caught.value) == f"no HTTP trigger has the address '{host.decode('latin-1')}'"


@pytest.mark.parametrize("host", [HOST, HOST + b":9000"])
@pytest.mark.parametrize("target", [INVOCATION, b"/2023-03-30/functions", b"/anyfc/code/x", b"*"])
def test_what_looks_like_the_api_on_the_host_of_a_trigger_is_for_the_function(host, target):
    assert found(host, target, make_trigger("f")).target is None


IS_CLOSED = "AccessDenied: access denied due to function internet URL is disable"


def test_a_closed_trigger_lets_calls_from_inside_through_and_no_others():
    trigger = make_trigger("f", closed=True, cors=CORS)
    door = found(INTERNAL, b"/", trigger)
    assert door.function == "f"
    assert refusal_of(door, "10.0.0.1") == ""
    for peer in ("8.8.8.8", "2001:4860:4860::8888", ""):
        assert refusal_of(door, peer) == IS_CLOSED
    for arguments in ((HOST, b"/"), (b"h", b"/proxy/f/"), (b"h", b"/proxy/f:LATEST/")):
        door = found(*arguments, trigger)
        assert refusal_of(door, "127.0.0.1") == IS_CLOSED
        assert door.cors == CORS


@pytest.mark.parametrize(
    ("peer", "inside"),
    [
        ("127.0.0.1", True),
        ("10.231.0.2", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("::1", True),
        ("fd00::1", True),
        ("fe80::1%eth0", True),
        ("::ffff:10.0.0.1", True),
        ("8.8.8.8", False),
        ("172.32.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("2001:4860:4860::8888", False),
        ("", False),
        ("unix", False),
    ],
)
def test_addresses_of_private_networks_and_of_this_machine_are_inside(peer, inside):
    assert is_inside(peer) is inside


def test_a_refusal_is_new_for_each_request():
    """One that is raised again and again would drag all its stack traces along."""
    doors = Doors(make_routes(make_trigger("f", closed=True)), region="cn-hangzhou")
    first, second = (doors.find(HOST, b"/", None) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.problem is not second.problem


# --- custom domains ------------------------------------------------------------------------------


def test_a_custom_domain_leads_to_the_function_of_its_route():
    route = Route(path="/shop/*", function="f", qualifier="prod", methods=("GET",))
    domain = make_domain("Shop.example.com", route, access=Signed(), cors=CORS)
    expected = Door(
        function="f",
        qualifier="prod",
        target=b"/shop/a?b",
        base_path=b"",
        access=Signed(),
        cors=CORS,
        methods=("GET",),
        attachment=False,
    )
    assert parts_of(found(b"shop.Example.com:80", b"/shop/a?b", domain)) == parts_of(expected)


@pytest.mark.parametrize(("protocol", "only"), [("HTTP", 0), ("HTTPS", 1), ("HTTP,HTTPS", 0)])
def test_a_domain_may_want_https(protocol, only):
    domain = make_domain("h", Route(path="/*", function="f"), protocol=protocol)
    assert found(b"h", b"/", domain).https_only is bool(only)


def test_an_exact_domain_wins_and_a_star_is_one_label():
    domains = [
        make_domain(name, Route(path="/*", function=name.strip("*.")))
        for name in ("fc.aliyun.com", "*.aliyun.com", "*.fc.aliyun.com")
    ]
    expected = {
        b"fc.aliyun.com": "fc.aliyun.com",
        b"fnf.aliyun.com": "aliyun.com",
        b"cn-hangzhou.fc.aliyun.com": "fc.aliyun.com",
    }
    assert {host: found(host, b"/", *domains).function for host in expected} == expected
    assert find(b"a.cn-hangzhou.fc.aliyun.com", b"/", *domains) is None
    assert find(b"aliyun.com", b"/", *domains) is None


def test_the_query_does_not_choose_the_route():
    routes = [Route(path="/a", function="f"), Route(path="/*", function="g")]
    assert found(b"h", b"/a?/b", make_domain("h", *routes)).function == "f"
    assert found(b"h", b"/a/?", make_domain("h", *routes)).function == "g"


def test_a_path_without_a_route_is_said_so_with_the_domain_and_in_its_way():
    domain = make_domain("h.example", Route(path="/a", function="f"), cors=CORS)
    door = found(b"h.example:80", b"/a/?x=1", domain)
    why = "DomainRouteNotFound: no route found in domain 'h.example' for path '/a/'"
    assert refusal_of(door) == why
    assert door.cors == CORS


def test_a_rewritten_path_is_what_the_function_sees():
    rules = Rewrite(wildcard=(Rule("/api/*", "/$1"),))
    domain = make_domain("h", Route(path="/api/*", function="f", rewrite=rules))
    assert found(b"h", b"/api/name?a=b", domain).target == b"/name?a=b"


def test_bytes_that_are_no_text_pass_through_a_rewrite():
    rules = Rewrite(wildcard=(Rule("/api/*", "/$1"),))
    domain = make_domain("h", Route(path="/*", function="f", rewrite=rules))
    assert found(b"h", b"/api/\xff\xe4?\xfc", domain).target == b"/\xff\xe4?\xfc"


def test_a_path_that_is_no_ascii_is_met_as_clients_send_it():
    rules = Rewrite(wildcard=(Rule("/中/*", "/a b/$1"),))
    domain = make_domain("h", Route(path="/中/*", function="f", rewrite=rules))
    door = found(b"h", b"/%E4%B8%AD/%C3%A9?x", domain)
    assert (refusal_of(door), door.function, door.target) == ("", "f", b"/a%20b/%C3%A9?x")


def test_what_a_rule_puts_in_does_not_end_the_line_of_the_request():
    rules = Rewrite(equal=(Rule("/a", "/b HTTP/1.1\r\nX-Evil: 1\r\n"),))
    domain = make_domain("h", Route(path="/*", function="f", rewrite=rules))
    assert found(b"h", b"/a", domain).target == b"/b%20HTTP/1.1%0D%0AX-Evil:%201%0D%0A"


@pytest.mark.parametrize("target", [INVOCATION, b"/proxy/g/", b"/2016-08-15/proxy/s/g/"])
def test_all_paths_of_a_custom_domain_are_its_routes(target):
    domain = make_domain("h", Route(path="/*", function="f"))
    door = found(b"h", target, domain, make_trigger("g"), make_trigger("s$g"), header=b"x")
    assert (door.function, door.target) == ("f", target)


# --- paths that lead to triggers -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "base_path", "target"),
    [
        (b"/proxy/f/a/b?c=d", b"/proxy/f", b"/a/b?c=d"),
        (b"/proxy/f/", b"/proxy/f", b"/"),
        (b"/proxy/f", b"/proxy/f", b"/"),
        (b"/proxy/f?a=/b", b"/proxy/f", b"/?a=/b"),
        (b"/proxy/f//a", b"/proxy/f", b"//a"),
        (b"/proxy/f:LATEST/a", b"/proxy/f:LATEST", b"/a"),
        (b"/proxy/%66%3ALATEST/a", b"/proxy/%66%3ALATEST", b"/a"),
        (b"/proxy/f:/a", b"/proxy/f:", b"/a"),
    ],
)
def test_a_function_can_be_reached_by_its_name(path, base_path, target):
    door = found(b"127.0.0.1:9000", path, make_trigger("f"))
    assert (door.function, door.base_path, door.target) == ("f", base_path, target)
    assert not door.attachment


def test_a_name_may_come_with_a_qualifier():
    triggers = [make_trigger("f"), make_trigger("f", qualifier="prod", label="f-klmnopqrst")]
    assert found(b"h", b"/proxy/f:prod/", *triggers).qualifier == "prod"
    with pytest.raises(TriggerNotFound):
        find(b"h", b"/proxy/f:1/", *triggers)


@pytest.mark.parametrize("path", [b"/proxy/g/", b"/proxy/", b"/proxy/%ff/", b"/proxy/f%2F/"])
def test_a_name_without_a_trigger_is_said_so(path):
    with pytest.raises(TriggerNotFound):
        find(b"h", path, make_trigger("f"))


@pytest.mark.parametrize("version", [b"2016-08-15", b"2021-04-06"])
@pytest.mark.parametrize("rest", [b"/a/b?x=1", b"/", b"", b"?x=1"])
def test_a_function_of_a_service_is_shown_the_whole_path(version, rest):
    path = b"/%b/proxy/svc/fn" % version
    door = found(b"h", path + rest, make_trigger("svc$fn"))
    assert (door.function, door.qualifier) == ("svc$fn", "LATEST")
    assert (door.base_path, door.target) == (path, path + rest)
    assert door.attachment


def test_a_service_may_come_with_a_qualifier():
    trigger = make_trigger("svc$fn", qualifier="prod")
    door = found(b"h", b"/2016-08-15/proxy/svc.prod/fn/a", trigger)
    assert (door.qualifier, door.base_path) == ("prod", b"/2016-08-15/proxy/svc.prod/fn")
    with pytest.raises(TriggerNotFound):
        find(b"h", b"/2016-08-15/proxy/svc/fn/a", trigger)


@pytest.mark.parametrize(
    "header",
    [b"2016-08-15/proxy/svc/fn", b"/2016-08-15/proxy/svc/fn/", b" 2021-04-06/proxy/svc/fn "],
)
def test_a_header_may_lead_to_a_function_which_sees_the_bare_path(header):
    door = found(b"h", b"/a/b?x=1", make_trigger("svc$fn"), header=header)
    assert (door.function, door.base_path, door.target) == ("svc$fn", b"", b"/a/b?x=1")
    assert door.attachment


@pytest.mark.parametrize("header", [None, b"", b"svc/fn", b"2023-03-30/functions/fn"])
@pytest.mark.parametrize(
    "path", [b"/", INVOCATION, b"/proxy", b"/Proxy/f", b"/2016-08-15/services/proxy/s", b"//proxy/"]
)
def test_all_else_is_the_apis(header, path):
    things = [make_trigger("f"), make_trigger("svc$fn"), make_domain("d.example.com")]
    for host in (b"127.0.0.1:9000", b"localhost", b"", b"[::1]:9000", b"fcapp.localhost"):
        assert find(host, path, *things, header=header) is None


@given(host=st.binary(max_size=60), target=st.binary(max_size=60), header=st.binary(max_size=60))
def test_any_host_and_any_target_lead_somewhere_or_nowhere(host, target, header):
    domain = make_domain("*.example.com", Route(path="/*", function="f"))
    for prefix, ending in ((b"/", b""), (b"/proxy/", b".example.com"), (b"", HOST[12:])):
        with suppress(TriggerNotFound):
            find(host + ending, prefix + target, domain, make_trigger("f"), header=header)


# --- what passes a door --------------------------------------------------------------------------


def door_for(*methods: str) -> Door:
    return Door(
        function="f",
        qualifier="LATEST",
        target=b"/",
        access=Anonymous(),
        cors=None,
        methods=methods,
        attachment=False,
    )


def test_methods_that_are_not_listed_are_refused_unless_none_are():
    check_method(door_for("GET", "POST"), "POST")
    check_method(door_for(), "BREW")
    with pytest.raises(AccessDenied, match="method POST is not allowed here; allowed are GET, PUT"):
        check_method(door_for("GET", "PUT"), "POST")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"H.Example", "h.example"),
        (b"h:80", "h"),
        (b"h.", "h"),
        (b"[::1]:9000", "[::1]"),
        (b"[::1]", "[::1]"),
        (b"", ""),
        (b":80", ""),
    ],
)
def test_the_name_of_a_host_is_without_its_port(host, name):
    assert host_name(host) == name


# --- what is known of a host --------------------------------------------------------------------


def test_a_trigger_that_changes_or_goes_is_another_door_at_once():
    routes = make_routes(make_trigger("f"))
    doors = Doors(routes, region="cn-hangzhou")
    for methods in (("GET",), ("PUT",)):
        routes.put_trigger(make_trigger("f", methods=methods))
        for target in (b"/a", b"/b"):
            door = doors.find(HOST, target, None)
            assert door is not None
            assert (door.methods, door.target) == (methods, None)
    routes.put_trigger(make_trigger("f", closed=True))
    door = doors.find(HOST, b"/", None)
    assert door is not None
    assert refusal_of(door) == IS_CLOSED
    assert doors.find(INTERNAL, b"/", None) is not None
    routes.remove_trigger(routes.get_trigger("f", "http-LATEST"))
    for host in (HOST, INTERNAL):
        with pytest.raises(TriggerNotFound):
            doors.find(host, b"/", None)


def test_a_host_that_led_to_the_api_leads_to_a_domain_as_soon_as_there_is_one():
    routes = make_routes()
    doors = Doors(routes, region="cn-hangzhou")
    assert doors.find(b"www.example.com", INVOCATION, None) is None
    domain = make_domain("www.example.com", Route(path="/*", function="f"))
    routes.put_domain(domain)
    assert doors.find(b"www.example.com", INVOCATION, None) is not None
    routes.remove_domain(domain)
    assert doors.find(b"www.example.com", INVOCATION, None) is None


def test_a_domain_whose_routes_change_leads_elsewhere_at_once():
    routes = make_routes()
    doors = Doors(routes, region="cn-hangzhou")
    for function in ("f", "g"):
        routes.put_domain(make_domain("*.example.com", Route(path="/*", function=function)))
        for host in (b"a.example.com", b"b.example.com"):
            door = doors.find(host, b"/", None)
            assert door is not None
            assert door.function == function


def test_clients_that_send_ever_new_hosts_do_not_fill_the_memory():
    doors = Doors(make_routes(), region="cn-hangzhou")
    for number in range(3 * KNOWN_HOSTS):
        assert doors.find(b"%d.example.com" % number, INVOCATION, None) is None
        assert len(doors._known) <= KNOWN_HOSTS
