"""
Read stats back through StatHat's export API.
"""

from txstathat.export.client import (
    EXPORT_URL,
    MAX_EXPORT_REPLY,
    MAX_IDS,
    MAX_STATS,
    StatHatExport,
)
from txstathat.export.models import (
    Alert,
    AlertEpisode,
    ChannelInfo,
    DataPoint,
    Dataset,
    DeliveryResult,
    FullDataset,
    FullPoint,
    StatInfo,
    TrashedStat,
)

__all__ = [
    "Alert",
    "AlertEpisode",
    "ChannelInfo",
    "DataPoint",
    "Dataset",
    "DeliveryResult",
    "EXPORT_URL",
    "FullDataset",
    "FullPoint",
    "MAX_EXPORT_REPLY",
    "MAX_IDS",
    "MAX_STATS",
    "StatHatExport",
    "StatInfo",
    "TrashedStat",
]
