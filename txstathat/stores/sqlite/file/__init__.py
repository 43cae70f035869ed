"""
The file of a SQLite store: how it is created, copied, checked and replaced.
"""
