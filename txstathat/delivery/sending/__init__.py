"""
Send batches, and decide what becomes of them.
"""
