"""
The commands that run your own server, and manage its store.
"""
