"""
How the collector refuses a request.
"""

from __future__ import annotations

from txstathat.errors import StatHatError

__all__ = ["Refusal"]


class Refusal(StatHatError):
    """
    A request that is not taken.

    :ivar status: the status to answer.
    :ivar msg: why, with what to do.
    :ivar http_status: the HTTP status, where it is another one.
    :ivar retry_after: after how many seconds to try again, if that may help.
    """

    def __init__(
        self,
        status: int,
        msg: str,
        http_status: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, msg)
        self.retry_after = retry_after
        self.status = status
        self.msg = msg
        self.http_status = status if http_status is None else http_status

    def __str__(self) -> str:
        return self.msg
