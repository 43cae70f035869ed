"""
What all pages are made with: their frame, their paths, and numbers and tables in them.
"""
