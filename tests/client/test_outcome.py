"""
Every answer that a server may give, judged.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers

from txstathat.client.outcome import (
    KEY_MESSAGES,
    Outcome,
    Verdict,
    is_key_message,
    outcome_of_failure,
    outcome_of_reply,
)
from txstathat.errors import StatHatAPIError, StatHatBusy
from txstathat.http.responses import BadReply, Reply

PAGE = b"<!DOCTYPE html><html><body>We will be back soon</body></html>"
OK = b'{"status": 200, "msg": "ok"}'


def outcome_of(status: int, body: bytes = b"", **headers: str) -> Outcome:
    """A reply, judged at the epoch."""
    fields = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return outcome_of_reply(Reply(status, body, Headers(fields)), 0.0)


def says(status: Any, msg: str = "no") -> bytes:
    """StatHat's JSON."""
    text = f'"{status}"' if isinstance(status, str) else status
    return f'{{"status": {text}, "msg": "{msg}"}}'.encode()


class OutcomeTests(SynchronousTestCase):
    """
    One answer, one verdict.
    """

    def check(self, verdict: Verdict, *answers: tuple[int, bytes]) -> None:
        for status, body in answers:
            outcome = outcome_of(status, body)
            self.assertIs(outcome.verdict, verdict, (status, body))
            self.assertEqual(outcome.accepted, outcome.error is None)
            self.assertIsNotNone(outcome.status)

    def test_success(self) -> None:
        """204 without a body, and StatHat's and EzStat's JSON, are successes."""
        many = b'{"status": 200, "msg": "ok", "multiple": 5}'
        self.check(
            Verdict.ACCEPTED,
            (204, b""), (200, OK), (200, many), (200, says("ok", "ok")), (202, OK),
            (200, b'{"status": 200}'), (200, says("OK")), (404, OK),
        )  # fmt: skip
        self.assertEqual(outcome_of(204).status, 204)
        self.assertFalse(outcome_of(204).from_stathat)
        self.assertTrue(outcome_of(200, OK).from_stathat)

    def test_refusals(self) -> None:
        """The status inside counts: another than 200 is a refusal."""
        self.check(
            Verdict.REFUSED,
            (200, says(500)), (200, says(400)), (200, says(404)), (200, says(409)),
            (200, says("error")), (400, says(400)), (422, says(422)), (404, says(404)),
            (400, says(500)), (200, b'{"status": 500}'), (302, says(400)),
        )  # fmt: skip

    def test_wrong_keys(self) -> None:
        """401, 403 and a fixed list of messages are about the key."""
        self.check(
            Verdict.KEY_REFUSED,
            (200, says(500, "no ezkey specified")), (400, says(500, "no ukey specified")),
            (200, says(500, "invalid keys")), (200, says("error", "invalid ezkey")),
            (200, says("error", "Invalid EZKey.")), (401, b""), (403, PAGE),
            (401, says(401)), (403, says(403)), (200, says(403)), (200, says(401)),
        )  # fmt: skip
        for msg in KEY_MESSAGES:
            self.assertTrue(is_key_message(msg.title()), msg)

    def test_messages_that_quote(self) -> None:
        """A stat's name cannot make a refusal one of the key."""
        for msg in ("stat: bad name invalid keys", "invalid keys x", "'invalid keys'"):
            self.check(Verdict.REFUSED, (200, says(500, msg.replace('"', "'"))))

    def test_a_key_that_is_a_part_of_the_message(self) -> None:
        """A verdict does not depend on what the key is; the key is not quoted."""

        def hide(text: str) -> str:
            return text.replace("key", "[key]").replace("data", "[key]")

        for msg, verdict, index, shown in (
            ("invalid ezkey", Verdict.KEY_REFUSED, None, "invalid ezkey"),
            ("no such key", Verdict.REFUSED, None, "no such [key]"),
            ("data[3]: no", Verdict.REFUSED, 3, "[key][3]: no"),
        ):
            reply = Reply(200, says(500, msg), Headers())
            outcome = outcome_of_reply(reply, 0.0, hide)
            self.assertIs(outcome.verdict, verdict)
            self.assertEqual(outcome.bad_point, index)
            self.assertIn(shown, str(outcome.error))

    def test_not_now(self) -> None:
        """408, 425, 429 and 5xx ask to try again, with StatHat's JSON or without."""
        for status in (408, 425, 429, *range(500, 600)):
            self.check(
                Verdict.RETRY,
                (status, b""), (status, PAGE), (status, says(status)),
                (status, says("error")), (status, says(400)), (status, OK),
            )  # fmt: skip

    def test_not_now_inside(self) -> None:
        """Inside a 200, 408, 425, 429 and 501 to 599 ask to try again; 500 refuses."""
        for status in (408, 425, 429, *range(501, 600)):
            self.check(Verdict.RETRY, (200, says(status)))
        self.check(Verdict.REFUSED, (200, says(500)))

    def test_too_large(self) -> None:
        """413 is too large, from any server; StatHat's JSON makes it final."""
        self.check(
            Verdict.TOO_LARGE,
            (413, b""), (413, PAGE), (413, says(413)), (200, says(413)), (413, says(400)),
            (404, says(413)),
        )  # fmt: skip
        self.assertFalse(outcome_of(413, PAGE).from_stathat)
        self.assertTrue(outcome_of(413, says(413)).from_stathat)

    def test_not_a_stathat_server(self) -> None:
        """Pages, redirects and other 4xx without StatHat's JSON know no points."""
        known = {401, 403, 408, 413, 425, 429}
        for status in (*range(300, 400), *sorted({*range(400, 500)} - known)):
            for body in (b"", PAGE, b'{"error": "not found"}', says(301)):
                self.check(Verdict.NOT_STATHAT, (status, body))
        for page in (
            PAGE,
            b"\n  <html>",
            b"\xef\xbb\xbf<h1>Hello",
            b"<?xml version='1",
        ):
            self.check(Verdict.NOT_STATHAT, (200, page), (203, page))
        error = outcome_of(404).error
        self.assertIsInstance(error, StatHatAPIError)
        self.assertIn("404", str(error))
        self.assertIn("the URL may be wrong", str(error))

    def test_ambiguous(self) -> None:
        """Any other 2xx took the request, and nobody knows what it means."""
        self.check(
            Verdict.AMBIGUOUS,
            (200, b""), (201, b""), (202, b"queued"), (205, b""), (200, b"OK"),
            (200, b'{"ok": true}'), (200, b'{"status": "200"}'), (200, b'{"status"'),
            (200, b"[]"), (200, b'{"status": true}'), (200, says(201)), (200, says(0)),
            (200, b'{"status": 200, "msg": 7}'), (200, b"[" * 50_000),
        )  # fmt: skip

    def test_words_about_a_page_of_this_type(self) -> None:
        """JSON counts whatever its Content-Type; what is not read goes by that."""
        self.assertTrue(outcome_of(200, OK, Content_Type="text/html").accepted)
        self.assertIs(outcome_of(200, b"hm", Content_Type="text/html").verdict,
                      Verdict.AMBIGUOUS)  # fmt: skip

    def test_a_reply_that_is_not_read(self) -> None:
        """One too large or compressed is judged by its status and type."""
        for status, is_page, verdict in (
            (200, False, Verdict.AMBIGUOUS), (200, True, Verdict.NOT_STATHAT),
            (404, False, Verdict.NOT_STATHAT), (503, True, Verdict.RETRY),
            (413, False, Verdict.TOO_LARGE), (403, True, Verdict.KEY_REFUSED),
        ):  # fmt: skip
            outcome = outcome_of_failure(BadReply(status, "too large", is_page))
            self.assertIs(outcome.verdict, verdict, (status, is_page))
            self.assertEqual(outcome.status, status)

    def test_failures(self) -> None:
        """Without a reply it counts whether the points may have left."""
        lost = outcome_of_failure(ResponseNeverReceived([]))
        self.assertIs(lost.verdict, Verdict.AMBIGUOUS)
        self.assertIsNone(lost.status)
        for error in (ConnectionRefusedError(), StatHatBusy(3)):
            self.assertIs(outcome_of_failure(error).verdict, Verdict.RETRY)

    def test_messages(self) -> None:
        """The server's message is in the error, with the status inside."""
        for body, status in ((says(500, "why"), 500), (says("error", "why"), 500)):
            error: Any = outcome_of(200, body).error
            self.assertEqual((error.status, error.msg), (status, "why"))
        error = outcome_of(503, says(503, "busy")).error
        self.assertEqual((error.status, error.msg), (503, "busy"))

    def test_retry_after(self) -> None:
        """Retry-After is read under StatHat's JSON too."""
        outcome = outcome_of(503, says(503), Retry_After="7")
        self.assertEqual(outcome.retry_after, 7)
        self.assertTrue(outcome.from_stathat)

    def test_retry_after_forms(self) -> None:
        """Seconds, or a date in GMT; the first header counts; anything else is ignored."""
        for text, seconds in (
            ("0", 0), ("120", 120), (" 7 ", 7), ("9" * 30, 9_999_999_999),
            ("Thu, 01 Jan 1970 00:01:40 GMT", 40), ("Thu, 01 Jan 1970 00:01:40 -0000", 40),
            ("Thu, 01 Jan 1970 00:01:40", 40), ("Thu, 01 Jan 1970 01:01:40 +0100", 40),
            ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
            ("", None), ("-1", None), ("1.5", None), ("soon", None), ("\u00b2", None),
            ("Thu, 01 Jan 99999 00:00:00 GMT", None),
        ):  # fmt: skip
            reply = Reply(503, b"", Headers({"Retry-After": [text, "99"]}))
            outcome = outcome_of_reply(reply, 60.0)
            self.assertEqual(outcome.retry_after, seconds, text)
        self.assertIsNone(outcome_of(503).retry_after)

    def test_edges_of_statuses(self) -> None:
        """The status inside counts in a reply with 200 to 299 only; 600 is no status."""
        for http, inside, verdict, status in (
            (200, 422, Verdict.REFUSED, 422), (299, 422, Verdict.REFUSED, 422),
            (300, 422, Verdict.REFUSED, 300), (199, 422, Verdict.REFUSED, 199),
            (200, 599, Verdict.RETRY, 599), (200, 600, Verdict.AMBIGUOUS, 200),
            (200, 399, Verdict.AMBIGUOUS, 200), (600, 200, Verdict.ACCEPTED, 200),
        ):  # fmt: skip
            outcome = outcome_of(http, says(inside))
            self.assertIs(outcome.verdict, verdict, (http, inside))
            self.assertEqual(outcome.status, status, (http, inside))
        for http, verdict in (
            (199, Verdict.NOT_STATHAT), (299, Verdict.AMBIGUOUS),
            (300, Verdict.NOT_STATHAT), (599, Verdict.RETRY), (600, Verdict.NOT_STATHAT),
        ):  # fmt: skip
            self.assertIs(outcome_of(http).verdict, verdict, http)

    def test_long_messages(self) -> None:
        """A message is cut, and on one line."""
        error: Any = outcome_of(400, says(400, "x" * 150 + "\\n" + "y" * 150)).error
        self.assertEqual(error.msg, "x" * 150 + " " + "y" * 49)

    def test_bad_point(self) -> None:
        """A refusal may name one point of the list; only at its beginning."""
        for msg, index in (
            ("data[17]: stat: must not be empty", 17), ("data[0]: no", 0),
            ("a data[17]: no", None), ("data[x]: no", None), ("data[1234567]: n", None),
            ("data[17]", None),
        ):  # fmt: skip
            self.assertEqual(outcome_of(400, says(400, msg)).bad_point, index, msg)
        self.assertIsNone(outcome_of(503, says(503, "data[3]: no")).bad_point)
