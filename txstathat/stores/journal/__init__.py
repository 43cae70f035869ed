"""
The journal of a store: what was added, and is not yet in its cells. Backends store its
rows, and fold them.
"""
