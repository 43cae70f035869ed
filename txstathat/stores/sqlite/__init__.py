"""
Counts in a SQLite file, or in memory.
"""
