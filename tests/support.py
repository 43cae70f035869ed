"""
What the test modules share.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
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

    def server_options(self, *names: str, **issue: Any) -> CertificateOptions:
        """
        What a TLS server with a certificate for these names listens with.
        """
        leaf = self._ca.issue_cert(*names, **issue)
        pem = leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes()
        options: CertificateOptions = PrivateCertificate.loadPEM(pem).options()
        return options
