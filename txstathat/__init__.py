"""
Count and measure what happens inside Twisted programs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txstathat.client.bound import Stat
    from txstathat.client.health import ClientHealth
    from txstathat.client.null import NullStatHat
    from txstathat.client.outcome import Outcome, Verdict
    from txstathat.client.shortcuts import (
        classic_count,
        classic_value,
        ez_count,
        ez_value,
        stathat_from_env,
    )
    from txstathat.client.stathat import txStatHat, txStatHatClassic
    from txstathat.client.tee import tee
    from txstathat.delivery import (
        DeliveryHealth,
        FlushResult,
        StatHatService,
        service_from_env,
    )
    from txstathat.errors import (
        InvalidPoint,
        InvalidTimeframe,
        StatHatAPIError,
        StatHatBusy,
        StatHatClosed,
        StatHatError,
        txStatHatApiException,
    )
    from txstathat.export.client import StatHatExport
    from txstathat.interfaces import IStatHat
    from txstathat.points.model import Count, Value

__version__ = "1.0.0.dev0"

__all__ = [
    "ClientHealth",
    "Count",
    "DeliveryHealth",
    "FlushResult",
    "IStatHat",
    "InvalidPoint",
    "InvalidTimeframe",
    "NullStatHat",
    "Outcome",
    "Stat",
    "StatHatAPIError",
    "StatHatBusy",
    "StatHatClosed",
    "StatHatError",
    "StatHatExport",
    "StatHatService",
    "Value",
    "Verdict",
    "classic_count",
    "classic_value",
    "ez_count",
    "ez_value",
    "service_from_env",
    "stathat_from_env",
    "tee",
    "txStatHat",
    "txStatHatApiException",
    "txStatHatClassic",
]

# The modules with these names. They are imported when a name is used: what needs none,
# such as "txstathat --help", starts fast.
_MODULES = (
    "points.model",
    "errors",
    "interfaces",
    "export.client",
    "client",
    "client.tee",
    "delivery",
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in __all__:
            for path in _MODULES:
                module = import_module(f"{__name__}.{path}")
                if name in module.__all__:
                    return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
