"""
Points become one commit, and stored stats become series.
"""
