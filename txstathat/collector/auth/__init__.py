"""
Keys, sessions, and the throttling of wrong keys.
"""
