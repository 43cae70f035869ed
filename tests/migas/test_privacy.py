"""
The settings of the user, the user id file, the collected fields, and redaction.
"""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.support import logged
from txstathat.migas import MigasClient
from txstathat.migas.collected import CI_VARIABLES, COLLECTED, in_ci, in_container
from txstathat.migas.settings import DEFAULT_TIMEOUT, Settings
from txstathat.migas.userid import clear_user_id, load_user_id, user_id_path
from txstathat.migas.wire.redaction import (
    MAX_RAW_TEXT,
    REDACTED,
    describe_error,
    one_line,
    redact,
)

#: Any but white space, and often those that separate the parts of URLs and texts.
CHARACTERS = st.characters(exclude_categories=["Z", "C"]) | st.sampled_from(
    ":/@'\"`<>()[]{},;=&?"
)


class SettingsTests(SynchronousTestCase):
    """
    The environment variables, read at each use.
    """

    def test_opting_out(self) -> None:
        """MIGAS_OPTOUT opts out with any value, DO_NOT_TRACK unless it is empty or 0."""
        for environ, out in [
            ({}, False),
            ({"MIGAS_OPTOUT": "1"}, True),
            ({"MIGAS_OPTOUT": "0"}, True),
            ({"MIGAS_OPTOUT": ""}, True),
            ({"DO_NOT_TRACK": "1"}, True),
            ({"DO_NOT_TRACK": "yes"}, True),
            ({"DO_NOT_TRACK": "0"}, False),
            ({"DO_NOT_TRACK": ""}, False),
        ]:
            self.assertIs(Settings(environ).opted_out, out, environ)

    def test_read_when_used(self) -> None:
        """A change of the environment has an immediate effect."""
        environ: dict[str, str] = {}
        settings_ = Settings(environ)
        self.assertEqual(settings_.timeout, DEFAULT_TIMEOUT)
        environ["MIGAS_TIMEOUT"] = "0.25"
        environ["MIGAS_OPTOUT"] = "x"
        self.assertEqual(settings_.timeout, 0.25)
        self.assertIs(settings_.opted_out, True)

    def test_bad_timeout(self) -> None:
        """A bad time limit is logged once, and the default used."""
        for text in ("soon", "-1", "nan", "inf", "1e9"):
            settings_ = Settings({"MIGAS_TIMEOUT": text})
            with logged() as log:
                for _ in range(3):
                    self.assertEqual(settings_.timeout, DEFAULT_TIMEOUT)
            self.assertEqual(
                log.at_level("warn"),
                [
                    f"MIGAS_TIMEOUT is {text!r}, which is not a number of seconds "
                    "from 0 to 3600; the default is used"
                ],
            )

    def test_log_level(self) -> None:
        """The log level is a name of the logging module, in upper or lower case."""
        for text, levels in [
            ("", ["warn"]),
            ("debug", ["debug", "info", "warn"]),
            ("INFO", ["info", "warn"]),
            ("CRITICAL", []),
        ]:
            settings_ = Settings({"MIGAS_LOG_LEVEL": text})
            with logged() as log:
                settings_.debug("d")
                settings_.info("i")
                settings_.warn("w")
            self.assertEqual([e["log_level"].name for e in log.events], levels)

    def test_bad_log_level(self) -> None:
        """A bad log level is logged once, and the default used."""
        settings_ = Settings({"MIGAS_LOG_LEVEL": "LOUD"})
        with logged() as log:
            settings_.info("i")
            settings_.warn("w")
        warnings = log.at_level("warn")
        self.assertEqual(len(warnings), 2)
        self.assertIn("MIGAS_LOG_LEVEL is 'LOUD'", warnings[0])

    def test_failures_are_not_shown(self) -> None:
        """By default, users do not see failures of telemetry."""
        client = MigasClient(environ={"MIGAS_TIMEOUT": "0"}, user_id=str(uuid.uuid4()))
        with logged() as log:
            self.successResultOf(client.add_breadcrumb("a/b", "1"))
        self.assertEqual(log.events, [])


