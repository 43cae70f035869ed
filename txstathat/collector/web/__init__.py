"""
The HTTP server of the collector: its limits, and what all its resources share.
"""
