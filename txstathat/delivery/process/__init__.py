"""
The process that a service runs in: its clock, thread, forks and end.
"""
