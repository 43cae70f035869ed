"""
Moving the contents of one store to another: the file format, and loading it.
"""

from txstathat.collector.transfer.dump_format import (
    MAX_CELLS,
    RECORDS,
    VERSION,
    BadDump,
    DumpCells,
    DumpEnd,
    DumpHeader,
    DumpLine,
    DumpRecord,
    dump_lines,
    is_dump,
    parse_line,
)
from txstathat.collector.transfer.load_dump import (
    REMEMBER_LINES,
    CannotLoad,
    check_dump,
    load_dump,
)

__all__ = [
    "MAX_CELLS",
    "RECORDS",
    "REMEMBER_LINES",
    "VERSION",
    "BadDump",
    "CannotLoad",
    "DumpCells",
    "DumpEnd",
    "DumpHeader",
    "DumpLine",
    "DumpRecord",
    "check_dump",
    "dump_lines",
    "is_dump",
    "load_dump",
    "parse_line",
]
