"""
Notices on their way: which go where, which are tried next, and their delivery.
"""
