"""Custom domains through the control API, on a real store."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from alibabacloud_fc20230330 import models
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from anyfc.model.access import Anonymous, Basic, Cors, Signed, User
from anyfc.model.domain import Rewrite, Route, Rule, Tls

DOMAINS = "/2023-03-30/custom-domains"
ROUTES = {
    "routes": [
        {
            "path": "/api/*",
            "functionName": "f",
            "qualifier": "prod",
            "methods": ["GET", "POST"],
            "rewriteConfig": {
                "equalRules": [],
                "wildcardRules": [{"match": "/api/*", "replacement": "/$1"}],
                "regexRules": [{"match": "^/(a|b)$", "replacement": "/$1?x=1"}],
            },
        },
        {"path": "/*", "functionName": "site", "qualifier": "LATEST", "methods": []},
    ]
}
USERS = '{"users":[{"username":"administrator","password":"Correct-Horse-1!"}]}'
TLS = {"minVersion": "TLSv1.2", "cipherSuites": ["TLS_AES_128_GCM_SHA256"]}


def make_pair(key=None):
    """A certificate for a minute, and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


CERTIFICATE, KEY = make_pair()
CERT = {"certName": "c", "certificate": CERTIFICATE, "privateKey": KEY}
WEAK = dict(
    zip(
        ("certificate", "privateKey"), make_pair(rsa.generate_private_key(65537, 1024)), strict=True
    )
)


def create(api, name="www.example.com", **fields):
    return api.send("POST", DOMAINS, {"domainName": name, **fields})


def update(api, name="www.example.com", **fields):
    return api.send("PUT", f"{DOMAINS}/{name}", fields)


def get(api, name="www.example.com"):
    return api.send("GET", f"{DOMAINS}/{name}").json()


def code_of(answer):
    return answer.status_code, answer.json()["Code"]


def test_a_domain_with_a_name_alone_is_created(api):
    answer = create(api)
    assert answer.status_code == 200
    assert answer.json() == {
        "domainName": "www.example.com",
        "accountId": "123456",
        "apiVersion": "2023-03-30",
        "protocol": "HTTP",
        "routeConfig": {"routes": []},
        "authConfig": {"authType": "anonymous"},
        "wafConfig": {"enableWAF": False},
        "subdomainCount": "0",
        "createdTime": "2024-01-02T03:04:05Z",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
    }
    assert get(api) == answer.json()


def test_everything_is_returned_as_it_was_sent_but_for_the_key(api):
    sent = {
        "protocol": "HTTP,HTTPS",
        "routeConfig": ROUTES,
        "certConfig": CERT,
        "tlsConfig": {**TLS, "maxVersion": "TLSv1.3"},
        "authConfig": {"authType": "basic", "authInfo": USERS},
        "wafConfig": {"enableWAF": True},
        "corsConfig": {"allowOrigins": ["*"]},
    }
    answer = create(api, **sent)
    shown = answer.json()
    assert KEY not in json.dumps(shown)
    assert {**sent, "certConfig": {"certName": "c", "certificate": CERTIFICATE}}.items() <= {
        **shown,
        "corsConfig": {"allowOrigins": shown["corsConfig"]["allowOrigins"]},
    }.items()
    loaded = models.CustomDomain().from_map(shown)
    assert loaded.to_map() == shown
    assert {name for name, value in vars(loaded).items() if value is None} == {"is_e2b"}
    domain = api.parts.routes.find_domain("www.example.com")
    assert domain.routes == (
        Route(
            path="/api/*",
            function="f",
            qualifier="prod",
            methods=("GET", "POST"),
            rewrite=Rewrite(
                wildcard=(Rule("/api/*", "/$1"),), regex=(Rule("^/(a|b)$", "/$1?x=1"),)
            ),
        ),
        Route(path="/*", function="site"),
    )
    assert domain.access == Basic((User(name="administrator", password="Correct-Horse-1!"),))
    assert domain.cors == Cors(origins=("*",))
    assert domain.tls == Tls(
        min_version="TLSv1.2", max_version="TLSv1.3", cipher_suites=("TLS_AES_128_GCM_SHA256",)
    )
    assert domain.certificate.private_key == KEY
    assert KEY not in repr(domain)


