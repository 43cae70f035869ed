"""
A StatHat of your own: the server.
"""
