"""
The commands that read stats back.
"""
