"""
Limits of a request with points, and the paths that accept points.
"""

__all__ = [
    "MAX_AHEAD",
    "MAX_BATCH",
    "MAX_BODY",
    "MAX_FIELDS",
    "MAX_FORM",
    "PATHS",
]

#: The largest number of points in a request, after names with ``~`` are expanded.
MAX_BATCH = 10_000
#: The largest body of a request, in bytes.
MAX_BODY = 1_048_576
#: The largest form, in bytes. A form holds one point.
MAX_FORM = 65_536
#: The largest number of fields in a form.
MAX_FIELDS = 20
#: The paths of the API that accept points.
PATHS = ("/ez", "/c", "/v")
#: How many seconds the time of a point can be ahead of the collector's clock.
MAX_AHEAD = 86_400
