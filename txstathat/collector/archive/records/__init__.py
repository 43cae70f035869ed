"""
Records about stats: comments, details, the trash, and how they follow a new name.
"""
