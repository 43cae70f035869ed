"""
The site, its limits, and what all resources share.
"""
