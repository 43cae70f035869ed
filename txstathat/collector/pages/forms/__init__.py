"""
Forms: their fields, the pages that take them, and the page that asks before.
"""
