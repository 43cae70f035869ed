"""
The folder of batches on disk.
"""
