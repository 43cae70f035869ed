"""
What the test modules share.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import SkipTest

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL.crypto import X509, PKey
from twisted.internet import reactor as _reactor
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    trustRootFromCertificates,
)
from twisted.logger import formatEvent, globalLogPublisher

# The reactor's type depends on the platform.
reactor: Any = _reactor


#: The programs without which tests may be skipped in CI too, since Debian 12 does not
#: have them.
OPTIONAL_PROGRAMS = ("valkey-server",)


def require_program(name: str, package: str) -> str:
    """
    The path of a program that a test needs.

    Without it the test is skipped, with a word on how to get it. In CI (``CI=true``)
    that is a failure instead, since nothing may be left out there but
    :data:`OPTIONAL_PROGRAMS`.

    :param name: the program.
    :param package: the Debian package that holds it.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    missing = f"needs {name}: apt-get install {package}"
    if os.environ.get("CI") == "true" and name not in OPTIONAL_PROGRAMS:
        raise AssertionError(missing)
    raise SkipTest(missing)


class Logged:
    """
    Everything that was logged, as all the texts that an observer could make of it.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        parts = []
        for event in self.events:
            parts += [formatEvent(event), repr(event)]
            failure = event.get("log_failure")
            if failure is not None:
                parts += [failure.getTraceback(), repr(failure.value)]
        return "\n".join(parts)

    def at_level(self, name: str) -> list[str]:
        """
        The messages of one level, such as ``'warn'``.
        """
        return [
            formatEvent(event)
            for event in self.events
            if event["log_level"].name == name
        ]


@contextmanager
def logged() -> Iterator[Logged]:
    """
    Collect what is logged in the meantime.
    """
    collected = Logged()
    globalLogPublisher.addObserver(collected.events.append)
    try:
        yield collected
    finally:
        globalLogPublisher.removeObserver(collected.events.append)


class Authority:
    """
    A certificate authority for one test run.
    """

    def __init__(self) -> None:
        self._ca = trustme.CA()
        pem = self._ca.cert_pem.bytes()
        self.pem = pem
        self.trust_root = trustRootFromCertificates([Certificate.loadPEM(pem)])

    def nameless_options(self, *alternatives: x509.GeneralName) -> CertificateOptions:
        """
        What a server listens with whose certificate names a host only in the old way,
        by its common name, or has just these alternative names.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        issuer = x509.load_pem_x509_certificate(self.pem)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        if alternatives:
            extension = x509.SubjectAlternativeName(alternatives)
            builder = builder.add_extension(extension, critical=False)
        authority_key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        certificate = builder.sign(authority_key, hashes.SHA256())  # type: ignore[arg-type]
        pem = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ) + certificate.public_bytes(Encoding.PEM)
        options: CertificateOptions = PrivateCertificate.loadPEM(pem).options()
        return options

    def chain_options(self, expired: bool, names: Sequence[str]) -> CertificateOptions:
        """
        What a server listens with that sends two certificates: its own, and that of an
        intermediate authority which has signed it.

        :param expired: whether the intermediate's certificate has expired.
        :param names: the host names of the server's certificate.
        """
        root = x509.load_pem_x509_certificate(self.pem)
        root_key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        middle_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in "12")
        last = datetime.now(UTC) + timedelta(days=-1 if expired else 1)
        middle = (
            _builder("An intermediate", middle_key, root.subject, last)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .sign(root_key, hashes.SHA256())  # type: ignore[arg-type]
        )
        alternatives = x509.SubjectAlternativeName([x509.DNSName(n) for n in names])
        leaf = (
            _builder("A server", leaf_key, middle.subject)
            .add_extension(alternatives, critical=False)
            .sign(middle_key, hashes.SHA256())
        )
        return _options(leaf_key, leaf, middle)

    def options_with_root(self, *names: str) -> CertificateOptions:
        """
        What a server listens with that sends its own certificate and that of this
        authority.
        """
        issued = self._ca.issue_cert(*names)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        leaf = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        return _options(key, leaf, x509.load_pem_x509_certificate(self.pem))

    def server_options(self, *names: str, **issue: Any) -> CertificateOptions:
        """
        What a TLS server with a certificate for these names listens with.
        """
        leaf = self._ca.issue_cert(*names, **issue)
        pem = leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes()
        options: CertificateOptions = PrivateCertificate.loadPEM(pem).options()
        return options


def _builder(
    name: str,
    key: Any,
    issuer: x509.Name,
    last: datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(last or now + timedelta(days=1))
    )


def _options(key: Any, *chain: x509.Certificate) -> CertificateOptions:
    """
    TLS options of a server with a private key, which sends a chain of certificates.
    """
    certificates = [X509.from_cryptography(each) for each in chain]
    return CertificateOptions(
        privateKey=PKey.from_cryptography_key(key),
        certificate=certificates[0],
        extraCertChain=certificates[1:],
    )