class UserIdTests(SynchronousTestCase):
    """
    The user id file.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.settings = Settings({"XDG_CONFIG_HOME": str(self.folder), "HOME": "/x"})
        self.path = self.folder / "migas" / "user_id"

    def test_place(self) -> None:
        """The file is in the XDG config folder, by default ~/.config."""
        for environ, path in [
            ({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/c/migas/user_id"),
            ({"HOME": "/h"}, "/h/.config/migas/user_id"),
            ({"XDG_CONFIG_HOME": "c", "HOME": "/h"}, "/h/.config/migas/user_id"),
            ({"HOME": "nowhere"}, None),
        ]:
            self.assertEqual(user_id_path(Settings(environ)), path)

    def test_made_and_kept(self) -> None:
        """The first id is random, stored in a file of mode 0600, and read later."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        made = load_user_id(self.settings)
        self.assertEqual(uuid.UUID(made).version, 4)
        self.assertEqual(self.path.read_text(), made)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)
        self.assertEqual(load_user_id(self.settings), made)
        self.assertEqual(os.listdir(self.path.parent), ["user_id"])

    def test_written_by_others(self) -> None:
        """An id that another client wrote is used in its usual form."""
        self.path.parent.mkdir()
        self.path.write_text("{6D8F6D6B-3F0D-3C43-9D3E-0A7B8A1D1A11}\n")
        self.assertEqual(
            load_user_id(self.settings), "6d8f6d6b-3f0d-3c43-9d3e-0a7b8a1d1a11"
        )

    def test_ignored(self) -> None:
        """A file without a UUID is not changed, and a temporary id is made."""
        self.path.parent.mkdir()
        for content in (b"", b"me", b"\xff" * 36, b"0" * 5000):
            self.path.write_bytes(content)
            uuid.UUID(load_user_id(self.settings))
            self.assertEqual(self.path.read_bytes(), content)

    def test_symbolic_link(self) -> None:
        """A link is neither read nor written through, dangling or not."""
        self.path.parent.mkdir()
        target = self.folder / "target"
        self.path.symlink_to(target)
        uuid.UUID(load_user_id(self.settings))
        self.assertFalse(target.exists())
        target.write_text(str(uuid.uuid4()))
        self.assertNotEqual(load_user_id(self.settings), target.read_text())
        self.assertTrue(clear_user_id(self.settings))
        self.assertTrue(target.exists())

    def test_not_a_file(self) -> None:
        """A pipe or a folder at the path does not block the program."""
        self.path.parent.mkdir()
        os.mkfifo(self.path)
        uuid.UUID(load_user_id(self.settings))
        self.path.unlink()
        self.path.mkdir()
        uuid.UUID(load_user_id(self.settings))
        self.assertFalse(clear_user_id(self.settings))

    def test_no_place(self) -> None:
        """If no file can be made, the id is temporary."""
        (self.folder / "migas").write_text("in the way")
        client = MigasClient(environ=self.settings.environ)
        first, second = io.StringIO(), io.StringIO()
        client.print_config(first)
        client.print_config(second)
        self.assertEqual(first.getvalue(), second.getvalue())

    def test_race(self) -> None:
        """Many processes that make the first id at once get the same id."""
        code = (
            "from txstathat.migas.settings import Settings;"
            "from txstathat.migas.userid import load_user_id;"
            "input(); print(load_user_id(Settings()))"
        )
        children = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"XDG_CONFIG_HOME": str(self.folder), "PYTHONPATH": str(ROOT)},
            )
            for _ in range(4)
        ]
        ids = {child.communicate(b"\n", timeout=60)[0] for child in children}
        self.assertEqual(ids, {self.path.read_bytes() + b"\n"})

    def test_forgotten(self) -> None:
        """clear_user_id removes the file, and the next id is a new one."""
        client = MigasClient(environ=self.settings.environ)
        self.assertIs(client.clear_user_id(), False)
        client.print_config(io.StringIO())
        first = self.path.read_text()
        self.assertIs(client.clear_user_id(), True)
        self.assertFalse(self.path.exists())
        client.print_config(io.StringIO())
        self.assertNotEqual(self.path.read_text(), first)


