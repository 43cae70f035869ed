"""
``txstathat check``: send one test point, and say which step fails.
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from twisted.internet.threads import deferToThread

from txstathat.cli.diagnosis import CLOSED, STEPS, Diagnosis, diagnose, is_stathat_com
from txstathat.cli.reactor import run
from txstathat.cli.settings import find_sender, make_client, server_options
from txstathat.points.model import Count
from txstathat.printable import printable

__all__ = ["check", "has_ca_certificates", "speaks_http", "speaks_tls"]

#: The time limit in seconds for finding out what a port speaks.
_PROBE_SECONDS = 3.0
#: Where systems store the certificates of trusted authorities.
_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CA_FOLDERS = ("/etc/ssl/certs", "/etc/pki/tls/certs")


@click.command()
@click.option(
    "--stat",
    default="txstathat check",
    show_default=True,
    metavar="NAME",
    help="The counter that gets the test point.",
)
@server_options
def check(stat: str, url: str | None, ezkey: str | None, timeout: float) -> None:
    """
    Send one test point; say which step fails, and what to do.
    """
    server = find_sender(url, ezkey)
    client = make_client(server, timeout)
    console = Console(highlight=False)
    if is_stathat_com(server.url):
        console.print(f"[red]✗[/] {CLOSED}")
        console.print(
            "Nothing was sent: the present owner of that name would get the key."
        )
        raise SystemExit(1)

    async def command(reactor: Any) -> int:
        failed = None
        try:
            outcome = await client.send([Count(stat)])
            if outcome.error is not None:
                failed = await _find_reason(
                    diagnose(outcome.error, server.url), server.url
                )
        finally:
            await client.close()
        _show_steps(console, server.url, failed, unsure=outcome.status == 204)
        if failed is not None:
            return 1
        console.print(f"One point was accepted for {stat!r}.", markup=False)
        return 0

    run(command)


def _show_steps(
    console: Console, url: str, failed: Diagnosis | None, unsure: bool
) -> None:
    """
    Print the steps up to the one that failed.

    :param unsure: whether StatHat gives the same answer for wrong keys.
    """
    for step in STEPS:
        if failed is not None and step == failed.step:
            console.print(f"[red]✗ {step}[/]: ", end="")
            console.print(printable(failed.problem), markup=False)
            console.print(failed.advice, markup=False)
            return
        if step == "TLS" and urlsplit(url).scheme == "http":
            console.print("[yellow]-[/] TLS: not used, the URL begins with http://")
        elif step == "key" and unsure:
            console.print(
                "[yellow]-[/] key: not known. The server answered 204 without a text, "
                "which it may do for a wrong key too. Check whether the stat appears."
            )
        else:
            console.print(f"[green]✓[/] {step}")


async def _find_reason(found: Diagnosis, url: str) -> Diagnosis:
    """
    Find the reason of a failure that can have several.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if found.step == "TLS" and "certificate verify failed" in found.problem:
        if has_ca_certificates():
            return found
        return Diagnosis(
            "TLS",
            "this computer has no CA certificates, so no server can be verified",
            "Install them (on Debian: apt-get install ca-certificates), or set "
            "SSL_CERT_FILE.",
        )
    if found.step == "TLS" and await deferToThread(speaks_http, host, port):
        return Diagnosis(
            "TLS",
            f"port {port} speaks plain HTTP, not TLS",
            "If you trust the network, begin the URL with http://; else use the port "
            "of the server that speaks HTTPS.",
        )
    if (
        found.step == "answer"
        and not secure
        and await deferToThread(speaks_tls, host, port)
    ):
        return Diagnosis(
            "answer",
            f"port {port} speaks TLS, and the URL begins with http://",
            "Begin the URL with https://",
        )
    return found


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


def has_ca_certificates(
    files: tuple[str, ...] = _CA_FILES, folders: tuple[str, ...] = _CA_FOLDERS
) -> bool:
    """
    Whether this computer has certificates of trusted authorities.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the usual paths, as in OpenSSL.

    :param files: files to look for.
    :param folders: folders to look into.
    """
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
