"""
The Metrica of web requests.
"""

from __future__ import annotations

from typing import Any

from txstathat.metrica.axes import StoredChoiceAxis
from txstathat.metrica.metrica import AveragedMetrica
from txstathat.stores.interface import IStore

__all__ = ["request_metrica"]


def request_metrica(
    store: IStore, name: str = "requests", **options: Any
) -> AveragedMetrica:
    """
    Make a Metrica for the durations of web requests, in milliseconds, exact to a tenth.

    Its axes are ``view`` (what answered), ``method``, ``status`` (the status class,
    such as ``'2xx'``) and ``exception`` (the class of what was raised); choices are
    remembered as they are seen.

    :param store: where it is kept.
    :param name: its name.
    :param options: others of :class:`.AveragedMetrica`'s, such as ``tz``.
    """
    axes = [
        ("view", StoredChoiceAxis()),
        ("method", StoredChoiceAxis()),
        ("status", StoredChoiceAxis()),
        ("exception", StoredChoiceAxis()),
    ]
    return AveragedMetrica(name, axes, store, multiplier=10, **options)
