"""
Ready-made sources of counts: web requests, timers, logs, the reactor, anything.
"""
