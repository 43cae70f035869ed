"""
The servers that take e-mails.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["SECURITY", "SMTP_TIMEOUT", "MailServer"]

#: The time limit of an e-mail, from the look-up of the server's name on, in seconds.
SMTP_TIMEOUT = 30.0
#: How a connection is encrypted, with the usual port of each.
SECURITY = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class MailServer:
    """
    A server that takes e-mails.

    :ivar host: its name or address.
    :ivar port: its port.
    :ivar security: one of :data:`SECURITY`.
    :ivar user: the name to log in with; ``''`` for no login.
    :ivar password: the password.
    """

    host: str
    port: int
    security: str
    user: str = ""
    password: str = field(default="", repr=False)