class CollectedTests(SynchronousTestCase):
    """
    The collected fields, and where they are documented.
    """

    def test_container(self) -> None:
        """Docker and Apptainer have marker files in the root folder."""
        for mark, kind in [
            (".dockerenv", "docker"),
            ("singularity", "apptainer"),
            (".singularity.d", "apptainer"),
            ("etc", "unknown"),
        ]:
            root = Path(self.mktemp())
            (root / mark).mkdir(parents=True)
            self.assertEqual(in_container(str(root)), kind)

    def test_ci(self) -> None:
        """The usual variables show CI, and so does what ci-info knows."""
        self.assertIs(in_ci({}), False)
        self.assertIs(in_ci({"CI": "false"}), False)
        for name in CI_VARIABLES:
            self.assertIs(in_ci({name: "true"}), True)
        self.assertIs(in_ci({"GITLAB_CI": "1"}), True)

    def test_ci_without_ci_info(self) -> None:
        """Without ci-info the usual variables still show CI."""
        code = (
            "import sys; sys.modules['ci_info'] = None;"
            "from txstathat.migas.collected import in_ci;"
            "print(in_ci({}), in_ci({'CI': '1'}), in_ci({'GITLAB_CI': '1'}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True
        )
        self.assertEqual(done.stdout, "False True False\n", done.stderr)

    def test_printed(self) -> None:
        """print_config shows every field with its value and its purpose."""
        user = str(uuid.uuid4())
        file = io.StringIO()
        client = MigasClient("http://a.example", user_id=user, environ={"HOME": "/x"})
        client.print_config(file)
        text = file.getvalue()
        self.assertIn("endpoint: http://a.example\n", text)
        self.assertIn(f"user_id: {user} - ", text)
        self.assertIn(f"platform: {sys.platform} - ", text)
        for field in COLLECTED:
            self.assertRegex(text, f"(?m)^{field.name}: .+ - {field.why}$")

    def test_printed_when_opted_out(self) -> None:
        """After opting out, print_config says that nothing is collected."""
        file = io.StringIO()
        MigasClient(environ={"MIGAS_OPTOUT": "1"}).print_config(file)
        self.assertIn("telemetry is disabled", file.getvalue())
        self.assertNotIn("user_id", file.getvalue())

    def test_documented(self) -> None:
        """The privacy page describes every field in the same words."""
        page = " ".join((ROOT / "docs" / "migas-privacy.rst").read_text().split())
        for field in COLLECTED:
            self.assertIn(f"``{field.name}``", page)
            self.assertIn(field.why, page)


