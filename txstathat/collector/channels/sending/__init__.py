"""
How all kinds of channels send: over HTTP and SMTP, and to which addresses they may.
"""
