"""
A request becomes points, or a refusal.
"""
