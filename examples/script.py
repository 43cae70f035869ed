"""
Count from a script that knows nothing of Twisted; TXSTATHAT_URL names the server, and
TXSTATHAT_EZKEY holds the key.
"""

from txstathat import blocking

with blocking.stathat_from_env() as stats:
    print(stats.count("orders"))
