"""
Asynchronous resources.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.web_client import WebClient
from txstathat.web import CoroutineResource


class Waiting(CoroutineResource):
    """
    Answers when a Deferred fires.
    """

    isLeaf = True

    def __init__(self, result: Deferred[bytes]) -> None:
        super().__init__()
        self.result = result
        self.raised: list[BaseException] = []

    async def respond(self, request: Any) -> bytes:
        try:
            return await self.result
        except BaseException as error:
            self.raised.append(error)
            raise


class CoroutineResourceTests(SynchronousTestCase):
    """
    What CoroutineResource sends, and what it cancels.
    """

    def test_answers(self) -> None:
        """The body is sent with its length, at once or later."""
        later: Deferred[bytes] = Deferred()
        for result in (succeed(b"body"), later):
            client = WebClient(Waiting(result))
            answer = client.request("/")
            if result is later:
                self.assertEqual(answer, b"")
                later.callback(b"body")
                answer = client.transport.value()
            self.assertIn(b"Content-Length: 4\r\n", answer)
            self.assertTrue(answer.endswith(b"\r\n\r\nbody"))

    def test_fails(self) -> None:
        """A failure is a 500 and is logged, once."""
        answer = WebClient(Waiting(fail(ZeroDivisionError()))).request("/")
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 "), answer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failure_with_a_response(self) -> None:
        """A subclass can turn a failure into a response."""

        class Recovering(Waiting):
            async def failed(self, request: Any, failure: Any) -> bytes:
                request.setResponseCode(418)
                return str(failure.value).encode()

        answer = WebClient(Recovering(fail(ValueError("teapot")))).request("/")
        self.assertTrue(answer.startswith(b"HTTP/1.1 418 "), answer)
        self.assertTrue(answer.endswith(b"teapot"), answer)

    def test_disconnected_reader(self) -> None:
        """A client that leaves cancels what only reads; nothing is sent or logged."""
        for method in ("GET", "HEAD"):
            resource = Waiting(Deferred())
            client = WebClient(resource)
            client.request("/", method)
            client.disconnect()
            (error,) = resource.raised
            self.assertIsInstance(error, CancelledError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_disconnected_writer(self) -> None:
        """What changes something runs to its end; its failure is logged."""
        for result in (b"done", ZeroDivisionError()):
            resource = Waiting(Deferred())
            client = WebClient(resource)
            client.request("/", "POST", "Content-Length: 0\r\n")
            client.disconnect()
            self.assertEqual(resource.raised, [])
            if isinstance(result, bytes):
                resource.result.callback(result)
            else:
                resource.result.errback(result)
            self.assertEqual(client.transport.value(), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
