"""
TODO
"""
