"""
Who sees the pages: signing in, sessions, and pages without forms for read-only tokens.
"""
