"""
A ready-made Metrica for web requests.
"""

from __future__ import annotations

from typing import Any

from txstathat.metrica.axes import StoredChoiceAxis
from txstathat.metrica.metrica import AveragedMetrica
from txstathat.stores.interface import IStore

__all__ = ["request_metrica"]


def request_metrica(
    store: IStore | None = None, name: str = "requests", **options: Any
) -> AveragedMetrica:
    """
    Create a Metrica for the durations of web requests, in milliseconds, exact to a
    tenth.

    Its axes are ``view`` (the code that answered), ``method``, ``status`` (the class of
    the status, such as ``'2xx'``) and ``exception`` (the class of the exception). Their
    choices are remembered as they occur.

    :param store: the store; ``None`` if :meth:`.Metrica.bind` sets it later.
    :param name: the name of the Metrica.
    :param options: other parameters of :class:`.AveragedMetrica`, such as ``tz``.
    :raises ValueError: if a parameter is not valid.
    """
    axes = [(word, StoredChoiceAxis()) for word in _AXES]
    return AveragedMetrica(name, axes, store, multiplier=10, **options)


_AXES = ("view", "method", "status", "exception")
