"""Certificates by host name, and what a client and they agree on."""

import os
import ssl
import tempfile
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from anyfc.web.tls import Certificates, CertificateUnusable, make_self_signed, to_openssl

PAIR = make_self_signed("a.test")


def agree(server: ssl.SSLContext, client: ssl.SSLContext | None = None) -> ssl.SSLObject:
    """Let a client and a server shake hands in memory; return the client's side."""
    if client is None:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there, server_hostname="a.test")
    answering = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert asking.version()
    return asking


def test_an_exact_name_beats_a_wildcard_which_stands_for_one_label():
    certificates = Certificates()
    fallback = certificates.choose(None)
    for name in ("a.test", "*.a.test", "www.a.test"):
        certificates.put(name, *PAIR)
    exact, wildcard, www = (certificates.choose(n) for n in ("a.test", "b.a.test", "www.a.test"))
    assert len({id(context) for context in (fallback, exact, wildcard, www)}) == 4
    assert certificates.choose("C.A.Test") is wildcard
    assert certificates.choose("a.test.") is exact
    for unknown in ("b.test", "x.y.a.test", "", "test", "*"):
        assert certificates.choose(unknown) is fallback
    certificates.remove("www.a.test")
    assert certificates.choose("www.a.test") is wildcard
    certificates.remove("*.a.test")
    certificates.remove("*.a.test")
    assert certificates.choose("www.a.test") is fallback


def test_a_client_that_trusts_a_certificate_is_served_with_it():
    certificates = Certificates()
    certificates.put("a.test", *PAIR)
    client = ssl.create_default_context(cadata=PAIR[0])
    client.set_alpn_protocols(["h2", "http/1.1"])
    agreed = agree(certificates.choose("a.test"), client)
    assert agreed.selected_alpn_protocol() == "http/1.1"
    with pytest.raises(ssl.SSLCertVerificationError):
        agree(certificates.choose("b.test"), client)


@pytest.mark.parametrize(
    ("lowest", "highest", "version"),
    [
        ("TLSv1.2", "", "TLSv1.3"),
        ("TLSv1.0", "TLSv1.2", "TLSv1.2"),
        ("TLSv1.3", "TLSv1.3", "TLSv1.3"),
    ],
)
def test_versions_are_the_domains(lowest, highest, version):
    certificates = Certificates()
    certificates.put("a.test", *PAIR, lowest, highest)
    assert agree(certificates.choose("a.test")).version() == version


def test_old_clients_are_served_where_the_domain_wants_it():
    certificates = Certificates()
    certificates.put("a.test", *PAIR, "TLSv1.0")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        client.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    assert agree(certificates.choose("a.test"), client).version() == "TLSv1.1"


@pytest.mark.parametrize(
    ("suite", "name"),
    [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDHE-RSA-AES256-SHA384"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
        ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", "DES-CBC3-SHA"),
        ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ],
)
def test_cipher_suites_have_two_names(suite, name):
    assert to_openssl(suite) == name


def test_cipher_suites_are_the_domains():
    certificates = Certificates()
    suites = ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
    certificates.put("a.test", *PAIR, "TLSv1.2", "TLSv1.2", suites)
    agreed = agree(certificates.choose("a.test"))
    assert agreed.cipher() == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2", 256)
    certificates.put("a.test", *PAIR, "TLSv1.2", "", ["TLS_AES_128_GCM_SHA256"])
    assert agree(certificates.choose("a.test")).version() == "TLSv1.3"


def locked(private_key: str) -> str:
    key = load_pem_private_key(private_key.encode(), None)
    lock = BestAvailableEncryption(b"secret")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock).decode()


@pytest.mark.parametrize(
    "settings",
    [
        (PAIR[0], make_self_signed("a.test")[1]),
        (PAIR[0], ""),
        ("", PAIR[1]),
        ("garbage", "garbage"),
        (PAIR[0], locked(PAIR[1])),
        (*PAIR, "TLSv1"),
        (*PAIR, "TLSv1.2", "SSLv3"),
        (*PAIR, "TLSv1.3", "TLSv1.2"),
        (*PAIR, "TLSv1.2", "", ["TLS_NO_WITH_SUCH_SUITE"]),
    ],
)
def test_what_cannot_serve_is_refused_and_changes_nothing(settings):
    certificates = Certificates()
    certificates.put("a.test", *PAIR)
    before = certificates.choose("a.test")
    with pytest.raises(CertificateUnusable):
        certificates.put("a.test", *settings)
    assert certificates.choose("a.test") is before


def test_keys_are_in_a_file_for_a_moment_only_and_for_nobody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[int] = []

    load = ssl.SSLContext.load_cert_chain

    def watch(context: ssl.SSLContext, name: str, **settings: Any) -> None:
        seen.append(os.stat(name).st_mode & 0o777)
        load(context, name, **settings)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    Certificates().put("a.test", *PAIR)
    assert seen == [0o600, 0o600]
    assert not list(tmp_path.iterdir())
