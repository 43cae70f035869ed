"""
What the collector tells: StatHat's export API, /a1, /metrics and /healthz.
"""

from __future__ import annotations

import gc
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.archives import START, batch
from tests.fixtures.collectors import Collector
from tests.fixtures.stores import NOW
from txstathat import Count, Value
from txstathat.collector.api.stat_pages import NAMES_SECONDS
from txstathat.collector.archive.records.comments import Comment
from txstathat.collector.archive.stats import stat_id
from txstathat.errors import StoreUnavailable
from txstathat.points.timeframe import Timeframe


class ApiCase(SynchronousTestCase):
    """
    A collector with a counter and a value.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.here = Collector(self)
        self.get = self.here.get
        self.keep(Count("page views", 3, START - 3600), Count("page views", 4))
        self.keep(Value("load/é <b>", 1, START), Value("load/é <b>", 2))
        self.load, self.views = self.get("/statlist")

    def keep(self, *points: Any) -> None:
        """Have points kept."""
        self.successResultOf(self.here.parts.archive.add(batch(*points)))

    def refused(self, status: int, words: str, path: str, method: str = "GET") -> None:
        """A request below /x/TOKEN is refused."""
        code, answer = self.here.ask(method, f"/x/{self.here.token}{path}")
        self.assertEqual((code, answer["status"]), (status, status), answer)
        self.assertIn(words, answer["msg"])


class ExportTests(ApiCase):
    """
    ``/x/TOKEN``.
    """

    def test_list(self) -> None:
        """All stats, by name, each with all fields that strict clients need."""
        self.assertEqual(
            self.views,
            {
                "id": self.views["id"],
                "name": "page views",
                "public": False,
                "counter": True,
                "classic_key": "",
                "embed_key": "",
                "unit": "",
                "data_received_at": int(NOW),
                "created_at": int(NOW),
            },
        )
        self.assertEqual(
            (self.load["name"], self.load["counter"]), ("load/é <b>", False)
        )
        self.assertGreaterEqual(len(self.views["id"]), 6)

    def test_pages(self) -> None:
        """A list goes on where its offset says, until a short page."""
        self.here.parts.export.pages.page_size = 2
        self.keep(Count("z"))
        names = [
            [stat["name"] for stat in self.get(f"/statlist?offset={offset}")]
            for offset in (0, 2, 3, 99)
        ]
        self.assertEqual(names, [["load/é <b>", "page views"], ["z"], [], []])
        for wrong in ("-1", "x", "1e9", "9" * 5000):
            self.refused(400, "offset", f"/statlist?offset={wrong}")

    def test_pages_that_follow(self) -> None:
        """
        The pages of a list are of one moment for a minute. They are full, also if stats
        are deleted meanwhile, since a short page would be the last.
        """
        self.here.parts.export.pages.page_size = 2

        def page(offset: int) -> list[str]:
            return [stat["name"] for stat in self.get(f"/statlist?offset={offset}")]

        self.keep(*(Count(f"z{n}") for n in range(5)))
        self.assertEqual(page(0), ["load/é <b>", "page views"])
        self.here.now(self.here.parts.archive.delete(stat_id("z0")))
        self.keep(Count("a"))
        self.assertEqual(page(2), ["z1", "z2"])
        self.clock.advance(NAMES_SECONDS)
        self.assertEqual(page(2), ["page views", "z1"])
        self.assertEqual(page(0), ["a", "load/é <b>"])
        self.assertEqual(page(4), ["z2", "z3"])
        self.assertEqual(page(6), ["z4"])

    def test_names_are_released(self) -> None:
        """The names of a list that nobody reads to its end are held for a minute."""
        self.here.parts.export.pages.page_size = 2
        self.keep(*(Count(f"z{n}") for n in range(5)))
        names = sorted(self.here.totals)

        def held() -> int:
            gc.collect()
            return sum(type(one) is list and one == names for one in gc.get_objects())

        before = held()
        self.get("/statlist")
        self.assertEqual(held(), before + 1)
        self.clock.advance(NAMES_SECONDS)
        self.assertEqual(held(), before)
        for offset in range(0, 7, 2):
            self.get(f"/statlist?offset={offset}")
        self.assertEqual(held(), before)

    def test_latest(self) -> None:
        """A list has the newest points and their numbers, if these are requested."""
        load, views = self.get("/statlist?latest=1")
        self.assertEqual({**self.load, **load}, load)
        self.assertEqual(views["latest"]["time"] % 60, 0)
        self.assertEqual(self.get("/statlist?latest=0"), [self.load, self.views])
        self.refused(400, "latest", "/statlist?latest=2")

    def test_stat(self) -> None:
        """One stat by its name."""
        self.assertEqual(self.get("/stat?name=page+views"), self.views)
        self.assertEqual(self.get("/stat?name=load%2F%C3%A9%20%3Cb%3E"), self.load)
        self.refused(404, "no stat", "/stat?name=other")
        self.assertEqual(self.get("/stat/?name=page+views"), self.views)
        for wrong in ("", "?name=%ff", "?name=a&name=b"):
            self.refused(400, "name", f"/stat{wrong}")

    def test_data(self) -> None:
        """Points of several stats, in the order asked; steps begin at whole hours."""
        hour = START // 3600 * 3600
        data = self.get(f"/data/{self.views['id']}/{self.load['id']}?t=3h1h")
        self.assertEqual(
            data,
            [
                {
                    "name": "page views",
                    "timeframe": "3 hours @ 1 hour",
                    "points": [
                        {"time": hour - 7200, "value": 0},
                        {"time": hour - 3600, "value": 3},
                        {"time": hour, "value": 4},
                    ],
                },
                {
                    "name": "load/é <b>",
                    "timeframe": "3 hours @ 1 hour",
                    "points": [{"time": hour, "value": 1.5}],
                },
            ],
        )

    def test_without_a_timeframe(self) -> None:
        """It is 1w3h then, with a slash at the end or without; jQuery's _ is nothing."""
        id = self.views["id"]
        week = self.get(f"/data/{id}?t=1w3h")
        self.assertEqual(week[0]["timeframe"], "1 week @ 3 hours")
        for path in (f"/data/{id}", f"/data/{id}/", f"/data/{id}/?_=1400"):
            self.assertEqual(self.get(path), week)

    def test_a_third_part(self) -> None:
        """Of a timeframe with three parts the first two are served."""
        id = self.views["id"]
        self.assertEqual(
            self.get(f"/data/{id}?t=1d15m1w"), self.get(f"/data/{id}?t=1d15m")
        )

    def test_start(self) -> None:
        """With start= the points begin there instead of ending now."""
        self.keep(Count("page views", 9, START - 86_400 * 3))
        begin = START // 3600 * 3600 - 86_400 * 3
        path = f"/data/{self.views['id']}?t=4h1h&start={begin - 3600}"
        (told,) = self.get(path)
        self.assertEqual(told["timeframe"], "4 hours @ 1 hour")
        self.assertEqual(
            [(point["time"], point["value"]) for point in told["points"]],
            [
                (begin + 3600 * n, value)
                for n, value in ((-1, 0), (0, 9), (1, 0), (2, 0))
            ],
        )
        # A start amid a step begins with that step; and nothing is in the future.
        (told,) = self.get(f"/data/{self.views['id']}?t=1d1h&start={START - 3600}")
        self.assertEqual([point["value"] for point in told["points"]], [3, 4])
        # Without t it is 1w3h from there on.
        (told,) = self.get(f"/data/{self.views['id']}?start={begin - 7 * 86_400}")
        self.assertEqual(len(told["points"]), 56)

    def test_summary(self) -> None:
        """summary=7d is one point a day for a week, also from a start."""
        self.keep(Count("page views", 9, START - 86_400 * 9))
        id = self.views["id"]
        (told,) = self.get(f"/data/{id}?summary=7d")
        self.assertEqual(told["timeframe"], "7 days @ 1 day")
        self.assertEqual([point["value"] for point in told["points"]], [0] * 6 + [7])
        (told,) = self.get(f"/data/{id}?summary=3d&start={START - 86_400 * 10}")
        self.assertEqual([point["value"] for point in told["points"]], [0, 9, 0])
        self.assertEqual(len(self.get(f"/data/{id}?summary=2M")[0]["points"]), 61)

    @settings(max_examples=150, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["t", "start", "summary"]) | st.text(max_size=5),
            st.sampled_from(["1w3h", "1d1h1w", "7d", "1h", str(START - 9000), "0"])
            | st.text(max_size=12),
            max_size=3,
        )
    )
    def test_any_query(self, fields: dict[str, str]) -> None:
        """A query is a 400, or its answer is about all of it."""
        fields.pop("_", None)
        query = urlencode(fields, errors="surrogatepass")
        path = f"/x/{self.here.token}/data/{self.views['id']}?{query}"
        code, told = self.here.ask("GET", path)
        if code != 200:
            self.assertEqual((code, told["status"]), (400, 400), query)
            return
        self.assertLessEqual(fields.keys(), {"t", "start", "summary"})
        timeframe = Timeframe.parse(
            f"{fields['summary']}1d" if "summary" in fields else fields.get("t", "1w3h")
        )
        self.assertEqual(told[0]["timeframe"], timeframe.title)
        times = [point["time"] for point in told[0]["points"]]
        if "start" in fields:
            start = int(fields["start"])
            edges = timeframe.edges_from(start, int(NOW))
        else:
            edges = timeframe.edges(int(NOW))
        self.assertEqual(times, edges[:-1])

    def test_sums_that_no_json_can_tell(self) -> None:
        """A step's sum beyond the largest float is a 400 with words, not Infinity."""
        for ago, amount in ((70, -1.7e308), (14, 1.7e308), (11, 1.7e308)):
            self.keep(Count("big", amount, START - 86_400 * ago))
        id = self.get("/stat?name=big")["id"]
        self.assertEqual(len(self.get(f"/data/{id}?t=3w1d")[0]["points"]), 21)
        self.refused(400, "beyond the largest float", f"/data/{id}?t=3w1w")

    def test_much_data_is_told_in_parts(self) -> None:
        """So that no answer, however large, holds up all else while it is written."""
        here = Collector(self, retention={"minute": 10 * 86_400.0})
        names = ["v", "w", "x", "y", "z"]
        self.successResultOf(here.parts.archive.add(batch(*map(Count, names))))
        path = f"/data/{'/'.join(map(stat_id, names))}?t=3d1m"
        asked = here.begin("GET", f"/x/{here.token}{path}")
        self.assertNoResult(asked)
        self.clock.advance(0)
        here.agent.flush()
        answer = self.successResultOf(self.successResultOf(asked).json())
        self.assertEqual([one["name"] for one in answer], names)
        self.assertEqual(len(answer[0]["points"]), 3 * 1440)

    def test_data_that_is_not_there(self) -> None:
        """No ids, unknown ids, bad timeframes: words."""
        id = self.views["id"]
        for status, words, path in (
            (400, "name 1 to 5 ids", "/data?t=1w3h"),
            (400, "name 1 to 5 ids", "/data/?t=1w3h"),
            (400, "name 1 to 5 ids", "/data" + f"/{id}" * 6 + "?t=1w3h"),
            (404, "no stat with the id 'nonsense'", "/data/nonsense?t=1w3h"),
            (400, "'t' is given twice", f"/data/{id}?t=1w3h&t=1w3h"),
            (400, "must be a duration", f"/data/{id}?t=1w"),
            (400, "must be a duration", f"/data/{id}?t="),
            (400, "give one of them, not both", f"/data/{id}?t=1w3h&summary=7d"),
            (400, "must be a number and one of", f"/data/{id}?summary=7d1d"),
            (400, "must be a number and one of", f"/data/{id}?summary=week"),
            (400, "start: must be a whole number", f"/data/{id}?t=1w3h&start=today"),
            (400, "start: must be a whole number", f"/data/{id}?start=-1"),
            (400, "start: must be a whole number", f"/data/{id}?start="),
            (400, "start: must be below", f"/data/{id}?start=1400000000000"),
            (400, "is in the future", f"/data/{id}?start={int(NOW) + 1}"),
            (400, "hours are stored for 35 days", f"/data/{id}?t=1w3h&start=9"),
            (400, "'end' is not known here", f"/data/{id}?t=1w3h&end=5"),
            (400, "fields are t, start, summary", f"/data/{id}?T=1w3h"),
            (400, "'limit' is not known here", "/statlist?limit=5"),
            (400, "no field is", "/alerts?stat=5"),
            (404, "read /statlist", "/statlist/5"),
            (404, "read /stat?name=", "/stat/5?name=a"),
            (400, "at most 10,000", f"/data/{id}?t=1y1m"),
            (400, "minutes are stored for 26 hours", f"/data/{id}?t=2d1m"),
            (404, "after the token comes", "/nonsense"),
            (404, "after the token comes", ""),
        ):
            self.refused(status, words, path)
        self.refused(405, "use GET", f"/data/{id}?t=1w3h", "POST")

    def test_delete(self) -> None:
        """A stat is deleted by its id, and its name is free for 48 hours' regret."""
        path = f"/x/{self.here.token}/stats/{self.views['id']}"
        self.assertEqual(self.here.ask("DELETE", path), (200, {"msg": "stat deleted."}))
        self.assertEqual(self.get("/statlist"), [self.load])
        self.refused(404, "no stat", f"/stats/{self.views['id']}", "DELETE")
        self.refused(404, "delete /stats/ID", "/stats", "DELETE")

    def test_only_with_a_token(self) -> None:
        """Neither an EZ key nor a user key reads; and answers are not stored."""
        for wrong in (self.here.ez, self.here.user, "", "x"):
            code, answer = self.here.ask("GET", f"/x/{wrong}/statlist")
            self.assertEqual(code, 403)
            self.assertNotIn(self.here.ez, answer["msg"])
        response = self.successResultOf(
            self.here.begin("GET", f"/x/{self.here.token}/statlist")
        )
        headers = response.headers
        self.assertEqual(headers.getRawHeaders("cache-control"), ["no-store"])
        self.assertEqual(headers.getRawHeaders("referrer-policy"), ["no-referrer"])

    def test_a_store_that_is_away(self) -> None:
        """503 with words."""
        self.here.store.definitions = lambda names=None: fail(StoreUnavailable("x"))
        self.refused(503, "try again", "/statlist")
        self.assertEqual(self.here.ask("GET", "/healthz")[0], 503)