@pytest.mark.parametrize(
    "name",
    ["shop.localhost", "*.localhost", "*.example.com", "a_b.example.com", "WWW.Example", "1.a.com"],
)
def test_a_host_name_is_a_name(api, name):
    assert create(api, name).status_code == 200
    assert get(api, name.replace("*", "%2A"))["domainName"] == name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"domainName": None}, "domainName: required"),
        ({"domainName": "a:80"}, "domainName: 'a:80' is not a host name"),
        ({"domainName": "a.*.com"}, "domainName: 'a.*.com' is not a host name"),
        ({"domainName": "*"}, "domainName: '*' is not a host name"),
        ({"domainName": "a..b"}, "domainName: 'a..b' is not a host name"),
        ({"domainName": "a." * 150 + "a"}, "domainName: 'a.a."),
        ({"domainName": "[::1]"}, "domainName: '[::1]' is not a host name"),
        ({"domainName": "127.0.0.1"}, "domainName: '127.0.0.1' is an IP address"),
        ({"domainName": "*.0.0.1"}, "domainName: '*.0.0.1' is an IP address"),
        ({"domainName": "localhost"}, "domainName: 'localhost' has one label only"),
        ({"domainName": "fcapp.localhost"}, "domainName: 'fcapp.localhost': the names below"),
        (
            {"domainName": "f-abc.cn-hangzhou.FCapp.localhost"},
            "domainName: 'f-abc.cn-hangzhou.FCapp.localhost': the names below fcapp.localhost are",
        ),
        ({"domainName": "*.fcapp.localhost"}, "domainName: '*.fcapp.localhost': the names below"),
        ({"protocol": "FTP"}, "protocol: 'FTP' is not one of HTTP, HTTPS, HTTP,HTTPS"),
        ({"protocol": "HTTPS"}, "certConfig: required with protocol HTTPS"),
        ({"protocol": "HTTP,HTTPS"}, "certConfig: required with protocol HTTP,HTTPS"),
        ({"certConfig": {"certName": "c"}}, "certConfig.certificate: required"),
        ({"certConfig": {**CERT, "certName": "c" * 129}}, "certConfig.certName: "),
        (
            {"certConfig": {**CERT, "certificate": "text"}},
            "certConfig.certificate: is not a PEM certificate",
        ),
        (
            {"certConfig": {**CERT, "privateKey": "text"}},
            "certConfig.privateKey: is not a PEM private key",
        ),
        (
            {"certConfig": {**CERT, "privateKey": make_pair()[1]}},
            "certConfig: privateKey is not the key of the",
        ),
        (
            {"certConfig": {**CERT, "certificate": CERTIFICATE + KEY}},
            "certConfig.certificate: contains a private key",
        ),
        (
            {
                "certConfig": {
                    **CERT,
                    "certificate": f"-----BEGIN RSA PRIVATE KEY-----{CERTIFICATE}",
                }
            },
            "certConfig.certificate: contains a private key",
        ),
        ({"certConfig": {**CERT, **WEAK}}, "certConfig: cannot be served: ee key too small"),
        (
            {"tlsConfig": {**TLS, "cipherSuites": ["TLS_NONSENSE"]}},
            "tlsConfig: cannot be served: the cipher suite TLS_NONSENSE is not known",
        ),
        (
            {"certConfig": CERT, "tlsConfig": {**TLS, "maxVersion": "TLSv1.2"}},
            "certConfig with tlsConfig: cannot be served: none of the cipher suites can be served "
            "with TLSv1.2 or less",
        ),
        ({"tlsConfig": {"minVersion": "TLSv1.2"}}, "tlsConfig.cipherSuites: required"),
        ({"tlsConfig": {**TLS, "minVersion": "SSLv3"}}, "tlsConfig.minVersion: 'SSLv3' is not"),
        (
            {"tlsConfig": {**TLS, "maxVersion": "TLSv1.0"}},
            "tlsConfig: minVersion TLSv1.2 is above maxVersion TLSv1.0",
        ),
        ({"authConfig": {"authInfo": USERS}}, "authConfig.authType: required with authInfo"),
        ({"authConfig": {"authType": "jwt"}}, "authConfig.authInfo.jwks: required"),
        ({"authConfig": {"authType": "magic"}}, "authConfig.authType: 'magic' is not one of"),
        ({"corsConfig": {"maxAge": -1}}, "corsConfig.maxAge: -1 is not between"),
    ],
)
def test_a_domain_that_makes_no_sense_is_refused(api, fields, message):
    answer = api.send("POST", DOMAINS, {"domainName": "www.example.com", **fields})
    assert code_of(answer) == (400, "InvalidArgument")
    assert answer.json()["Message"].startswith(message)
    assert api.send("GET", DOMAINS).json() == {"customDomains": []}


