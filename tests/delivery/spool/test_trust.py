"""
Spool folders that other accounts and other users can reach.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from tests.fixtures.delivery import AWAY, FULL, OK, MemoryServer, make_service, run
from tests.fixtures.drills import report
from tests.fixtures.spool_cases import CLIENT, STEM, FolderTestCase, batch
from tests.fixtures.support import logged
from txstathat import txStatHat, txStatHatClassic
from txstathat.client.stathat import Payload
from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.spool.file import SpoolFile
from txstathat.delivery.spool.locks import FileLock
from txstathat.delivery.spool.results import Adopted


class AccountTests(FolderTestCase):
    """
    Services of several accounts on one folder.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.server = MemoryServer(self.clock)
        common: dict[str, Any] = {"agent": self.server, "reactor": self.clock}
        elsewhere = {"url": "https://stats.example", **common}
        self.clients: dict[bytes, Any] = {
            b"ezkey=one": lambda: txStatHat("one", **common),
            b"ezkey=two": lambda: txStatHat("two", **common),
            b"ezkey=three": lambda: txStatHat("three", **elsewhere),
            b"ukey=one": lambda: txStatHatClassic("one", **common),
        }

    def leave(self, name: bytes, number: int) -> None:
        """Let a service leave a batch in the folder."""
        self.server.mood = lambda: AWAY
        service = make_service(
            self.clock, self.server, self.clients[name](), spool=self.path
        )
        service.startService()
        service.count(f"stat of {name.decode()}", number)
        stopped = service.stopService()
        run(self.clock, 6)
        self.successResultOf(stopped)

    def test_40_each_key_has_its_own(self) -> None:
        """What a service left is sent with its own key only, and nothing is lost."""
        rounds = 40 if FULL else 2
        for number in range(rounds):
            for name in self.clients:
                self.leave(name, number + 1)
        self.server.mood = lambda: OK
        for done, name in enumerate(self.clients, 1):
            self.server.bodies.clear()
            service = make_service(
                self.clock, self.server, self.clients[name](), spool=self.path
            )
            with logged() as log:
                service.startService()
                run(self.clock, 20 + 8 * rounds)
            self.assertEqual(service.health.recovered, rounds)
            self.assertEqual(service.health.delivered, rounds)
            others = (len(self.clients) - done) * rounds
            self.assertEqual(service.health.foreign_files, others)
            # Once, however often the folder is read.
            lines = [line for line in log.at_level("warn") if "account" in line]
            self.assertEqual(len(lines), 1 if others else 0)
            self.assertNotIn("one", "".join(lines))
            for body in self.server.bodies:
                self.assertIn(name, body)
            service.stopService()
            run(self.clock, 2)
        self.assertEqual(os.listdir(self.path), [])
        self.assertEqual(
            self.server.sums,
            {
                f"stat of {name.decode()}": rounds * (rounds + 1) // 2
                for name in self.clients
            },
        )
        report(
            40,
            f"{rounds} batches each of 4 accounts in one folder: delivered under a "
            "wrong key 0, lost 0",
        )

    def test_file_names(self) -> None:
        """A file's name holds no key, and differs for each file of an account."""
        stems = []
        for _ in range(2):
            folder = self.folder()
            folder.write([], [batch(1)], 1000)
            folder.close()
        stems = [name.split("-")[-1] for name in self.files()]
        self.assertEqual(len(set(stems)), 2)
        self.assertNotIn("canary", "".join(self.files()))

    def test_the_kinds_of_client(self) -> None:
        """Each of API, URL and key makes another account; a client's limits do not."""
        salt = b"salt"
        prints = [make().fingerprint(salt) for make in self.clients.values()]
        self.assertEqual(len(set(prints)), len(prints))
        self.assertNotEqual(CLIENT.fingerprint(b"a"), CLIENT.fingerprint(b"b"))
        again = txStatHat("canary-key", timeout=1)
        self.assertEqual(CLIENT.fingerprint(salt), again.fingerprint(salt))

    def test_files_without_an_owner(self) -> None:
        """A file with any other name is left alone."""
        os.mkdir(self.path, 0o700)
        for name in ("a.sqlite", "-.sqlite", "a-b-c.sqlite", "é-.sqlite", "x.lock"):
            Path(self.path, name).write_bytes(b"something")
        folder = self.folder()
        self.assertEqual(self.adopt(folder), Adopted(foreign_files=4))
        self.assertEqual(Path(self.path, "a.sqlite").read_bytes(), b"something")
        self.assertTrue(os.path.exists(os.path.join(self.path, "x.lock")))


