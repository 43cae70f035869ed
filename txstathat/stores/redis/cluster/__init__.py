"""
Writes to a Redis Cluster, where no script reaches more than one slot.
"""
