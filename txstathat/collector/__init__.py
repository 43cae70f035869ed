"""
A StatHat of your own.
"""
