"""HTTPS for custom domains: a port that is opened when the first certificate is there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyfc.model.domain import CustomDomain
from anyfc.web.tls import Certificates, CertificateUnusable

log = logging.getLogger("anyfc")

Open = Callable[[Certificates], AbstractAsyncContextManager[int]]


class Https:
    """Follows the custom domains: which certificates there are, and whether any are."""

    def __init__(self, port: int) -> None:
        self.certificates = Certificates()
        self.port = port  # the one that is asked for; once it is open, the one it got
        self._needed = asyncio.Event()

    def follow(self, old: CustomDomain | None, new: CustomDomain | None) -> None:
        """Take in that a domain has come, changed or gone."""
        if old is not None and (new is None or new.certificate is None):
            self.certificates.remove(old.name)
        if new is None or new.certificate is None:
            return
        tls = new.tls
        try:
            self.certificates.put(
                new.name,
                new.certificate.certificate,
                new.certificate.private_key,
                *((tls.min_version, tls.max_version, tls.cipher_suites) if tls else ()),
            )
        except CertificateUnusable as error:
            log.error("certificate unusable", extra={"domain": new.name, "why": str(error)})
        self._needed.set()

    @asynccontextmanager
    async def served(self, open_port: Open) -> AsyncIterator[None]:
        """Serve HTTPS inside the block, from the first certificate on."""
        async with asyncio.TaskGroup() as group:
            server = group.create_task(self._serve(open_port), name="https")
            try:
                yield
            finally:
                server.cancel()

    async def _serve(self, open_port: Open) -> None:
        await self._needed.wait()
        try:
            async with open_port(self.certificates) as self.port:
                log.info("https ready", extra={"port": self.port})
                await asyncio.Event().wait()
        except OSError as error:  # plain HTTP is served all the same
            log.error("no https", extra={"port": self.port, "why": str(error)})
