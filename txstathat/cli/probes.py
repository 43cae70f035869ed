"""
Find out what a port speaks, and what this computer trusts.
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

__all__ = ["has_ca_certificates", "speaks_http", "speaks_tls"]

#: The time limit in seconds for finding out what a port speaks.
_PROBE_SECONDS = 3.0
#: Where systems store the certificates of trusted authorities.
_CA_FILES: tuple[str, ...] = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CA_FOLDERS: tuple[str, ...] = ("/etc/ssl/certs", "/etc/pki/tls/certs")


def speaks_tls(host: str, port: int) -> bool:
    """
    Whether a server speaks TLS, even with an invalid certificate. Blocks.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), _PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def speaks_http(host: str, port: int) -> bool:
    """
    Whether a server answers plain HTTP. Blocks.
    """
    try:
        with socket.create_connection((host, port), _PROBE_SECONDS) as plain:
            plain.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return plain.recv(5) == b"HTTP/"
    except OSError:
        return False


def has_ca_certificates() -> bool:
    """
    Whether this computer has certificates of trusted authorities.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the usual paths, as in OpenSSL.
    """
    files, folders = _CA_FILES, _CA_FOLDERS
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        files = (os.environ.get("SSL_CERT_FILE", ""),)
        folders = (os.environ.get("SSL_CERT_DIR", ""),)
    return any(_has_bytes(Path(file)) for file in files if file) or any(
        _has_files(Path(folder)) for folder in folders if folder
    )


def _has_bytes(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _has_files(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except OSError:
        return False
