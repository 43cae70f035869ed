"""
The settings of a service, checked. The service's constructor has their defaults.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from txstathat.points.model import MAX_POST

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    The numbers and choices of a :class:`~txstathat.delivery.service.StatHatService`,
    which documents each.

    :raises ValueError: if one is out of range.
    """

    interval: float
    max_batch: int
    max_pending: int
    spool: str | os.PathLike[str] | None
    max_spool: int
    max_age: float
    shutdown_timeout: float
    on_ambiguous: str

    def __post_init__(self) -> None:
        _check_range("interval", self.interval, 0.01)
        _check_range("max_batch", self.max_batch, 1, MAX_POST)
        _check_range("max_pending", self.max_pending, self.max_batch)
        _check_range("max_spool", self.max_spool, 65_536)
        _check_range("max_age", self.max_age, 1)
        _check_range("shutdown_timeout", self.shutdown_timeout, 0)
        if self.on_ambiguous not in ("resend", "drop"):
            raise ValueError(
                f"on_ambiguous must be 'resend' or 'drop', not {self.on_ambiguous!r}"
            )

    @property
    def resend(self) -> bool:
        """
        Whether a batch that may have arrived is sent again.
        """
        return self.on_ambiguous == "resend"


def _check_range(
    name: str, value: float, least: float, most: float = sys.float_info.max
) -> None:
    if isinstance(value, bool) or not least <= value <= most:
        limit = f" and at most {most}" if most < sys.float_info.max else ""
        raise ValueError(f"{name} must be at least {least}{limit}, not {value!r}")
