"""
The commands of one's own server.
"""
