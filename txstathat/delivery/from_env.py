"""
Make a service with the settings in the environment.
"""

from __future__ import annotations

import os
import random as random_module
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

from txstathat.client.shortcuts import stathat_from_env
from txstathat.delivery.sending.sender import OnRejected
from txstathat.delivery.service import StatHatService

__all__ = ["ServiceSettings", "service_from_env"]


class ServiceSettings(TypedDict, total=False):
    """
    The settings of a :class:`~txstathat.delivery.service.StatHatService`, by keyword.
    """

    interval: float
    max_batch: int
    max_pending: int
    spool: str | os.PathLike[str] | None
    max_spool: int
    max_age: float
    shutdown_timeout: float
    on_ambiguous: Literal["resend", "drop"]
    on_rejected: OnRejected | None
    clock: Any
    random: random_module.Random | None


def service_from_env(
    environ: Mapping[str, str] | None = None, **settings: Unpack[ServiceSettings]
) -> StatHatService:
    """
    Make a service with the client that
    :func:`~txstathat.client.shortcuts.stathat_from_env` makes from the environment.

    :param environ: the environment; the process's own by default, read when called.
    :param settings: as for :class:`~txstathat.delivery.service.StatHatService`.
    :returns: a service in any case. Where no key is set, it records and then drops
        everything: ``health`` counts that as delivered. It says so in the log when it
        starts, and opens no spool.
    :raises ValueError: if the key, the URL or a setting is not valid.
    """
    return StatHatService(stathat_from_env(environ), **settings)
