"""
How the collector refuses a request.
"""

from __future__ import annotations

from txstathat.errors import StatHatError

__all__ = ["Refusal"]


class Refusal(StatHatError):
    """
    A request that the collector does not accept.

    :ivar status: the status inside the JSON answer.
    :ivar msg: the reason, and what to do about it.
    :ivar http_status: the HTTP status; by default the same as ``status``.
    :ivar retry_after: the seconds after which to try again; ``None`` if that would not
        help.
    :ivar closes: whether the connection is closed after the answer.
    """

    def __init__(
        self,
        status: int,
        msg: str,
        http_status: int | None = None,
        retry_after: int | None = None,
        *,
        closes: bool = False,
    ) -> None:
        super().__init__(status, msg)
        self.retry_after = retry_after
        self.status = status
        self.msg = msg
        self.http_status = status if http_status is None else http_status
        self.closes = closes

    def __str__(self) -> str:
        return self.msg