class CommandLineTests(ApiCase):
    """
    ``/a1``, and what else takes a token in a header.
    """

    def basic(self, name: str) -> str:
        """An Authorization header."""
        return "Basic " + b64encode(f"{name}:".encode()).decode()

    def a1(self, path: str, method: str = "GET") -> Any:
        """What is below /a1."""
        code, answer = self.here.ask(
            method, f"/a1{path}", Authorization=self.basic(self.here.token)
        )
        self.assertEqual(code, 200, answer)
        return answer

    def test_stats(self) -> None:
        """The list, with when stats were made and last received."""
        now = int(NOW)
        self.clock.advance(100)
        self.keep(Count("page views", 1))
        load, views = self.a1("/stats")
        self.assertEqual(load, self.load)
        self.assertEqual(views, {**self.views, "data_received_at": now + 100})
        self.assertEqual(views["created_at"], now)
        self.assertEqual(self.a1("/stats/"), [load, views])
        self.here.parts.command_line.pages.max_listed = 1
        refused = self.here.ask(
            "GET", "/a1/stats", Authorization=self.basic(self.here.token)
        )
        self.assertEqual(refused[0], 400)
        self.assertIn("there are 2 stats, and this lists 1 at most", refused[1]["msg"])

    def test_dataset(self) -> None:
        """
        A dataset has every step, and says how many receipts each value stands for: 0 of
        value 0 where nothing was received.
        """
        hour = START // 3600 * 3600
        for end in ("dataset?t=2h1h", "dataset/?t=2h1h1w", "dataset_full?t=2h1h"):
            told = self.a1(f"/stats/{self.load['id']}/{end}")
            self.assertEqual(
                told,
                {
                    "Name": "load/é <b>",
                    "Timeframe": "2h1h",
                    "Kind": "value",
                    "Points": [
                        {"Time": hour - 3600, "Value": 0, "Rcount": 0},
                        {"Time": hour, "Value": 1.5, "Rcount": 2},
                    ],
                },
            )
        told = self.a1(f"/stats/{self.views['id']}/dataset?t=3h1h")
        self.assertEqual(told["Kind"], "count")
        self.assertEqual([p["Rcount"] for p in told["Points"]], [0, 1, 1])
        told = self.a1(f"/stats/{self.views['id']}/dataset")
        self.assertEqual((told["Timeframe"], len(told["Points"])), ("1w3h", 56))

    def all_time(self, name: str) -> Any:
        """The dataset of a stat for all time."""
        id = self.get(f"/stat?name={name}")["id"]
        told = self.a1(f"/stats/{id}/dataset_full")
        self.assertLessEqual(len(told["Points"]), 10_000)
        return told

    def test_all_time(self) -> None:
        """
        Without t a full dataset is for all time, in the finest steps of which all is
        stored: minutes for a stat of today, days for one of last year, then months.
        """
        day = 86_400
        for name, ago, timeframe in (
            ("minutes", 3600, "61m1m"),
            ("hours", 20 * day, "481h1h"),
            ("days", 300 * day, "301d1d"),
            ("months", 800 * day, "27M1M"),
        ):
            self.keep(Count(name, 5, START - ago), Count(name, 1, START))
            told = self.all_time(name)
            self.assertEqual(told["Timeframe"], timeframe)
            values = [point["Value"] for point in told["Points"]]
            self.assertEqual((values[0], sum(values)), (5, 6))
            self.assertEqual(told["Points"][0]["Rcount"], 1)

    def test_all_time_of_nothing(self) -> None:
        """A stat that has no data has one step without any."""
        self.here.now(self.here.parts.archive.create("new", "value"))
        told = self.all_time("new")
        self.assertEqual(
            told["Points"],
            [{"Time": int(NOW) // 60 * 60, "Value": 0, "Rcount": 0}],
        )

    def test_delete(self) -> None:
        """DELETE answers with JSON."""
        self.a1(f"/stats/{self.load['id']}", "DELETE")
        self.assertEqual(self.get("/statlist"), [self.views])

    def test_only_with_a_token(self) -> None:
        """Without a header, or with another's key, nothing is told."""
        for path in ("/a1/stats", "/metrics"):
            for status, headers in (
                (401, {}),
                (401, {"Authorization": "Basic \xff"}),
                (401, {"Authorization": "Digest x"}),
                (401, {"Authorization": "Basic " + b64encode(b"\xff").decode()}),
                (403, {"Authorization": self.basic(self.here.ez)}),
                (403, {"Authorization": f"Bearer {self.here.user}"}),
            ):
                code, _ = self.here.ask("GET", path, **headers)
                self.assertEqual(code, status, headers)
        self.assertEqual(self.here.ask("GET", "/a1/nonsense")[0], 404)

    def comment(self, body: bytes, **headers: str) -> Any:
        """Post a comment."""
        headers = {
            "Content_Type": "application/x-www-form-urlencoded",
            "Authorization": self.basic(self.here.token),
            **headers,
        }
        return self.here.ask("POST", "/a1/comments", body, **headers)

    def test_comments(self) -> None:
        """A comment is stored with its time and stat, for charts to read."""
        archive = self.here.parts.archive
        load, views = self.here.now(archive.stats())
        form = f"id={load.id}&text=new+release+%C3%A9".encode()
        self.assertEqual(
            self.comment(form), (200, {"Message": "comment added to load/é <b>"})
        )
        self.clock.advance(60)
        self.comment(f"id={load.id}&text=second".encode())
        now = int(NOW)
        self.assertEqual(
            self.here.now(archive.comments([load, views])),
            {
                load.name: [
                    Comment(now, "new release é"),
                    Comment(now + 60, "second"),
                ],
                views.name: [],
            },
        )
        self.assertEqual(
            self.here.now(archive.comments([load], since=now + 1)),
            {load.name: [Comment(now + 60, "second")]},
        )

    def test_comments_on_no_stat(self) -> None:
        """Without an id a comment is on no stat. Comments are listed and deleted."""
        basic = {"Authorization": self.basic(self.here.token)}
        code, answer = self.comment(b"text=deployed")
        self.assertEqual(
            (code, answer), (200, {"Message": "comment added to all stats"})
        )
        self.comment(f"id={self.load['id']}&text=slow".encode())
        of_load = f"?id={self.load['id']}"
        for query, text in (("", "deployed"), (of_load, "slow")):
            code, found = self.here.ask("GET", f"/a1/comments{query}", **basic)
            (one,) = found
            self.assertEqual((code, one["time"], one["text"]), (200, int(NOW), text))
            path = f"/a1/comments/{one['id']}{query}"
            other = f"/a1/comments/{one['id']}" + ("" if query else of_load)
            self.assertEqual(self.here.ask("DELETE", other, **basic)[0], 404)
            self.assertEqual(self.here.ask("DELETE", path)[0], 401)
            self.assertEqual(self.here.ask("DELETE", path, **basic)[0], 200)
            self.assertEqual(self.here.ask("DELETE", path, **basic)[0], 404)
            code, found = self.here.ask("GET", f"/a1/comments{query}", **basic)
            self.assertEqual((code, found), (200, []))

    def test_comments_that_cannot_be(self) -> None:
        """They are refused, with words; who has no token is told nothing."""
        id = self.load["id"]
        for status, words, form in (
            (404, "no stat with the id 'x'", "id=x&text=a"),
            (400, "text: is missing", f"id={id}"),
            (400, "text: must not be empty", f"id={id}&text="),
            (400, "at most 500 are allowed", f"id={id}&text={'x' * 501}"),
            (400, "control characters", f"id={id}&text=a%0Ab"),
            (400, "'text' is not UTF-8", f"id={id}&text=%ff"),
            (400, "'text' is given twice", f"id={id}&text=a&text=b"),
            (400, "'t' is not known here", f"id={id}&text=a&t=5"),
        ):
            code, told = self.comment(form.encode())
            self.assertEqual((code, told["status"]), (status, status), form)
            self.assertIn(words, told["msg"])
        good = f"id={id}&text={'x' * 500}".encode()
        self.assertEqual(self.comment(good, Authorization="")[0], 401)
        code, told = self.comment(good, Sec_Fetch_Site="cross-site")
        self.assertEqual(code, 403)
        self.assertEqual(self.comment(good)[0], 200)

    def test_pages_of_other_sites(self) -> None:
        """A browser that knows the user name changes nothing for another site's page."""
        path = f"/a1/stats/{self.load['id']}"
        basic = {"Authorization": self.basic(self.here.token)}
        for headers in (
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://[evil"},
        ):
            for method, where in (("DELETE", path), ("POST", "/a1/alerts")):
                code, told = self.here.ask(method, where, **basic, **headers)
                self.assertEqual(code, 403, headers)
                self.assertIn("another site", told["msg"])
        bearer = {"Authorization": f"Bearer {self.here.token}"}
        for headers in (
            {**basic},
            {**basic, "Sec_Fetch_Site": "same-origin"},
            {**basic, "Origin": "http://localhost"},
            {**bearer, "Sec_Fetch_Site": "cross-site"},
        ):
            # Let in; what it then says is that there are no fields.
            self.assertEqual(self.here.ask("POST", "/a1/alerts", **headers)[0], 400)
        self.assertEqual(len(self.get("/statlist")), 2)

    def test_metrics(self) -> None:
        """What came in is told to Prometheus's own parser."""
        form = {"ezkey": self.here.ez, "stat": "a", "count": "1"}
        self.here.ask("POST", "/ez", form)
        self.here.ask("POST", "/ez", {**form, "count": "x"})
        self.here.ask("POST", "/ez", {**form, "ezkey": "x"})
        response = self.successResultOf(
            self.here.begin(
                "GET", "/metrics", Authorization=f"Bearer {self.here.token}"
            )
        )
        text = self.successResultOf(response.text())
        told = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        for value, *name in (
            (1, "txstathat_points_total"),
            (1, "txstathat_refusals_total", "400"),
            (1, "txstathat_refusals_total", "403"),
            (1, "txstathat_wrong_keys_total"),
            (1, "txstathat_keep_seconds_count"),
            (1, "txstathat_keep_seconds_bucket", "+Inf"),
            (0, "txstathat_waiting"),
        ):
            self.assertEqual(told[tuple(name)], value, name)
        self.assertNotIn("page views", text)

    def test_healthz(self) -> None:
        """Anybody may ask whether all is well."""
        self.assertEqual(
            self.here.ask("GET", "/healthz"), (200, {"status": 200, "msg": "ok"})
        )