class RedactionTests(SynchronousTestCase):
    """
    Texts without file paths.
    """

    def test_paths(self) -> None:
        """All kinds of paths are redacted, and nothing around them."""
        gone = REDACTED
        for text, expected in [
            ("no path here", "no path here"),
            ("can't open /home/jane/x.py, sorry", f"can't open {gone}, sorry"),
            ("in '/home/Jane Doe/x y.py' line 3", f"in '{gone}' line 3"),
            ("can't open '/home/Mary Jane/x'", f"can't open '{gone}'"),
            ('File "C:\\Users\\Jane Doe\\x"', f'File "{gone}"'),
            ("C:\\Users\\jane failed", f"{gone} failed"),
            ("\\\\host\\share\\x", gone),
            ("see ~/secret/x and ./y/z", f"see {gone} and {gone}"),
            ("data/patient-7.nii is bad", f"{gone} is bad"),
            ("path=/a/b;mode=r", f"path={gone};mode=r"),
            ("https://user:pw@host/x?key=1", f"https:{gone}"),
            ("file:///home/jane", f"file:{gone}"),
            ("open(/etc/passwd", f"open({gone}"),
            ("step 3/4. done", "step 3/4. done"),
            ("this / that \\ those", "this / that \\ those"),
            ("/", "/"),
            ("`rm -rf /srv/Jane Doe`", f"`{gone}`"),
        ]:
            self.assertEqual(redact(text), expected)

    def test_secrets(self) -> None:
        """Secrets are redacted in URLs and with their names, and nothing around them."""
        gone = REDACTED
        for text, expected in [
            ("postgres://u:p'w,x|y;z@host:5432/db failed", f"postgres:{gone} failed"),
            ("'http://u:pw@host' failed", f"'http:{gone}' failed"),
            ("see (https://host/x?key=1).", f"see (https:{gone})."),
            ("see (https://host/x?key=1)", f"see (https:{gone})"),
            ("amqp user:pw@host, sorry", f"amqp {gone}, sorry"),
            ("password=hunter2 x", f"password={gone} x"),
            ("connect(password='a b', x=1)", f"connect(password={gone}, x=1)"),
            ('f(password="a \\"b", x=1)', f"f(password={gone}, x=1)"),
            ("{'api_key': b'a b', 'x': 1}", f"{{'api_key': {gone}, 'x': 1}}"),
            ("PGPASSWORD = a,b;c d", f"PGPASSWORD = {gone} d"),
            ("Authorization: Bearer abc.def", f"Authorization: {gone}"),
            ("sent Bearer abc.def there", f"sent Bearer {gone} there"),
            ("--token abc next", f"--token {gone} next"),
            ("ezkey=abc&stat=a", f"ezkey={gone}"),
            ("at u:abc://def@h there", f"at {gone} there"),
            ("at cause:http://h/a there", f"at cause:http:{gone} there"),
            ("key=abc", f"key={gone}"),
            ("missing key: foo", "missing key: foo"),
            ("the monkey = 3, keyboard: 4", "the monkey = 3, keyboard: 4"),
            ("mode=r at 12:30, mail a@b.c", "mode=r at 12:30, mail a@b.c"),
            ("token=", "token="),
        ]:
            self.assertEqual(redact(text), expected)

    @given(
        st.text(CHARACTERS, min_size=1, max_size=20),
        st.sampled_from(
            ["x://u:{}@h/", "'x://u:{}@h'", "u:{}@h", "{{'u:{}@h'}}", "(x://{}@h)"]
        ),
    )
    @settings(max_examples=300, deadline=None)
    def test_no_password_in_a_url_is_left(self, password: str, frame: str) -> None:
        """No part of a password in a URL remains, whatever characters it has."""
        password = f"Qqq{password}Qqq"
        text = redact("error " + frame.format(password) + " there")
        self.assertNotIn("Qqq", text)
        self.assertTrue(text.startswith("error ") and text.endswith(" there"))

    @given(
        st.text(CHARACTERS, max_size=20),
        st.sampled_from(["password", "api-key", "X-Auth-Token", "client_secret"]),
        st.sampled_from(["{}={}", "{}: {}", "'{}': '{}'", '"{}":"{}"', "--{} {}"]),
    )
    @settings(max_examples=300, deadline=None)
    def test_no_named_secret_is_left(self, secret: str, name: str, frame: str) -> None:
        """
        No part of a secret with a name remains. Quotes in a quoted one are escaped; without
        quotes around it, it has none.
        """
        quote = frame[-1] if frame[-1] in "'\"" else ""
        secret = re.sub(r"[\\'\"]", r"\\\g<0>" if quote else "x", f"Qqq{secret} x Qqq")
        if not quote:
            secret = secret.replace(" ", "")
        text = redact(f"error, {frame.format(name, secret)} there")
        self.assertNotIn("Qqq", text)
        self.assertTrue(text.startswith("error, ") and text.endswith(" there"))

    @given(
        st.lists(st.text("abcXYZ0.-_", min_size=3), min_size=1, max_size=4),
        st.sampled_from(["'{}'", '"{}"', " {} ", "({})", "={}", "{}:3", "{}, x"]),
        st.sampled_from("/\\"),
    )
    @settings(max_examples=150, deadline=None)
    def test_no_part_is_left(self, parts: list[str], frame: str, slash: str) -> None:
        """No part of an absolute path remains, whatever is around it."""
        parts = [f"Q{part}Q" for part in parts]
        text = redact("error " + frame.format(slash + slash.join(parts)))
        for part in parts:
            self.assertNotIn(part, text)
        self.assertTrue(text.startswith("error "))

    def test_exceptions(self) -> None:
        """The text of an exception has no path; that of an OSError no file name at all."""
        try:
            open("patient-jane-doe.nii")  # noqa: SIM115
        except OSError as error:
            text = describe_error(error)
        self.assertEqual(text, "[Errno 2] No such file or directory")
        self.assertEqual(
            describe_error(ValueError("/a/b is bad")), f"{REDACTED} is bad"
        )
        self.assertEqual(describe_error(ValueError()), "")

        class Rude(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        self.assertEqual(describe_error(Rude()), "")

    def test_bounds(self) -> None:
        """Texts are on one line and of limited length, and take limited time."""
        self.assertEqual(one_line("a\nb\x00c", 10), "a b c")
        self.assertEqual(one_line("x" * 11, 10), "x" * 9 + "…")

    def test_time(self) -> None:
        """The time that redaction takes is in proportion to the text."""

        def took(text: str) -> float:
            times = []
            for _ in range(3):
                # The time of this process, which does not depend on others.
                before = time.process_time()
                redact(text)
                times.append(time.process_time() - before)
            return min(times)

        parts = ("'", "/", "a/", "'/", "\\", "a", '"a/b ', "a:", "a://", "@", ":@")
        parts += ("a:@ ", "password", "password=", 'token="', "token: ", "token='\\")
        for part in (*parts, " ", "--token ", "bearer ", "x'", "token: (", "token=((("):
            text = (part * MAX_RAW_TEXT)[:MAX_RAW_TEXT]
            short, long = took(text[: MAX_RAW_TEXT // 10]), took(text)
            # It would be 100 times as long if it grew with the square.
            self.assertLess(long, 40 * max(short, 0.0001), part)


#: Runs with every variable of the outside world, and tells what it touched.
_AUDITED = """
import os, sys
touched = []
def audit(event, args):
    if event.startswith(("socket.", "subprocess.", "os.posix_spawn", "os.mkdir",
                         "os.link", "os.remove", "os.listdir", "os.exec")):
        touched.append((event, repr(args)))
    elif event == "open" and ("user_id" in str(args[0]) or "migas" in str(args[0])
                              and ".py" not in str(args[0])):
        touched.append((event, repr(args)))
from txstathat import migas
from twisted.internet import reactor
from twisted.internet.task import react
sys.addaudithook(audit)
answers = []
migas.setup(os.environ["ENDPOINT"])
@migas.track("owner/repo", "1")
async def main(reactor):
    with migas.track("owner/repo", "2"):
        answers.append(await migas.add_breadcrumb("owner/repo", "1"))
    answers.append(await migas.add_project("owner/repo", "1"))
    answers.append(await migas.check_project("owner/repo", "1"))
    answers.append(await migas.get_usage("owner/repo", "2022-01-01"))
    migas.print_config(sys.stderr)
    service = migas.track("owner/repo", "3")
    service.startService()
    ended = service.stopService()
    if ended is not None:
        await ended
try:
    react(main)
except SystemExit:
    pass
with migas.track("owner/repo", "4"):
    pass
print(touched)
print(answers)
"""


class OptOutTests(SynchronousTestCase):
    """
    Opting out, as Python's audit events in a process of its own show it.
    """

    def run_audited(self, **environ: str) -> tuple[str, str, Path]:
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", _AUDITED],
            capture_output=True,
            text=True,
            timeout=60,
            env={
                "HOME": str(home),
                "PYTHONPATH": str(ROOT),
                # Nothing listens on the discard port.
                "ENDPOINT": "http://127.0.0.1:9",
                **environ,
            },
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        touched, answers = done.stdout.splitlines()
        return touched, answers, home

    def test_nothing_is_touched(self) -> None:
        """
        With either variable set, there is no socket, no process, and no file looked
        for, made or read.
        """
        for name in ("MIGAS_OPTOUT", "DO_NOT_TRACK"):
            touched, answers, home = self.run_audited(**{name: "1"})
            self.assertEqual(touched, "[]")
            disabled = {"success": False, "message": "telemetry is disabled"}
            self.assertEqual(answers, repr([disabled] * 4))
            self.assertEqual(list(home.iterdir()), [])

    def test_the_audit_sees(self) -> None:
        """Without the variables the same program does all of that."""
        touched, answers, home = self.run_audited(MIGAS_TIMEOUT="3")
        for event in ("socket.connect", "subprocess.Popen", "os.mkdir", "'open'"):
            self.assertIn(event, touched)
        self.assertIn("the server was not reached: ConnectionRefusedError", answers)
        self.assertTrue((home / ".config" / "migas" / "user_id").exists())
