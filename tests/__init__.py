"""
The tests. Run them with ``python -m twisted.trial -j3 tests``.
"""

import signal

from hypothesis import HealthCheck, settings

# How long an example takes says nothing where other programs run beside the tests.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

# A shell that runs this in the background ignores SIGINT. Without this, the processes
# that the tests start would ignore it too, and some tests interrupt theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
