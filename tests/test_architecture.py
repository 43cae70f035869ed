"""
The imports of the package, held to the layers that docs/architecture.rst draws.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT

PACKAGE = "txstathat"

#: From the ground up: a layer imports from itself and from those before it.
LAYERS = (
    "errors",
    "at_exit",
    "backoff",
    "printable",
    "points",
    "interfaces",
    "web",
    "http",
    "client",
    "export",
    "delivery",
    "blocking",
    "migas",
    "stores",
    "metrica",
    "charts",
    "collector",
    "instruments",
    "integrations",
)
#: These two sides meet on the wire, and never import each other.
SENDING = {"client", "export", "delivery", "blocking", "migas"}
KEEPING = {"stores", "metrica", "charts", "collector"}
#: Sources of counts: they see the interfaces, never a concrete client or store.
SOURCES = {"instruments", "integrations"}
#: These see both sides.
EXEMPT = {"__init__", "__main__", "testing", "cli"}
#: The only folder that may import treq.
TREQ = "http"


def modules() -> dict[str, Path]:
    """
    The package's modules by dotted name, without the package's own name.
    """
    root = ROOT / PACKAGE
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        name = parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1]
        found[".".join(name)] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """
    The dotted names that a module imports, wherever in it: at the top, inside
    functions, and for type checkers only.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> dict[str, set[str]]:
    """
    The modules of the package that each module imports.
    """
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        targets = {
            each.removeprefix(f"{PACKAGE}.")
            for each in imported(path)
            if each.startswith(f"{PACKAGE}.")
        }
        graph[name] = {each for each in targets if each in MODULES} - {name}
    return graph


ARROWS = arrows()


def layer(module: str) -> str:
    return module.partition(".")[0]


def folder(module: str) -> str:
    """
    The folder of a module. A module beside folders stands for itself: it may be above
    one of them and below another.
    """
    path = MODULES[module]
    has_folders = any(each.is_dir() for each in path.parent.iterdir() if _is_code(each))
    if path.name == "__init__.py" or has_folders:
        return module
    return module.rpartition(".")[0] or module


def _is_code(path: Path) -> bool:
    return (path / "__init__.py").exists()


def circle(graph: dict[str, set[str]]) -> list[str]:
    """
    One circle of a graph, or an empty list.
    """
    done: set[str] = set()

    def visit(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            found = visit(target, [*way, node])
            if found:
                return found
        done.add(node)
        return []

    for node in sorted(graph):
        found = visit(node, [])
        if found:
            return found
    return []


class ArchitectureTests(SynchronousTestCase):
    """
    Who imports whom.
    """

    def test_every_folder_has_a_layer(self) -> None:
        """A new folder takes a place among the layers, or is exempt by name."""
        tops = {layer(module) for module in MODULES}
        self.assertEqual(tops - set(LAYERS) - EXEMPT, set())

    def test_imports_go_down(self) -> None:
        """No module imports from a layer above its own."""
        upward = [
            f"{module} imports {target}"
            for module, targets in ARROWS.items()
            for target in targets
            if layer(module) not in EXEMPT
            and (
                layer(target) in EXEMPT
                or LAYERS.index(layer(target)) > LAYERS.index(layer(module))
            )
        ]
        self.assertEqual(upward, [])

    def test_sides(self) -> None:
        """The sending side and the keeping side never import each other."""
        crossing = [
            f"{module} imports {target}"
            for module, targets in ARROWS.items()
            for target in targets
            if {layer(module), layer(target)} & SENDING
            and {layer(module), layer(target)} & KEEPING
            and layer(module) not in EXEMPT
        ]
        self.assertEqual(crossing, [])

    def test_sources(self) -> None:
        """Instruments and integrations import no concrete client and no store."""
        concrete = [
            f"{module} imports {target}"
            for module, targets in ARROWS.items()
            for target in targets
            if layer(module) in SOURCES and layer(target) in SENDING | KEEPING
        ]
        self.assertEqual(concrete, [])

    def test_no_circles_between_modules(self) -> None:
        """No two modules import each other, however long the way round."""
        packages = {
            module for module, path in MODULES.items() if path.name == "__init__.py"
        }
        graph = {
            module: targets - packages
            for module, targets in ARROWS.items()
            if module not in packages
        }
        self.assertEqual(circle(graph), [])

    def test_no_circles_between_folders(self) -> None:
        """No two folders import each other, however long the way round."""
        graph: dict[str, set[str]] = {}
        for module, targets in ARROWS.items():
            if layer(module) in EXEMPT or MODULES[module].name == "__init__.py":
                continue
            here = folder(module)
            there = {folder(target) for target in targets}
            graph.setdefault(here, set()).update(there - {here})
        self.assertEqual(circle(graph), [])

    def test_treq(self) -> None:
        """Only http/ knows treq; testing.py may use treq.testing."""
        strangers = [
            module
            for module, path in MODULES.items()
            for name in imported(path)
            if name.partition(".")[0] == "treq"
            and layer(module) != TREQ
            and not (module == "testing" and name.startswith("treq.testing"))
        ]
        self.assertEqual(strangers, [])

    def test_every_module_is_read(self) -> None:
        """The imports that are checked are those of the package: none is missed."""
        self.assertIn("http.exchange", ARROWS)
        self.assertIn("http.exchange", ARROWS["client.stathat"])
        self.assertGreater(sum(map(len, ARROWS.values())), 300)

    def test_circle(self) -> None:
        """A circle is found, also a long one; a tree has none."""
        self.assertEqual(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), list("abca"))
        self.assertEqual(circle({"a": {"b", "c"}, "b": {"c"}}), [])
