"""
Boards: named pages of stats as tiles. Comparisons of stats that are saved under a name.
"""
