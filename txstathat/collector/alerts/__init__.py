"""
Alerts: definitions, evaluation, notifications, channels.
"""
