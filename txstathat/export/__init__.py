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
    DataPoint,
    Dataset,
    FullDataset,
    FullPoint,
    StatInfo,
    TrashedStat,
    Unreadable,
    parse_json,
    read_alert,
    read_dataset,
    read_full_dataset,
    read_list,
    read_stat,
    read_trashed,
)

__all__ = [
    "Alert",
    "DataPoint",
    "Dataset",
    "EXPORT_URL",
    "FullDataset",
    "FullPoint",
    "MAX_EXPORT_REPLY",
    "MAX_IDS",
    "MAX_STATS",
    "StatHatExport",
    "StatInfo",
    "TrashedStat",
    "Unreadable",
    "parse_json",
    "read_alert",
    "read_dataset",
    "read_full_dataset",
    "read_list",
    "read_stat",
    "read_trashed",
]
