"""
What is sent through a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from txstathat.errors import StatHatError

__all__ = ["DIGEST", "FIRED", "RECOVERED", "TEST", "ChannelMessage", "DeliveryFailed"]

#: The events of messages.
FIRED = "fired"
RECOVERED = "recovered"
TEST = "test"
DIGEST = "digest"


class DeliveryFailed(StatHatError):
    """
    An attempt to deliver a message failed. The text says why, and holds no secret and
    no address of a hook.

    :ivar permanent: whether another attempt would fail too.
    """

    def __init__(self, why: str, permanent: bool = False) -> None:
        super().__init__(why)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class ChannelMessage:
    """
    A message.

    :ivar id: its id, which is the same for all attempts.
    :ivar event: :data:`FIRED`, :data:`RECOVERED`, :data:`TEST` or :data:`DIGEST`.
    :ivar at: when it happened, in Unix seconds.
    :ivar title: one line for people, such as the subject of an e-mail.
    :ivar text: the message for people.
    :ivar key: identifies the incident: the same for the beginning and the end of an
        episode.
    :ivar stat: the name of the stat; ``''`` if it is about none.
    :ivar number: what was compared; ``None`` if it is not known or not finite.
    :ivar details: all of it for programs, as JSON.
    """

    id: str
    event: str
    at: float
    title: str
    text: str
    key: str
    stat: str = ""
    number: int | float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """
        When it happened, in UTC, as RFC 3339 has it.
        """
        return f"{datetime.fromtimestamp(int(self.at), UTC):%Y-%m-%dT%H:%M:%SZ}"
