"""
The connections below an exchange: looked up, verified, pooled and closed.
"""
