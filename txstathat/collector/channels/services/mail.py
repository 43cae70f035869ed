"""
E-mail: a message is sent to one or more addresses.

Nothing in a message can add a header: line ends in a title are replaced before
Python's :mod:`email` writes it, and the text is encoded as base64.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from zope.interface import implementer

from txstathat.collector.channels.message import ChannelMessage
from txstathat.collector.channels.model import (
    BadField,
    ChannelDefinition,
    ChannelField,
    IChannel,
    one_of,
)
from txstathat.collector.channels.sending.mail_server import SECURITY, MailServer
from txstathat.collector.channels.sending.outgoing import Outgoing
from txstathat.collector.channels.sending.smtp import send_mail
from txstathat.http.urls import check_url
from txstathat.printable import printable

__all__ = ["MAX_RECIPIENTS", "EmailChannel", "make_mail"]

#: The largest number of addresses to which a channel sends.
MAX_RECIPIENTS = 20

_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?"
)
# A longer subject is cut.
_MAX_SUBJECT = 200


def _address(field: str, text: str) -> str:
    if len(text) > 254 or not _ADDRESS.fullmatch(text):
        raise BadField(field, f"{text[:80]!r} is not an e-mail address")
    return text


def make_mail(message: ChannelMessage, sender: str, to: list[str]) -> bytes:
    """
    Return a message as an e-mail. Its lines end with ``\\n``.

    :param message: the message.
    :param sender: the sender's address.
    :param to: the recipients' addresses.
    """
    mail = EmailMessage(policy=SMTP.clone(linesep="\n"))
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = printable(message.title, " ")[:_MAX_SUBJECT]
    mail["Date"] = format_datetime(datetime.fromtimestamp(int(message.at), UTC))
    # The same for all attempts, so that a repetition is recognized.
    mail["Message-ID"] = f"<{message.id}@{sender.partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text + "\n", cte="base64")
    return mail.as_bytes()


@implementer(IChannel)
class EmailChannel:
    """
    E-mail. The secret is the password of the login.

    :param definition: the channel.
    """

    fields = (
        ChannelField(
            "to",
            "The addresses of the recipients, separated by commas.",
            required=True,
            longest=2_000,
        ),
        ChannelField("from", "The address of the sender.", required=True),
        ChannelField("server", "The host of the SMTP server.", required=True),
        ChannelField(
            "security",
            "How the connection is encrypted: starttls, tls, or none, which is for "
            "private addresses only.",
            default="starttls",
            choices=tuple(SECURITY),
        ),
        ChannelField("port", "The port; by default 587, 465 or 25.", longest=5),
        ChannelField("user", "The name to log in with."),
    )

    def __init__(self, definition: ChannelDefinition) -> None:
        settings = definition.settings
        self._to = [_address("to", part.strip()) for part in settings["to"].split(",")]
        if len(self._to) > MAX_RECIPIENTS:
            raise BadField("to", f"must be at most {MAX_RECIPIENTS} addresses")
        self._from = _address("from", settings["from"].strip())
        security = one_of("security", settings["security"], tuple(SECURITY))
        self.host = settings["server"].lower()
        try:
            check_url(f"https://{self.host}")
        except ValueError:
            self.host = ""
        if not self.host or {":", "/"} & {*self.host}:
            raise BadField("server", "must be a host name or an IPv4 address")
        self._port = _port(settings["port"], SECURITY[security])
        self._security, self._user = security, settings["user"]
        self._check_login(definition)
        self.encrypted = security != "none"
        self.address = f"{', '.join(self._to)} via {self.host}:{self._port}"

    def _check_login(self, definition: ChannelDefinition) -> None:
        if self._user and not (self._user.isascii() and self._user.isprintable()):
            raise BadField("user", "must be of printable ASCII characters")
        if self._user and self._security == "none":
            raise BadField("user", "a login needs an encrypted connection")
        if self._user and definition.secret == "":
            raise BadField("secret", "is missing: it is the password of the login")
        if definition.secret and not self._user:
            raise BadField("user", "is missing: the secret is a password")

    async def send(
        self, message: ChannelMessage, outgoing: Outgoing, secret: str
    ) -> None:
        """
        See :meth:`~txstathat.collector.channels.model.IChannel.send`.
        """
        server = MailServer(self.host, self._port, self._security, self._user, secret)
        mail = make_mail(message, self._from, self._to)
        await send_mail(outgoing, server, self._from, self._to, mail)


def _port(text: str, usual: int) -> int:
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise BadField("port", f"must be from 1 to 65535, not {text[:10]!r}")
    return int(text)
