"""
The journal of a SQLite store: what was added, and is not yet in its cells.
"""
