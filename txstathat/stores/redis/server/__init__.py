"""
The store on one Redis server: a journal, and the cells into which it is folded.
"""
