"""Certificates for HTTPS: which one is shown to whom, as domains come and go.

Python reads certificates and keys from files only, so here they are in one for a moment.
"""

import ssl
import tempfile
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

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
    ("POLY1305_SHA256", "POLY1305"),
    ("CBC_SHA", "SHA"),
)
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
        self._fallback = _make_context(certificate, private_key, "TLSv1.2", "", ())
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
        self._contexts[name.lower()] = _make_context(
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


def _make_context(
    certificate: str,
    private_key: str,
    min_version: str,
    max_version: str,
    cipher_suites: Sequence[str],
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        _load(context, certificate, private_key)
        _set_versions(context, min_version, max_version)
        _set_ciphers(context, cipher_suites)
    except KeyError as error:
        raise CertificateUnusable(f"TLS version {error} is not known") from error
    except (ssl.SSLError, ValueError) as error:
        raise CertificateUnusable(str(error)) from error
    return context


def _load(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    # Only this user can read it, and it is gone before anybody is served.
    with tempfile.NamedTemporaryFile("w", prefix="anyfc-", suffix=".pem") as file:
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


def _set_ciphers(context: ssl.SSLContext, cipher_suites: Sequence[str]) -> None:
    """Allow these suites, by the standard's names or OpenSSL's; those of TLS 1.3 always are."""
    names = [to_openssl(suite) for suite in cipher_suites]
    older = [name for name in names if not name.startswith("TLS_")]
    if names and not older:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        older = [*(older or ["DEFAULT"]), "@SECLEVEL=0"]  # their signatures need it
    if older:
        context.set_ciphers(":".join(older))


def to_openssl(suite: str) -> str:
    """Return a cipher suite's name in OpenSSL; one of TLS 1.3 has the same there."""
    if "_WITH_" not in suite:
        return suite
    name = suite.removeprefix("TLS_").removeprefix("RSA_WITH_")
    for standard, openssl in OPENSSL_PIECES:
        name = name.replace(standard, openssl)
    return name.replace("_", "-")
