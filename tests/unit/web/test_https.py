"""HTTPS follows the custom domains: their certificates, and a port that may be somebody else's."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from clock import run_on_clock
from routed import make_domain

from anyfc.model.domain import Certificate, CustomDomain, Tls
from anyfc.web.https import RETRY_S, Https, try_out
from anyfc.web.tls import Certificates, CertificateUnusable, make_self_signed

PAIR = make_self_signed("a.test")
CERTIFICATE = Certificate(name="c", certificate=PAIR[0], private_key=PAIR[1])
IMPOSSIBLE = Tls(min_version="TLSv1.3", max_version="TLSv1.2")
BUSY = OSError(98, "address already in use")


def domain(**settings: Any) -> CustomDomain:
    return make_domain("a.test", **({"certificate": CERTIFICATE} | settings))


def test_certificates_come_change_and_go_with_their_domains():
    https = Https(9443)
    fallback = https.certificates.choose("a.test")
    https.follow(None, domain())
    first = https.certificates.choose("a.test")
    https.follow(domain(), domain(tls=Tls(min_version="TLSv1.3")))
    second = https.certificates.choose("a.test")
    assert len({id(context) for context in (fallback, first, second)}) == 3
    https.follow(domain(), domain(certificate=None))
    assert https.certificates.choose("a.test") is fallback
    https.follow(None, domain())
    https.follow(domain(), None)
    assert https.certificates.choose("a.test") is fallback


@pytest.mark.parametrize("old", [None, domain()])
def test_settings_that_cannot_be_served_do_not_leave_the_old_ones_in_place(old, caplog):
    https = Https(9443)
    fallback = https.certificates.choose("a.test")
    if old is not None:
        https.follow(None, old)
    https.follow(old, domain(tls=IMPOSSIBLE))
    assert https.certificates.choose("a.test") is fallback
    (record,) = caplog.records
    assert (record.message, record.domain) == ("certificate unusable", "a.test")
    assert record.why == "no TLS version is between TLSv1.3 and TLSv1.2"


class Ports:
    """Opens ports as often as it is told to, and then others have them."""

    def __init__(self, *outcomes: OSError | None) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []
        self.is_open = False

    @asynccontextmanager
    async def open(self, certificates: Certificates) -> AsyncIterator[int]:
        self.times.append(asyncio.get_running_loop().time())
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome
        self.is_open = True
        yield 9444
        self.is_open = False


def test_a_port_that_is_busy_is_tried_again_and_said_once(caplog):
    https, ports = Https(9443), Ports(BUSY, BUSY, BUSY, None)

    async def main() -> None:
        async with https.served(ports.open):
            await asyncio.sleep(1)
            assert ports.times == []  # nobody needs it
            https.follow(None, domain())
            await asyncio.sleep(2 * RETRY_S + 1)
            assert https.problem == f"ANYFC_TLS_PORT: {BUSY}"
            assert https.port == 9443
            await asyncio.sleep(RETRY_S)
            assert ports.is_open
            assert (https.problem, https.port) == ("", 9444)

    with caplog.at_level(logging.INFO):
        run_on_clock(main())
    assert [later - ports.times[0] for later in ports.times] == [n * RETRY_S for n in range(4)]
    busy, ready = caplog.records
    assert (busy.levelname, busy.message) == ("ERROR", "https is not served; trying again")
    assert (busy.setting, busy.port, busy.why) == ("ANYFC_TLS_PORT", 9443, str(BUSY))
    assert (ready.levelname, ready.message, ready.port) == ("WARNING", "https ready", 9444)


def test_a_port_that_is_free_is_opened_with_the_first_certificate(caplog):
    https, ports = Https(9443), Ports(None)

    async def main() -> None:
        async with https.served(ports.open):
            https.follow(None, domain(certificate=None))
            await asyncio.sleep(1)
            assert not ports.is_open
            https.follow(domain(certificate=None), domain())
            await asyncio.sleep(1)
            assert ports.is_open

    with caplog.at_level(logging.INFO):
        run_on_clock(main())
    assert [record.levelname for record in caplog.records] == ["INFO"]


EC_ONLY, RSA_ONLY = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"
RC4 = "TLS_RSA_WITH_RC4_128_SHA"


@pytest.mark.parametrize("certificate", [CERTIFICATE, None])
@pytest.mark.parametrize(
    "tls",
    [
        None,
        Tls(min_version="TLSv1.2"),
        Tls(min_version="TLSv1.0", max_version="TLSv1.1", cipher_suites=(EC_ONLY,)),
        Tls(min_version="TLSv1.0", max_version="TLSv1.3", cipher_suites=(RC4, EC_ONLY)),
        Tls(min_version="TLSv1.0", max_version="TLSv1.3", cipher_suites=(RC4,)),
        Tls(min_version="TLSv1.2", cipher_suites=("TLS_AES_128_CCM_SHA256",)),
        Tls(min_version="TLSv1.2", cipher_suites=(RSA_ONLY,)),  # and TLS 1.3
    ],
)
def test_what_can_be_served_passes_the_trial(certificate, tls):
    try_out(certificate, tls)


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        (IMPOSSIBLE, "no TLS version is between TLSv1.3 and TLSv1.2"),
        (
            Tls(min_version="TLSv1.2", cipher_suites=(EC_ONLY, "TLS_NO_WITH_SUCH_SUITE")),
            "the cipher suite TLS_NO_WITH_SUCH_SUITE is not known",
        ),
        (Tls(min_version="TLSv1.2", cipher_suites=("HIGH",)), "the cipher suite HIGH is not known"),
        (
            Tls(
                min_version="TLSv1.2",
                max_version="TLSv1.2",
                cipher_suites=("TLS_AES_128_GCM_SHA256",),
            ),
            "none of the cipher suites can be served with TLSv1.2 or less",
        ),
        (
            Tls(min_version="TLSv1.0", max_version="TLSv1.2", cipher_suites=(RC4,)),
            "none of the cipher suites can be served with TLSv1.2 or less",
        ),
    ],
)
@pytest.mark.parametrize("certificate", [CERTIFICATE, None])
def test_what_cannot_be_served_is_refused_with_the_reason(certificate, tls, why):
    with pytest.raises(CertificateUnusable) as caught:
        try_out(certificate, tls)
    assert str(caught.value) == why


def test_suites_that_are_for_other_keys_are_refused():
    tls = Tls(min_version="TLSv1.2", max_version="TLSv1.2", cipher_suites=(RSA_ONLY,))
    try_out(None, tls)  # it may get such a key
    with pytest.raises(CertificateUnusable, match="no client can be served: no shared cipher"):
        try_out(CERTIFICATE, tls)
