"""
Posted points become one commit, within limits.
"""
