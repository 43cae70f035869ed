"""
Move the contents of one store to another.
"""
