"""
Count and measure what happens inside Twisted programs.
"""

__version__ = "1.0.0.dev0"
