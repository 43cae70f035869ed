"""
StatHat's export API, alerts, comments, health and metrics.
"""
