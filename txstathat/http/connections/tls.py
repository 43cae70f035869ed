"""
TLS that accepts only a certificate which proves the host's name.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, platformTrust
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["HostVerifier", "REREAD_DELAY", "Trust"]

#: The shortest time between two readings of the certificate authorities, in seconds.
REREAD_DELAY = 60.0


class Trust:
    """
    The certificate authorities that connections trust. They are read again after a
    certificate was refused, at most once in :data:`REREAD_DELAY` seconds: the
    platform's bundle may have been renewed since.

    :param root: such as :func:`twisted.internet.ssl.trustRootFromCertificates` returns
        it; ``None`` for the platform's.
    :param monotonic: the time in seconds, on a clock that is never set.
    """

    def __init__(self, root: object, monotonic: Callable[[], float]) -> None:
        self._root = root
        self._monotonic = monotonic
        self._context: SSL.Context | None = None
        self._read_at = 0.0
        self._is_doubtful = False

    @property
    def context(self) -> SSL.Context:
        """
        The OpenSSL context with these authorities.
        """
        # Reading the platform's roots takes milliseconds: once, not for each host.
        now = self._monotonic()
        is_due = self._is_doubtful and now - self._read_at >= REREAD_DELAY
        if self._context is None or is_due:
            self._context = self._read()
            self._read_at = now
            self._is_doubtful = False
        return self._context

    def certificate_refused(self) -> None:
        """
        Record that no trusted authority has signed a certificate, or that it has
        expired.
        """
        self._is_doubtful = True

    def _read(self) -> SSL.Context:
        root: Any = platformTrust() if self._root is None else self._root
        return CertificateOptions(trustRoot=root).getContext()


@implementer(IOpenSSLClientConnectionCreator)
class HostVerifier:
    """
    Makes TLS connections to one host, and refuses each certificate that does not prove
    to be this host's.

    Twisted's own creator (26.10) refuses host names with an underscore. When it cannot
    check a name, for example because a certificate has none, it logs an error and
    accepts the certificate.

    :param trust: the certificate authorities to trust.
    :param host: a host name or an IP address.
    """

    def __init__(self, trust: Trust, host: bytes) -> None:
        name = host.decode("ascii")
        is_address = isIPAddress(name) or isIPv6Address(name)
        self._trust = trust
        self._identity = IPAddress_ID(name) if is_address else DNS_ID(name)
        # RFC 6066, section 3: an address is not a server name.
        self._server_name = None if is_address else host

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        Make the TLS side of one connection.

        :param tlsProtocol: the protocol to fail when verification fails.
        """
        protocol = weakref.ref(tlsProtocol)

        def verify(
            connection: SSL.Connection,
            certificate: Any,
            error: int,
            depth: int,
            ok: int,
        ) -> bool:
            if not ok:
                self._trust.certificate_refused()
                return False
            # The server's own certificate has depth 0; only that one names the host.
            if depth:
                return True
            try:
                patterns = extract_patterns(certificate)
                verify_service_identity(patterns, [self._identity], [])
            except Exception:
                tls = protocol()
                if tls is not None:
                    tls.failVerification(Failure())
                return False
            return True

        connection = SSL.Connection(self._trust.context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection
