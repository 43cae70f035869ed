"""
What a contributor runs by hand: ``nox -l`` lists it, ``nox -s lint`` runs one part.

``.ci/run`` is the gate that a change has to pass. This file has the same checks one by
one, and some that take too long for every change.
"""

import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests-3.11", "docs"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
TRIAL = ("python", "-m", "twisted.trial")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite; ``nox -s tests-3.11 -- tests.client`` runs a part of it."""
    session.install("-e", ".[test]")
    session.run(*TRIAL, *(session.posargs or ["-j2", "tests"]))


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The suite with the lowest versions of what the package needs."""
    session.install("-e", ".[test]", "-c", "tests/lowest.txt")
    session.run(
        *TRIAL, *(session.posargs or ["-j2", "tests"]), env={"TXSTATHAT_DRILLS": "none"}
    )


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Ruff's checks and format."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=PYTHONS[0])
def types(session: nox.Session) -> None:
    """Strict types, and types as programs see them: mypy without plugin, pyright."""
    session.install("-e", ".[all,lint]")
    session.run("mypy")
    cases = ("tests/typing_program.py", "tests/typing_cases.py")
    session.run("mypy", "--config-file", "tests/mypy-plain.ini", *cases)
    place = session.create_tmp()
    install = ("npm", "install", "--silent", "--no-save", "--prefix", place)
    session.run(*install, "pyright@1.1.414", external=True)
    session.run(
        f"{place}/node_modules/.bin/pyright",
        *("-p", "tests/pyrightconfig.json", "--pythonpath", session.bin + "/python"),
        external=True,
    )


@nox.session(python=PYTHONS[0])
def docs(session: nox.Session) -> None:
    """The documentation; a reference that leads nowhere is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "docs", "docs/_build")


@nox.session(python=PYTHONS[0])
def coverage(session: nox.Session) -> None:
    """Which lines and branches the suite runs, in child processes too."""
    session.install("-e", ".[test]", "coverage[toml]>=7.10")
    session.run("coverage", "erase")
    session.run(
        "coverage", "run", "-m", "twisted.trial", *(session.posargs or ["tests"])
    )
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=PYTHONS[0])
def wheel(session: nox.Session) -> None:
    """The suite against the built wheel, away from the checkout's package."""
    session.install("build")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        session.run("python", "-m", "build", "--wheel", "--outdir", folder)
        (built,) = place.glob("*.whl")
        session.install(f"{built}[test]")
        for name in ("tests", "docs", "examples", "README.rst", "setup.cfg"):
            (place / name).symlink_to(Path.cwd() / name)
        with session.chdir(folder):
            session.run(*TRIAL, *(session.posargs or ["-j2", "tests"]))


@nox.session(python=PYTHONS[0])
def changelog(session: nox.Session) -> None:
    """What the news fragments make of the next release's changelog."""
    session.install("towncrier>=24.8")
    session.run("towncrier", "build", "--draft", "--version", "next")
