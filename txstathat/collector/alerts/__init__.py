"""
Alerts: definitions, evaluation, stored records, notices, and webhooks.
"""
