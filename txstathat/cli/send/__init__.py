"""
The commands that send points.
"""
