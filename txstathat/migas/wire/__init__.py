"""
What is sent to a Migas server, without secrets, and what it answers.
"""
