"""
The conditions of alerts: whether they hold, and what they are in words.
"""
