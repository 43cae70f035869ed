"""
The tests. Run them with ``python -m twisted.trial tests``.
"""

import signal

# A shell that runs this in the background has SIGINT ignored, and so would have all
# processes that the tests start, and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
