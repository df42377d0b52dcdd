"""HTTPS for custom domains: a port that is opened when the first certificate is there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyfc.model.domain import Certificate, CustomDomain, Tls
from anyfc.web.tls import (
    Certificates,
    CertificateUnusable,
    check_suites,
    make_context,
    make_self_signed,
    try_handshake,
)

log = logging.getLogger("anyfc")

RETRY_S = 5.0

Settings = tuple[str, str, tuple[str, ...]]
Open = Callable[[Certificates], AbstractAsyncContextManager[int]]


class Https:
    """Follows the custom domains: which certificates there are, and whether any are."""

    def __init__(self, port: int, *, retry_s: float = RETRY_S) -> None:
        self.certificates = Certificates()
        self.port = port  # the one that is asked for; once it is open, the one it got
        self.problem = ""  # why the port, though it is needed, is not open
        self._retry_s = retry_s
        self._needed = asyncio.Event()

    def follow(self, old: CustomDomain | None, new: CustomDomain | None) -> None:
        """Take in that a domain has come, changed or gone.

        What cannot be served, which older versions have stored, leaves it without a certificate.
        """
        if old is not None and (new is None or new.certificate is None):
            self.certificates.remove(old.name)
        if new is None or new.certificate is None:
            return
        pair = new.certificate
        try:
            self.certificates.put(new.name, pair.certificate, pair.private_key, *_settings(new.tls))
        except CertificateUnusable as error:
            self.certificates.remove(new.name)
            log.error("certificate unusable", extra={"domain": new.name, "why": str(error)})
        self._needed.set()

    @asynccontextmanager
    async def served(self, open_port: Open) -> AsyncIterator[None]:
        """Serve HTTPS inside the block, from the first certificate on.

        A port that cannot be taken is tried again, and plain HTTP is served all the same.
        """
        async with asyncio.TaskGroup() as group:
            server = group.create_task(self._serve(open_port), name="https")
            try:
                yield
            finally:
                server.cancel()

    async def _serve(self, open_port: Open) -> None:
        await self._needed.wait()
        while True:
            try:
                async with open_port(self.certificates) as self.port:
                    # Who has read that it failed is to read that it does so no more.
                    level = logging.WARNING if self.problem else logging.INFO
                    self.problem = ""
                    log.log(level, "https ready", extra={"port": self.port})
                    await asyncio.Event().wait()
            except OSError as error:
                self._explain(error)
            await asyncio.sleep(self._retry_s)

    def _explain(self, error: OSError) -> None:
        """Say once why HTTPS is not served."""
        if not self.problem:
            why = {"setting": "ANYFC_TLS_PORT", "port": self.port, "why": str(error)}
            log.error("https is not served; trying again", extra=why)
        self.problem = f"ANYFC_TLS_PORT: {error}"


def try_out(certificate: Certificate | None, tls: Tls | None) -> None:
    """See whether a domain with these settings can be served. Takes milliseconds, so not on a loop.

    Raises CertificateUnusable.
    """
    settings = _settings(tls)
    check_suites(settings[2])
    if certificate is None:
        pair = make_self_signed("localhost")  # whose suites need not be those of a later one
        make_context(pair[0], pair[1], *settings)
    else:
        try_handshake(make_context(certificate.certificate, certificate.private_key, *settings))


def _settings(tls: Tls | None) -> Settings:
    """Return the lowest version, the highest and the cipher suites."""
    return (tls.min_version, tls.max_version, tls.cipher_suites) if tls else ("TLSv1.2", "", ())
