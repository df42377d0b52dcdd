from dataclasses import replace
from datetime import UTC, datetime

import pytest

from anyfc.errors import DomainNameNotFound, TriggerNotFound
from anyfc.model.access import Anonymous
from anyfc.model.domain import CustomDomain
from anyfc.model.trigger import HttpSettings, Trigger
from anyfc.store.routes import Routes

NOW = datetime(2025, 3, 1, tzinfo=UTC)


def trigger(name, *, function="f", **changes):
    plain = Trigger(
        id=f"id-{name}",
        function=function,
        name=name,
        type="http",
        qualifier="LATEST",
        config="{}",
        created_at=NOW,
        modified_at=NOW,
        label=f"{function}-{name}",
        http=HttpSettings(methods=("GET",), access=Anonymous()),
    )
    return replace(plain, **changes)


def timer(name, **changes):
    return trigger(name, type="timer", label="", http=None, **changes)


def domain(name):
    return CustomDomain(name=name, protocol="HTTP", created_at=NOW, modified_at=NOW)


def routes(*things):
    made = Routes()
    for thing in things:
        if isinstance(thing, Trigger):
            made.put_trigger(thing)
        else:
            made.put_domain(thing)
    return made


def test_an_http_trigger_is_found_by_name_by_qualifier_and_by_label():
    made = routes(trigger("web"), timer("tick"), trigger("web", function="g"))
    web = made.get_trigger("f", "web")
    assert web == trigger("web")
    assert made.find_http_trigger("f", "LATEST") is web
    assert made.find_trigger_by_host_label("f-web") is web
    assert made.find_http_trigger("f", "prod") is None
    assert made.find_trigger_by_host_label("") is None
    with pytest.raises(TriggerNotFound, match="'no' does not exist in function 'f'"):
        made.get_trigger("f", "no")
    with pytest.raises(TriggerNotFound):
        made.get_trigger("h", "web")


def test_a_changed_trigger_is_found_as_it_is_now_and_nowhere_else():
    made = routes(trigger("web"), trigger("web", qualifier="prod", description="new"))
    assert made.find_http_trigger("f", "LATEST") is None
    assert made.find_http_trigger("f", "prod").description == "new"
    assert made.find_trigger_by_host_label("f-web").description == "new"


def test_a_removed_trigger_is_gone_everywhere():
    made = routes(trigger("web"), timer("tick"))
    made.remove_trigger(trigger("web"))
    assert made.find_http_trigger("f", "LATEST") is None
    assert made.find_trigger_by_host_label("f-web") is None
    assert [t.name for t in made.page_triggers("f", "", "", 9)[0]] == ["tick"]
    made.remove_trigger(timer("tick"))
    assert made.page_triggers("f", "", "", 9) == ([], None)


def test_triggers_of_a_function_are_listed_by_name():
    made = routes(*map(timer, ("c", "a", "ab", "b")), timer("aa", function="g"))
    assert [t.name for t in made.page_triggers("f", "", "", 9)[0]] == ["a", "ab", "b", "c"]
    found, following = made.page_triggers("f", "a", "", 1)
    assert ([t.name for t in found], following) == (["a"], "ab")
    assert [t.name for t in made.page_triggers("f", "a", "ab", 1)[0]] == ["ab"]


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("fc.aliyun.com", "fc.aliyun.com"),
        ("fnf.aliyun.com", "*.aliyun.com"),
        ("cn-hangzhou.fc.aliyun.com", "*.fc.aliyun.com"),
        ("a.cn-hangzhou.fc.aliyun.com", None),
        ("aliyun.com", None),
        ("com", None),
        ("", None),
        ("*.aliyun.com", "*.aliyun.com"),
    ],
)
def test_an_exact_domain_wins_and_a_star_stands_for_one_label(host, found):
    made = routes(*map(domain, ("fc.aliyun.com", "*.aliyun.com", "*.fc.aliyun.com")))
    hit = made.find_domain(host)
    assert (hit and hit.name) == found


def test_capitals_in_the_name_of_a_domain_make_no_difference():
    made = routes(domain("Www.Example.com"))
    assert made.find_domain("www.example.com").name == "Www.Example.com"
    assert made.get_domain("WWW.example.com").name == "Www.Example.com"
    assert made.page_domains("WWW", "", 9)[0] == [domain("Www.Example.com")]


def test_a_changed_domain_is_there_once_and_a_removed_one_is_gone():
    made = routes(domain("b"), domain("a"), domain("b"))
    assert [d.name for d in made.page_domains("", "", 9)[0]] == ["a", "b"]
    assert made.page_domains("", "", 1)[1] == "b"
    made.remove_domain(domain("a"))
    assert made.find_domain("a") is None
    assert [d.name for d in made.page_domains("", "", 9)[0]] == ["b"]
    with pytest.raises(DomainNameNotFound, match="domain name 'A' does not exist"):
        made.get_domain("A")
