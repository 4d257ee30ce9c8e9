"""The folders of the package: what may import what, read from the source itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import unetkit

SOURCE = Path(unetkit.__file__).parent
# One tier per line, as in CONTRIBUTING.md: a module imports from its own folder and from lines above it.
TIERS = [
    {"geometry", "georeference", "allocator", "processors", "errors", "json_text", "progress", "plotting"},
    {"tiles", "image", "graph"},
    {"nets", "labels", "io"},
    {"model", "data", "metrics", "measurements"},
    {"inference"},
    {"training"},
    {"export", "insight", "app", "napari_plugin"},
    {"report"},
    {"cli"},
    {"__main__"},
]
TIER = {folder: level for level, folders in enumerate(TIERS) for folder in folders}
NAMELESS = {"utils", "common", "base", "registry", "factory", "callbacks", "helpers"}


def dotted(path: Path) -> str:
    """Module name of a source file: unetkit, unetkit.nets, unetkit.graph.graph."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports(module: str, *, for_types: bool) -> Iterator[str]:
    """Modules of the package that a module imports, anywhere in its text; optionally those for type checkers too."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not for_types:
        tree = WithoutTypeImports().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            source = ".".join(part for part in (above, node.module) if part)
            for alias in node.names:  # `from .. import io` names a module, `from ..io import read` one of its names
                name = f"{source}.{alias.name}"
                if name in MODULES or source in MODULES:
                    yield name if name in MODULES else source


class WithoutTypeImports(ast.NodeTransformer):
    """Drops `if TYPE_CHECKING:` blocks, which never run."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        is_guard = "TYPE_CHECKING" in ast.unparse(node.test)
        return [self.visit(child) for child in node.orelse] if is_guard else self.generic_visit(node)


def folder_of(module: str) -> str:
    """The part of the package that a module belongs to; "" for the package itself."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("module", [name for name in MODULES if folder_of(name)])
def test_every_module_has_a_place(module: str) -> None:
    assert folder_of(module) in TIER, f"{module}: give the folder {folder_of(module)!r} a place among {TIERS}"
    assert not NAMELESS & set(module.split(".")), f"{module}: a name that says nothing"


@pytest.mark.parametrize("module", [name for name in MODULES if folder_of(name)])
def test_imports_point_down(module: str) -> None:
    for target in imports(module, for_types=True):
        here, there = folder_of(module), folder_of(target)
        allowed = not there or there == here or TIER[there] < TIER[here]
        assert allowed, f"{module} imports {target}, which does not lie below it"


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules on one import cycle, or an empty list."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            for target in sorted(graph[node]):
                if found := walk(target, [*path, node]):
                    return found
            done.add(node)
        return []

    return next((found for node in graph if (found := walk(node, []))), [])


def test_no_imports_in_circles() -> None:
    graph = {
        module: {t for t in imports(module, for_types=False) if folder_of(t)} for module in MODULES if folder_of(module)
    }
    assert cycle(graph) == []
    assert sum(map(len, graph.values())) > 20  # the parser does find imports


def test_the_parser_sees_what_it_should() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    found = set(imports("unetkit.graph.mixing", for_types=True))
    graph = {f"unetkit.graph.{name}" for name in ("layout", "signatures", "trace", "windows")}
    assert found == {"unetkit.geometry"} | graph
    assert "unetkit.nets.net" in set(imports("unetkit.inference.runner", for_types=True))


# Words that say nothing of the thing they name.
NO_NAMES = {"found", "given", "how", "one", "told", "beside", "look", "said", "seen", "what"}


def named(tree: ast.AST) -> Iterator[str]:
    """Names of functions, parameters and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("module", MODULES)
def test_names_say_what_they_name(module: str) -> None:
    names = {*named(ast.parse(MODULES[module].read_text(encoding="utf-8"))), *module.split(".")}
    assert not NO_NAMES & {name.strip("_").lower() for name in names}


def test_the_parser_meets_every_kind_of_name() -> None:
    text = "class A:\n  def f(self, x, *, y=lambda z: z): ..."
    assert set(named(ast.parse(text))) == {"A", "f", "self", "x", "y", "z"}


def test_public_names_are_few_and_exist() -> None:
    names = getattr(unetkit, "__all__", [])
    assert len(names) <= 25
    assert len(set(names)) == len(names)
    assert all(hasattr(unetkit, name) for name in names)


@pytest.mark.parametrize("heavy", ["torch", "scipy", "skimage", "matplotlib", "tifffile"])
def test_importing_the_package_imports_nothing_heavy(heavy: str) -> None:
    code = f"import sys, unetkit; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
