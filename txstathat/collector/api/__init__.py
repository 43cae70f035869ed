"""
The resources for reading stats, for alerts, and for monitoring the collector.
"""
