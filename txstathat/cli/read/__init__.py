"""
The commands that read stats and alerts from a server.
"""