class PlantedTests(FolderTestCase):
    """
    Files and folders that somebody else may have prepared.
    """

    def plant(self, *payloads: Payload, id: str = "0" * 32) -> None:
        """Leave a file with batches, as a process of this account would."""
        os.makedirs(self.path, 0o700, exist_ok=True)
        spool = SpoolFile(os.path.join(self.path, STEM + ".sqlite"))
        with spool.transaction():
            spool.add([SealedBatch(1, 1000.0, each, [1], id) for each in payloads])
        spool.close()

    def test_a_folder_that_others_may_write(self) -> None:
        """It is refused with words until its mode is right; nothing of it is sent."""
        clock = Clock()
        server = MemoryServer(clock)
        self.plant(Payload("/ez", "application/x-www-form-urlencoded", 1, b"stat=a"))
        for number, mode in enumerate((0o777, 0o770, 0o702, 0o1777), 1):
            os.chmod(self.path, mode)
            service = make_service(clock, server, spool=self.path)
            with logged() as log:
                service.startService()
                service.count("mine")
                run(clock, 6)
            words = f"mode is {mode:o}): run chmod 700 {self.path}"
            self.assertIn(words, service.health.spool_error or "")
            self.assertIn(words, "".join(log.at_level("warn")))
            self.assertEqual(service.health.recovered, 0)
            self.assertEqual(server.sums, {"mine": number})
            os.chmod(self.path, 0o700)
            run(clock, 3)
            self.assertIsNone(service.health.spool_error)
            service.stopService()
            run(clock, 6)

    def test_a_folder_that_changes(self) -> None:
        """It is checked again before anything is adopted."""
        folder = self.folder()
        folder.write([], [batch(1)], 1000)
        self.plant(Payload("/ez", "application/x-www-form-urlencoded", 1, b"stat=a"))
        os.chmod(self.path, 0o777)
        with self.assertRaises(PermissionError):
            self.adopt(folder)
        os.chmod(self.path, 0o700)
        self.assertEqual(self.adopt(folder).batches, 1)

    def test_34_requests_of_no_api(self) -> None:
        """Only requests of StatHat's API are read; all others count as damaged."""
        form, json = "application/x-www-form-urlencoded", "application/json"
        planted = [
            Payload(":18191/ez", form, 1, b"stat=a&count=1"),
            Payload("//evil.example/ez", form, 1, b"stat=a&count=1"),
            Payload("@evil.example/ez", form, 1, b"stat=a&count=1"),
            Payload("/ez?x=", form, 1, b"stat=a&count=1"),
            Payload("/export", json, 1, b"[]"),
            Payload("/ez", "text/html\r\nX-Evil: 1", 1, b"stat=a&count=1"),
        ]
        ids = ["", "x\r\nX-Evil: 1", "0" * 31, "0" * 32 + "-"]
        good = Payload("/ez", form, 1, b"stat=a&count=1&t=5")
        cases = [(each, "0" * 32) for each in planted] + [(good, id) for id in ids]
        for payload, id in [*cases, (good, "0" * 32)]:
            clock = Clock()
            server = MemoryServer(clock)
            self.plant(payload, id=id)
            service = make_service(clock, server, spool=self.path)
            service.startService()
            run(clock, 6)
            is_good = payload is good and id == "0" * 32
            self.assertEqual(len(server.bodies), int(is_good), (payload, id))
            self.assertEqual(service.health.damaged, int(not is_good))
            service.stopService()
            run(clock, 6)
            shutil.rmtree(self.path)

    def test_34_symbolic_links(self) -> None:
        """A link where a spool file or a lock is expected is not followed."""
        outside = os.path.join(self.place, "outside")
        spool = SpoolFile(outside)
        with spool.transaction():
            spool.add([batch(1)])
        spool.close()
        before = Path(outside).read_bytes()
        os.mkdir(self.path, 0o700)
        for extension in (".sqlite", ".lock"):
            link = os.path.join(self.path, STEM + extension)
            os.symlink(outside, link)
            folder = self.folder()
            self.assertEqual(self.adopt(folder), Adopted())
            folder.close()
            self.assertTrue(os.path.islink(link))
            os.unlink(link)
        os.symlink(outside, os.path.join(self.path, "link"))
        for opened in (FileLock.acquire, SpoolFile):
            with self.assertRaises(OSError):
                opened(os.path.join(self.path, "link"))
        with self.assertRaises(FileExistsError):
            SpoolFile(outside, exclusive=True)
        self.assertEqual(Path(outside).read_bytes(), before)
