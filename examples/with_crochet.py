"""
Count from a program without a reactor of its own: ``pip install crochet``, then
``python with_crochet.py``.
"""

import crochet

crochet.setup()

from txstathat import stathat_from_env  # noqa: E402

sh = stathat_from_env()


@crochet.wait_for(timeout=15)
def count(stat):
    return sh.count(stat)


@crochet.wait_for(timeout=5)
def close():
    return sh.close()


print(count("orders"))
close()
