"""Certificates for HTTPS: which one is shown to whom, as domains come and go.

Python reads certificates and keys from files only, so here they are in one for a moment.
"""

import ssl
import tempfile
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VERSIONS = {
    "TLSv1.0": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
# What the standard's names of cipher suites are called in OpenSSL, piece by piece.
OPENSSL_PIECES = (
    ("_WITH_", "_"),
    ("AES_128", "AES128"),
    ("AES_256", "AES256"),
    ("3DES_EDE_CBC_SHA", "DES_CBC3_SHA"),
    ("CAMELLIA_128", "CAMELLIA128"),
    ("CAMELLIA_256", "CAMELLIA256"),
    ("POLY1305_SHA256", "POLY1305"),
    ("CBC_SHA", "SHA"),
    ("CCM_8", "CCM8"),
)
# OpenSSL's, of what can be served with a certificate; among them three of TLS 1.3.
SERVABLE = "ALL:!aNULL:!PSK:!SRP:@SECLEVEL=0"
OF_TLS_1_3 = frozenset(
    (
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256",
    )
)  # fmt: skip
# The cloud takes them, and its examples name them, but OpenSSL has them no more.
RETIRED = frozenset(
    (
        "TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA", "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    )
)  # fmt: skip
HANDSHAKE_TURNS = 4
SELF_SIGNED_DAYS = 3650


class CertificateUnusable(Exception):
    """Certificate, key, versions or cipher suites cannot serve; the message says why."""


class Certificates:
    """TLS settings by host name. A name that is not known is shown a self-signed certificate.

    So a client that does not check certificates is served under any name, and one that does is
    told whom it has reached.
    """

    def __init__(self, self_signed_name: str = "localhost") -> None:
        certificate, private_key = make_self_signed(self_signed_name)
        self._fallback = make_context(certificate, private_key)
        self._contexts: dict[str, ssl.SSLContext] = {}

    def put(
        self,
        name: str,
        certificate: str,
        private_key: str,
        min_version: str = "TLSv1.2",
        max_version: str = "",
        cipher_suites: Sequence[str] = (),
    ) -> None:
        """Serve a host name, or all names one label below another (`*.example.com`).

        `certificate` and `private_key` are PEM texts. Connections that are open keep what they
        have. Raises CertificateUnusable.
        """
        self._contexts[name.lower()] = make_context(
            certificate, private_key, min_version, max_version, cipher_suites
        )

    def remove(self, name: str) -> None:
        self._contexts.pop(name.lower(), None)

    def choose(self, name: str | None) -> ssl.SSLContext:
        """Return the settings for the host that a client asks for: an exact name beats others."""
        if name is None:
            return self._fallback
        name = name.lower().rstrip(".")
        exact = self._contexts.get(name)
        return exact or self._contexts.get("*." + name.partition(".")[2]) or self._fallback


def make_self_signed(name: str, now: datetime | None = None) -> tuple[str, str]:
    """Return a certificate that nobody vouches for, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName(f"*.{name}")])
    begins = (now or datetime.now(UTC)) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private_key = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(pem).decode(), private_key.decode()


def make_context(
    certificate: str,
    private_key: str,
    min_version: str = "TLSv1.2",
    max_version: str = "",
    cipher_suites: Sequence[str] = (),
) -> ssl.SSLContext:
    """Return what a server begins TLS with; see `Certificates.put`. Raises CertificateUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        _load(context, certificate, private_key)
        _set_versions(context, min_version, max_version)
        _set_ciphers(context, cipher_suites, max_version)
    except KeyError as error:
        raise CertificateUnusable(f"TLS version {error} is not known") from error
    except (ssl.SSLError, ValueError) as error:
        raise CertificateUnusable(_why(error)) from error
    return context


def try_handshake(server: ssl.SSLContext) -> None:
    """See whether a client that takes whatever there is can be served.

    Raises CertificateUnusable.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    _set_versions(client, "TLSv1.0", "")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True))
    for side in sides * HANDSHAKE_TURNS:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            raise CertificateUnusable(f"no client can be served: {_why(error)}") from error


def _why(error: ssl.SSLError | ValueError) -> str:
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if isinstance(reason, str) else str(error)


def _load(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    # Only this user can read it, and it is gone before anybody is served.
    with tempfile.NamedTemporaryFile("w", prefix="anyfc-", suffix=".pem", encoding="utf-8") as file:
        file.write(f"{certificate}\n{private_key}\n")
        file.flush()
        # Without a password at hand a key that needs one would be asked for on the terminal.
        context.load_cert_chain(file.name, password=lambda: b"-")


def _set_versions(context: ssl.SSLContext, min_version: str, max_version: str) -> None:
    lowest = VERSIONS[min_version]
    with warnings.catch_warnings():
        # Versions that should not be used any more are the domain owner's choice.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = lowest
        if max_version:
            context.maximum_version = VERSIONS[max_version]
            if VERSIONS[max_version] < lowest:
                raise ValueError(f"no TLS version is between {min_version} and {max_version}")


def _set_ciphers(context: ssl.SSLContext, cipher_suites: Sequence[str], max_version: str) -> None:
    """Allow these suites, by the standard's names or OpenSSL's; those of TLS 1.3 always are."""
    older = [to_openssl(suite) for suite in cipher_suites if suite not in OF_TLS_1_3 | RETIRED]
    if cipher_suites and not older:
        if max_version and VERSIONS[max_version] < ssl.TLSVersion.TLSv1_3:
            raise ValueError(f"none of the cipher suites can be served with {max_version} or less")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        older = [*(older or ["DEFAULT"]), "@SECLEVEL=0"]  # their signatures need it
    if older:
        context.set_ciphers(":".join(older))


def check_suites(cipher_suites: Sequence[str]) -> None:
    """Refuse names of cipher suites that nobody knows. Raises CertificateUnusable."""
    for suite in cipher_suites:
        if suite not in OF_TLS_1_3 | RETIRED and to_openssl(suite) not in _servable_suites():
            raise CertificateUnusable(f"the cipher suite {suite} is not known")


@cache
def _servable_suites() -> frozenset[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(SERVABLE)
    return frozenset(suite["name"] for suite in context.get_ciphers())


def to_openssl(suite: str) -> str:
    """Return a cipher suite's name in OpenSSL; one of TLS 1.3 has the same there."""
    if "_WITH_" not in suite:
        return suite
    name = suite.removeprefix("TLS_").removeprefix("RSA_WITH_")
    for standard, openssl in OPENSSL_PIECES:
        name = name.replace(standard, openssl)
    return name.replace("_", "-")
