"""
What a request to the collector may hold at most, and the paths that take points.
"""

__all__ = [
    "MAX_BATCH",
    "MAX_BODY",
    "MAX_FIELDS",
    "MAX_FORM",
    "PATHS",
]

#: The most points that one request may hold, after ``~`` names are taken apart.
MAX_BATCH = 10_000
#: The largest body of a request, in bytes.
MAX_BODY = 1_048_576
#: The largest form, in bytes; it holds one point.
MAX_FORM = 65_536
#: The most fields that a form may have.
MAX_FIELDS = 20
#: The paths of the API.
PATHS = ("/ez", "/c", "/v")