ONLY_RSA = {
    "minVersion": "TLSv1.2",
    "maxVersion": "TLSv1.2",
    "cipherSuites": ["TLS_RSA_WITH_AES_128_CBC_SHA"],
}


def test_an_update_that_cannot_be_served_with_what_is_there_is_refused(api):
    create(api, certConfig=CERT, protocol="HTTPS")
    before = get(api)
    answer = update(api, tlsConfig=ONLY_RSA)
    assert code_of(answer) == (400, "InvalidArgument")
    assert answer.json()["Message"].endswith("no client can be served: no shared cipher")
    assert code_of(update(api, certConfig={**CERT, **WEAK})) == (400, "InvalidArgument")
    assert get(api) == before


def test_of_two_updates_at_once_that_cannot_be_served_together_one_is_refused(api):
    create(api)
    path = f"{DOMAINS}/www.example.com"
    answers = api.send_all(
        [("PUT", path, {"certConfig": CERT}), ("PUT", path, {"tlsConfig": ONLY_RSA})]
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400]


def test_a_domain_that_older_versions_have_stored_so_can_be_changed_otherwise(api):
    create(api, certConfig=CERT)
    old = api.parts.routes.find_domain("www.example.com")
    impossible = Tls(min_version="TLSv1.2", cipher_suites=("TLS_NONSENSE",))
    both = replace(old.certificate, certificate=KEY + CERTIFICATE)
    stored = replace(old, tls=impossible, certificate=both)
    api.runner.run(api.parts.domains.change(old.name, lambda _: stored))
    assert update(api, routeConfig=ROUTES).status_code == 200
    assert get(api)["certConfig"]["certificate"] == CERTIFICATE


def rule(**kinds):
    return {
        "path": "/",
        "functionName": "f",
        "rewriteConfig": {
            f"{kind}Rules": [{"match": match, "replacement": "/"}] for kind, match in kinds.items()
        },
    }


def rule_to(replacement):
    rules = {"wildcardRules": [{"match": "/", "replacement": replacement}]}
    return {"path": "/", "functionName": "f", "rewriteConfig": rules}


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([{"functionName": "f"}], "[0].path: required"),
        ([{"path": "/"}], "[0].functionName: required"),
        ([{"path": "a", "functionName": "f"}], "[0].path: 'a' must begin with /"),
        ([{"path": "/a/*/b", "functionName": "f"}], "[0].path: '/a/*/b' must begin with /"),
        ([{"path": "/a?b", "functionName": "f"}], "[0].path: '/a?b' must begin with /"),
        ([{"path": "/", "functionName": "f"}] * 2, ": the path '/' has two routes"),
        (
            [{"path": "/a b", "functionName": "f"}, {"path": "/a%20b", "functionName": "f"}],
            ": the path '/a%20b' has two routes",
        ),
        ([{"path": "/a\r\nb", "functionName": "f"}], "[0].path: '/a\r\nb' must begin with /"),
        (
            [rule(equal="/a\x7f")],
            "[0].rewriteConfig.equalRules[0].match: '/a\x7f' must not contain",
        ),
        (
            [rule_to("/a HTTP/1.1\r\nX: 1")],
            "[0].rewriteConfig.wildcardRules[0].replacement: '/a HTTP/1.1\r\nX: 1' must not",
        ),
        ([{"path": "/", "functionName": "f", "methods": ["BREW"]}], "[0].methods[0]: 'BREW'"),
        ([rule(equal="a" * 257)], "[0].rewriteConfig.equalRules[0].match: "),
        ([rule(wildcard="")], "[0].rewriteConfig.wildcardRules[0].match: "),
        (
            [rule(regex="(")],
            "[0].rewriteConfig.regexRules[0].match: '(' is not a regular expression (RE2): ",
        ),
        ([rule(regex=r"(a)\1")], "[0].rewriteConfig.regexRules[0].match: "),
    ],
)
def test_routes_that_make_no_sense_are_refused(api, routes, message):
    answer = create(api, routeConfig={"routes": routes})
    assert code_of(answer) == (400, "InvalidArgument")
    assert answer.json()["Message"].startswith("routeConfig.routes" + message)


