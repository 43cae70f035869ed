"""
Test a program that counts. Run it with ``python -m twisted.trial test_signup``,
in this folder.
"""

from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txstathat import Count, txStatHat
from txstathat.testing import FakeStatHat


def sign_up(name, sh):
    """
    The code under test: it must work even when counting fails.
    """
    sh.count("signups")
    return f"Welcome, {name}!"


class SignUpTests(SynchronousTestCase):
    def setUp(self):
        self.fake = FakeStatHat()
        self.clock = Clock()
        self.sh = txStatHat("key", agent=self.fake.agent, reactor=self.clock)

    def test_counts(self):
        self.assertEqual(sign_up("Ada", self.sh), "Welcome, Ada!")
        self.assertEqual(self.fake.points, [Count("signups")])

    def test_stathat_is_down(self):
        self.fake.fail(ConnectionRefusedError())
        self.assertEqual(sign_up("Ada", self.sh), "Welcome, Ada!")
        self.assertEqual(self.sh.health.swallowed, {"ConnectionRefusedError": 1})

    def test_stathat_hangs(self):
        self.fake.hang()
        call = self.sh.count("signups", ignore_errors=False)
        self.clock.advance(10)
        self.failureResultOf(call, TimeoutError)
