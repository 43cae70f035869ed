"""
Counts events along axes and time.
"""

from txstathat.metrica.axes import Axis, HierarchicalAxis, StoredChoiceAxis
from txstathat.metrica.metrica import AveragedMetrica, Metrica
from txstathat.metrica.requests import request_metrica
from txstathat.metrica.selection import AveragedSelection, Selection

__all__ = [
    "AveragedMetrica",
    "AveragedSelection",
    "Axis",
    "HierarchicalAxis",
    "Metrica",
    "Selection",
    "StoredChoiceAxis",
    "request_metrica",
]
