"""
The package as a whole: what it exports, needs and does on import.
"""

from __future__ import annotations

import configparser
import inspect
import shutil
import subprocess
import sys
import sysconfig
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import txstathat
from tests.fixtures import ROOT
from txstathat.interfaces import (
    IKick,
    IKickProvider,
    IStatHat,
    IStatHatProvider,
)


def installer() -> list[str]:
    """
    The command that installs packages for this Python: pip's, or uv's, whose virtual
    environments have no pip.
    """
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--ignore-installed"]
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "pip", "install", "--reinstall", "--python", sys.executable]
    raise SkipTest("needs pip: python -m ensurepip")


class PackageTests(SynchronousTestCase):
    """
    What users rely on without looking.
    """

    def test_exports(self) -> None:
        """The package exports the public names, no more and no fewer."""
        self.assertEqual(
            sorted(txstathat.__all__),
            [
                "ClientHealth",
                "Count",
                "DeliveryHealth",
                "FlushResult",
                "IStatHat",
                "InvalidPoint",
                "InvalidTimeframe",
                "NullStatHat",
                "Outcome",
                "Stat",
                "StatHatAPIError",
                "StatHatBusy",
                "StatHatClosed",
                "StatHatError",
                "StatHatExport",
                "StatHatService",
                "Value",
                "Verdict",
                "classic_count",
                "classic_value",
                "ez_count",
                "ez_value",
                "service_from_env",
                "stathat_from_env",
                "tee",
                "txStatHat",
                "txStatHatApiException",
                "txStatHatClassic",
            ],
        )
        for name in txstathat.__all__:
            self.assertTrue(hasattr(txstathat, name), name)
            self.assertIn(name, dir(txstathat))
        with self.assertRaises(AttributeError):
            txstathat.nothing  # type: ignore[attr-defined]  # noqa: B018

    def test_imports_what_is_used(self) -> None:
        """The package alone imports nothing, and a name only what it needs."""
        code = (
            "import sys, txstathat; "
            "assert not any(name.startswith('twisted') for name in sys.modules); "
            "assert txstathat.Count.__module__ == 'txstathat.points.model'; "
            "assert 'treq' not in sys.modules; "
            "assert callable(txstathat.tee) and txstathat.StatHatService; "
            "from txstathat import *; "
            "print(set(txstathat.__all__) <= {*globals()})"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        self.assertEqual((done.stdout, done.stderr), ("True\n", ""))

    def test_interfaces_agree(self) -> None:
        """A protocol and its zope interface have the same methods and parameters."""
        for protocol, interface in (
            (IStatHat, IStatHatProvider),
            (IKick, IKickProvider),
        ):
            methods = {name for name in vars(protocol) if name[0] != "_"}
            self.assertEqual(methods, set(interface.names()))
            for name in methods:
                _, *parameters = inspect.signature(getattr(protocol, name)).parameters
                described = interface[name].getSignatureInfo()
                names = [*described["positional"]]
                keywords = [each for each in parameters if each not in names]
                self.assertEqual(parameters[: len(names)], names)
                self.assertIn(keywords, (["t", "ignore_errors"], ["axes"]))

    def test_errors_share_a_base(self) -> None:
        """One except clause catches all of the package's own errors."""
        for name in txstathat.__all__:
            each = getattr(txstathat, name)
            if isinstance(each, type) and issubclass(each, Exception):
                self.assertTrue(issubclass(each, txstathat.StatHatError), name)

    def test_every_module_imports_without_a_reactor(self) -> None:
        """
        Importing installs no reactor, so that a program can choose its own. Buildbot
        itself installs one, before it reads the configuration that imports ours.
        """
        code = """
import pkgutil, sys, importlib, txstathat
for module in pkgutil.walk_packages(txstathat.__path__, "txstathat."):
    if not module.name.endswith(("__main__", "integrations.buildbot")):
        importlib.import_module(module.name)
assert "twisted.internet.reactor" not in sys.modules
print("fine")
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        self.assertEqual((done.stdout, done.stderr), ("fine\n", ""))

    def install(self, *options: str) -> Path:
        """Install a copy of the source into an empty prefix; the path of its modules."""
        copy, prefix = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        copy.mkdir()
        for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        for name in ("txstathat", "twisted"):
            shutil.copytree(ROOT / name, copy / name)
        done = subprocess.run(
            [*installer(), "-q", "--no-deps", "--prefix", prefix, *options, copy],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return Path(sysconfig.get_path("purelib", vars={"base": str(prefix)}))

    def test_twist_finds_the_plugin(self) -> None:
        """Both a wheel and an editable install add ``twist stathat``."""
        # Beside what is installed here, but not this project itself: -S reads no .pth.
        code = """
import site, sys
sys.path.append(sys.argv[1])
site.addsitedir(sys.argv[2])
from twisted.application.twist._twist import Twist
Twist.main(["twist", "stathat", "--help"])
"""
        here = sysconfig.get_path("purelib")
        for options in ((), ("-e",)):
            there = self.install(*options)
            done = subprocess.run(
                [sys.executable, "-S", "-c", code, here, there],
                capture_output=True,
                text=True,
                cwd=there,
            )
            self.assertIn("--keys-file", done.stdout, (options, done.stderr))

    def test_typed(self) -> None:
        """The package says to type checkers that it has annotations."""
        self.assertTrue(files("txstathat").joinpath("py.typed").is_file())

    def test_requirements(self) -> None:
        """The package needs four others; the extra "all" holds every extra for users."""
        config = configparser.RawConfigParser()
        config.read(ROOT / "setup.cfg")
        required = config["options"]["install_requires"].split()
        self.assertEqual(
            [each.partition(">=")[0] for each in required],
            ["twisted[tls]", "treq", "pyopenssl", "service-identity"],
        )
        extras = config["options.extras_require"]
        # Who wants an integration with a program has the program already.
        every = {f"%({name})s" for name in extras} - {
            "%(buildbot)s",
            "%(scrapy)s",
            "%(all)s",
            "%(test)s",
            "%(lint)s",
            "%(docs)s",
        }
        self.assertEqual(set(extras["all"].split()), every)
