"""Custom domains on the wire: what a create or an update may say, and how a domain is shown.

Source: CreateCustomDomainInput, UpdateCustomDomainInput and CustomDomain of the Function Compute
3.0 API, "Configure custom domain names", "Configure rewrite policies".
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from anyfc.api.access_wire import (
    AUTH_TYPE,
    CORS,
    METHOD,
    read_access,
    read_cors,
    show_auth_type,
    show_cors,
)
from anyfc.api.shape import (
    Choice,
    Clearable,
    Flag,
    Items,
    JsonObject,
    Record,
    Shape,
    Text,
    excerpt,
)
from anyfc.api.wire import show_time
from anyfc.errors import InvalidArgument
from anyfc.model.address import ADDRESSES, API_VERSION
from anyfc.model.domain import (
    Certificate,
    CustomDomain,
    Rewrite,
    Route,
    Rule,
    Tls,
    compile_regex,
    percent_encode,
)
from anyfc.model.version import LATEST
from anyfc.web.https import try_out
from anyfc.web.tls import CertificateUnusable

TLS_VERSIONS = ("TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
RULES_OF_A_KIND = 100

DOMAIN_NAME = Text(
    1,
    256,
    re.compile(r"(\*\.)?[\w-]{1,63}(\.[\w-]{1,63})*", re.ASCII),
    "is not a host name, or * and a dot before one",
)
PATH = Text(
    1,
    2048,
    re.compile(r"/[^*?#\0-\x1f\x7f]*\*?"),
    "must begin with / and have * only at its end, no ? and #, no control characters",
)
PRINTABLE = re.compile(r"[^\0-\x1f\x7f]*")
RULE = Record(
    {
        "match": Text(1, 256, PRINTABLE, "must not contain control characters"),
        "replacement": Text(0, 256, PRINTABLE, "must not contain control characters"),
    },
    ("match", "replacement"),
)
RULES = Items(RULE, RULES_OF_A_KIND)
ROUTE = Record(
    {
        "path": PATH,
        "functionName": Text(1, 256),
        "qualifier": Text(0, 128),
        "methods": Items(METHOD),
        "rewriteConfig": Record({"equalRules": RULES, "wildcardRules": RULES, "regexRules": RULES}),
    },
    ("path", "functionName"),
)

UPDATE: Mapping[str, Shape] = {
    "protocol": Choice(("HTTP", "HTTPS", "HTTP,HTTPS")),
    "routeConfig": Record({"routes": Items(ROUTE)}),
    "certConfig": Clearable(
        Record(
            {
                "certName": Text(1, 128),
                "certificate": Text(1, 20480),
                "privateKey": Text(1, 4096, secret=True),
            },
            ("certName", "certificate", "privateKey"),
            secret=True,
        )
    ),
    "tlsConfig": Clearable(
        Record(
            {
                "minVersion": Choice(TLS_VERSIONS),
                "maxVersion": Choice(("", *TLS_VERSIONS)),
                "cipherSuites": Items(Text(1, 128)),
            },
            ("minVersion", "cipherSuites"),
        )
    ),
    "authConfig": Record({"authType": AUTH_TYPE, "authInfo": JsonObject(secret=True)}),
    "wafConfig": Record({"enableWAF": Flag()}),
    "corsConfig": CORS,
}
CREATE: Mapping[str, Shape] = {"domainName": DOMAIN_NAME, **UPDATE}

A_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----\n?|\Z)",
    re.DOTALL,
)

Sent = Mapping[str, Any]  # by names in the model


def read_create(body: Any) -> Sent:
    """Read the body of CreateCustomDomain. Raises InvalidArgument."""
    fields = Record(CREATE, ("domainName",)).read(body, "")
    check_name(fields["domainName"])
    return {"name": fields["domainName"], **sort_out(fields)}


def read_update(body: Any) -> Sent:
    """Read the body of UpdateCustomDomain. Raises InvalidArgument."""
    return sort_out(Record(UPDATE).read(body, ""))


def check_name(name: str) -> None:
    """Refuse names that lead to the server itself: the API would no longer be reached by them.

    Raises InvalidArgument.
    """
    host = name.lower()
    field = f"domainName: {excerpt(name)}"
    if host.rpartition(".")[2].isdecimal():
        raise InvalidArgument(f"{field} is an IP address, which leads to the API; take a host name")
    if "." not in host:
        raise InvalidArgument(
            f"{field} has one label only, and such names lead to the API; take one with a dot"
        )
    if host == ADDRESSES or host.endswith(f".{ADDRESSES}"):
        raise InvalidArgument(f"{field}: the names below {ADDRESSES} are those of HTTP triggers")


def sort_out(fields: dict[str, Any]) -> Sent:
    sent: dict[str, Any] = {}
    if "protocol" in fields:
        sent["protocol"] = fields["protocol"]
    if "routeConfig" in fields:
        sent["routes"] = read_routes(fields["routeConfig"].get("routes", []))
    if "certConfig" in fields:
        sent["certificate"] = read_certificate(fields["certConfig"])
    if "tlsConfig" in fields:
        sent["tls"] = read_tls(fields["tlsConfig"])
    if "authConfig" in fields:
        sent |= read_auth(fields["authConfig"])
    if "wafConfig" in fields:
        sent["waf"] = fields["wafConfig"].get("enableWAF", False)
    if "corsConfig" in fields:
        sent["cors"] = read_cors(fields["corsConfig"], "corsConfig")
    return sent


def read_auth(fields: dict[str, str]) -> Sent:
    info = fields.get("authInfo", "")
    if info and "authType" not in fields:
        raise InvalidArgument("authConfig.authType: required with authInfo")
    access = read_access(fields.get("authType", "anonymous"), info, "authConfig.authInfo")
    return {"access": access, "auth_info": info}


def read_routes(routes: list[dict[str, Any]]) -> tuple[Route, ...]:
    paths = [percent_encode(route["path"]) for route in routes]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise InvalidArgument(f"routeConfig.routes: the path {excerpt(twice)} has two routes")
    return tuple(
        Route(
            path=route["path"],
            function=route["functionName"],
            qualifier=route.get("qualifier") or LATEST,
            methods=tuple(dict.fromkeys(route.get("methods", ()))),
            rewrite=read_rewrite(
                route.get("rewriteConfig", {}), f"routeConfig.routes[{at}].rewriteConfig"
            ),
        )
        for at, route in enumerate(routes)
    )


def read_rewrite(fields: dict[str, Any], field: str) -> Rewrite:
    for at, rule in enumerate(fields.get("regexRules", [])):
        try:
            compile_regex(rule["match"])
        except ValueError as error:
            raise InvalidArgument(
                f"{field}.regexRules[{at}].match: {excerpt(rule['match'])} "
                f"is not a regular expression (RE2): {error}"
            ) from error
    return Rewrite(
        equal=read_rules(fields.get("equalRules", [])),
        wildcard=read_rules(fields.get("wildcardRules", [])),
        regex=read_rules(fields.get("regexRules", [])),
    )


def read_rules(rules: list[dict[str, str]]) -> tuple[Rule, ...]:
    return tuple(Rule(rule["match"], rule["replacement"]) for rule in rules)


def read_certificate(fields: dict[str, str]) -> Certificate | None:
    if not fields:
        return None
    if A_PRIVATE_KEY.search(fields["certificate"]):
        raise InvalidArgument(
            "certConfig.certificate: contains a private key, whose only place is privateKey"
        )
    try:
        first, *_ = load_pem_x509_certificates(fields["certificate"].encode())
        public_key = first.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(
            f"certConfig.certificate: is not a PEM certificate: {error}"
        ) from error
    try:
        key = load_pem_private_key(fields["privateKey"].encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(
            "certConfig.privateKey: is not a PEM private key without a password"
        ) from error
    if key.public_key() != public_key:
        raise InvalidArgument("certConfig: privateKey is not the key of the (first) certificate")
    return Certificate(
        name=fields["certName"],
        certificate=fields["certificate"],
        private_key=fields["privateKey"],
    )


def read_tls(fields: dict[str, Any]) -> Tls | None:
    if not fields:
        return None
    least, most = fields["minVersion"], fields.get("maxVersion", "")
    if most and most < least:
        raise InvalidArgument(f"tlsConfig: minVersion {least} is above maxVersion {most}")
    return Tls(min_version=least, max_version=most, cipher_suites=tuple(fields["cipherSuites"]))


def make(sent: Sent, *, now: datetime) -> CustomDomain:
    """Return the domain that a create describes. Raises InvalidArgument."""
    domain = CustomDomain(**{"protocol": "HTTP", **sent}, created_at=now, modified_at=now)
    check(domain)
    return domain


def merge(old: CustomDomain, sent: Sent, *, now: datetime) -> CustomDomain:
    """Return the domain after an update; what was sent replaces the old value as a whole.

    Raises InvalidArgument.
    """
    domain = replace(old, modified_at=now, **sent)
    check(domain)
    return domain


def check(domain: CustomDomain) -> None:
    if "HTTPS" in domain.protocol and domain.certificate is None:
        raise InvalidArgument(f"certConfig: required with protocol {domain.protocol}")


def check_served(domain: CustomDomain) -> None:
    """Refuse certificates and settings of TLS that cannot be served. Takes milliseconds.

    Raises InvalidArgument.
    """
    try:
        try_out(domain.certificate, domain.tls)
    except CertificateUnusable as error:
        parts = {"certConfig": domain.certificate, "tlsConfig": domain.tls}
        named = " with ".join(name for name, part in parts.items() if part is not None)
        raise InvalidArgument(f"{named}: cannot be served: {error}") from error


def show(domain: CustomDomain, *, account_id: str) -> dict[str, Any]:
    """Return a domain as all operations answer it; its private key is never shown."""
    auth = {"authType": show_auth_type(domain.access)}
    if domain.auth_info:
        auth["authInfo"] = domain.auth_info
    shown: dict[str, Any] = {
        "domainName": domain.name,
        "accountId": account_id,
        "apiVersion": API_VERSION,
        "protocol": domain.protocol,
        "routeConfig": {"routes": [show_route(route) for route in domain.routes]},
        "authConfig": auth,
        "wafConfig": {"enableWAF": domain.waf},
        "subdomainCount": "0",
        "createdTime": show_time(domain.created_at),
        "lastModifiedTime": show_time(domain.modified_at),
    }
    if domain.certificate is not None:
        shown["certConfig"] = {
            "certName": domain.certificate.name,
            # Older versions have taken certificates together with their keys.
            "certificate": A_PRIVATE_KEY.sub("", domain.certificate.certificate),
        }
    if domain.tls is not None:
        shown["tlsConfig"] = show_tls(domain.tls)
    if domain.cors is not None:
        shown["corsConfig"] = show_cors(domain.cors)
    return shown


def show_route(route: Route) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "path": route.path,
        "functionName": route.function,
        "qualifier": route.qualifier,
        "methods": list(route.methods),
    }
    if route.rewrite != Rewrite():
        shown["rewriteConfig"] = {
            "equalRules": show_rules(route.rewrite.equal),
            "wildcardRules": show_rules(route.rewrite.wildcard),
            "regexRules": show_rules(route.rewrite.regex),
        }
    return shown


def show_rules(rules: tuple[Rule, ...]) -> list[dict[str, str]]:
    return [{"match": rule.match, "replacement": rule.replacement} for rule in rules]


def show_tls(tls: Tls) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "minVersion": tls.min_version,
        "cipherSuites": list(tls.cipher_suites),
    }
    return {**shown, "maxVersion": tls.max_version} if tls.max_version else shown
