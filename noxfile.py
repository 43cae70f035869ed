"""
What a contributor runs by hand: ``nox -l`` lists it, ``nox -s lint`` runs one part.

``.ci/run`` is the gate that a change has to pass. This file has the same checks one by
one, and some that take too long for every change.
"""

import shutil
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests-3.11", "docs"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
LOWEST = "tests/lowest.txt"
# Folders in which a small mistake loses data, with the tests that have to notice it.
MUTATED = {
    "txstathat/delivery": "tests.delivery",
    "txstathat/stores": "tests.stores tests.drills.test_redis tests.collector.transfer",
    "txstathat/http": "tests.http tests.client",
    "txstathat/client": "tests.client tests.delivery.test_service",
    "txstathat/points": "tests.points tests.client tests.collector.ingest",
}
# How many changes to each are tried: all would take days.
MUTANTS = 50
# Leaves so many changes, always the same ones.
SAMPLED = """
import random, sqlite3, sys
db = sqlite3.connect("mutants.sqlite")
jobs = [job for (job,) in db.execute(
    "SELECT job_id FROM mutation_specs WHERE job_id NOT IN"
    " (SELECT job_id FROM work_results)"
    " ORDER BY module_path, operator_name, operator_args, occurrence")]
chosen = set(random.Random(1).sample(jobs, min(len(jobs), int(sys.argv[1]))))
with db:
    for job in set(jobs) - chosen:
        for table in ("mutation_specs", "work_items"):
            db.execute(f"DELETE FROM {table} WHERE job_id = ?", (job,))
"""
# Prints the installed versions, except the package itself.
INSTALLED = """
from importlib.metadata import distributions
found = {f"{each.name}=={each.version}" for each in distributions()}
print(*sorted(one for one in found if not one.startswith("txStatHat==")), sep="\\n")
"""
TRIAL = ("python", "-m", "twisted.trial")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite; ``nox -s tests-3.11 -- tests.client`` runs a part of it."""
    session.install("-e", ".[test]")
    session.run(*TRIAL, *(session.posargs or ["-j3", "tests"]))


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The suite with the lowest versions of what the package needs."""
    session.install("-e", ".[test]", "-c", LOWEST)
    session.run(
        *TRIAL, *(session.posargs or ["-j3", "tests"]), env={"TXSTATHAT_DRILLS": "none"}
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
    session.install("-e", ".[all,buildbot,scrapy,lint]")
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
    session.install("-e", ".[test]", "coverage[toml]>=7.17")
    session.run("coverage", "erase")
    session.run(
        *("coverage", "run", "-m", "twisted.trial"),
        *(session.posargs or ["-j3", "tests"]),
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
            session.run(*TRIAL, *(session.posargs or ["-j3", "tests"]))


@nox.session(python=PYTHONS[0])
def audit(session: nox.Session) -> None:
    """
    Known vulnerabilities of the newest and the lowest versions of what is needed.

    It asks PyPI, or ``-- -s osv`` the OSV database, and fails if it gets no answer.
    """
    session.install("-e", ".[all]", "pip-audit>=2.7")
    newest = Path(session.create_tmp()) / "newest.txt"
    newest.write_text(str(session.run("python", "-c", INSTALLED, silent=True)))
    for versions in (str(newest), LOWEST):
        # Without --strict, versions that the service does not know are passed over.
        options = ("--strict", "--no-deps", "--disable-pip", *session.posargs)
        session.run("pip-audit", *options, "-r", versions)


@nox.session(python=PYTHONS[0])
def mutants(session: nox.Session) -> None:
    """Small changes to the code, one at a time; the tests have to notice each."""
    session.install("-e", ".[test]", "cosmic-ray>=8.3")
    for part in session.posargs or MUTATED:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("txstathat", "tests", "docs", "examples"):
                shutil.copytree(name, Path(folder) / name)
            with session.chdir(folder):
                tests = f"{' '.join(TRIAL)} -x {MUTATED[part]}"
                Path("mutants.toml").write_text(
                    f'[cosmic-ray]\nmodule-path = "{part}"\ntimeout = 600.0\n'
                    f'excluded-modules = []\ntest-command = "{tests}"\n'
                    '[cosmic-ray.distributor]\nname = "local"\n'
                    # Types are not evaluated.
                    "[cosmic-ray.filters.operators-filter]\n"
                    'exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]\n'
                )
                session.run("cosmic-ray", "init", "mutants.toml", "mutants.sqlite")
                session.run("cr-filter-operators", "mutants.sqlite", "mutants.toml")
                session.run("python", "-c", SAMPLED, str(MUTANTS))
                # Tests that start processes in other folders change the same code.
                env = {"PYTHONPATH": folder}
                command = ("cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
                session.run(*command, env=env)
                session.run(
                    "cr-report", "--surviving-only", "--show-diff", "mutants.sqlite"
                )


@nox.session(python=PYTHONS[0])
def changelog(session: nox.Session) -> None:
    """What the news fragments make of the next release's changelog."""
    session.install("towncrier>=24.8")
    session.run("towncrier", "build", "--draft", "--version", "next")