def test_paths_and_rules_that_are_no_ascii_are_returned_as_they_were_sent(api):
    rules = {"equalRules": [{"match": "/中", "replacement": "/新 b"}], "regexRules": []}
    rules["wildcardRules"] = [{"match": "/a b/*", "replacement": "/é"}]
    route = {"path": "/中 文/*", "functionName": "f", "qualifier": "LATEST", "methods": []}
    sent = {"routes": [{**route, "rewriteConfig": rules}]}
    assert create(api, routeConfig=sent).json()["routeConfig"] == sent


def test_a_name_that_is_taken_is_refused_whatever_its_case(api):
    create(api)
    for name in ("www.example.com", "WWW.example.com"):
        assert code_of(create(api, name)) == (409, "DomainNameAlreadyExists")


def test_an_update_replaces_what_it_sends_and_keeps_the_rest(api):
    create(api, protocol="HTTPS", certConfig=CERT, routeConfig=ROUTES, tlsConfig=TLS)
    before = get(api)
    api.pass_time(seconds=10)
    routes = {"routes": [{"path": "/", "functionName": "g", "qualifier": "LATEST", "methods": []}]}
    answer = update(api, routeConfig=routes, authConfig={"authType": "function"}).json()
    assert answer == {
        **before,
        "routeConfig": routes,
        "authConfig": {"authType": "function"},
        "lastModifiedTime": "2024-01-02T03:04:15Z",
    }
    assert get(api) == answer
    domain = api.parts.routes.find_domain("www.example.com")
    assert domain.access == Signed()
    assert domain.certificate.private_key == KEY


def test_an_empty_object_takes_away_what_was_there(api):
    create(api, certConfig=CERT, tlsConfig=TLS, corsConfig={"allowOrigins": ["*"]})
    answer = update(api, certConfig={}, tlsConfig={}, corsConfig={}, authConfig={}).json()
    assert not {"certConfig", "tlsConfig", "corsConfig"} & answer.keys()
    assert api.parts.routes.find_domain("www.example.com").access == Anonymous()


def test_a_certificate_that_is_needed_cannot_be_taken_away(api):
    create(api, protocol="HTTPS", certConfig=CERT)
    assert code_of(update(api, certConfig={})) == (400, "InvalidArgument")
    assert get(api)["certConfig"]["certName"] == "c"


def test_a_deleted_domain_is_gone(api):
    create(api)
    answer = api.send("DELETE", f"{DOMAINS}/www.example.com")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.parts.routes.find_domain("www.example.com") is None


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_domain_that_is_not_there_is_not_found(api, method):
    answer = api.send(method, f"{DOMAINS}/a.com")
    assert code_of(answer) == (404, "DomainNameNotFound")
    assert answer.json()["Message"] == "domain name 'a.com' does not exist"


def test_a_list_goes_on_at_the_name_of_the_next_domain(api):
    for name in ("b.com", "a.com", "ab.com"):
        create(api, name)
    first = api.send("GET", f"{DOMAINS}?prefix=a&limit=1").json()
    assert [domain["domainName"] for domain in first["customDomains"]] == ["a.com"]
    last = api.send("GET", f"{DOMAINS}?prefix=a&limit=1&nextToken={first['nextToken']}").json()
    assert [domain["domainName"] for domain in last["customDomains"]] == ["ab.com"]
    assert "nextToken" not in last
