"""
Counts in Redis, Redis Cluster and Valkey.
"""
