"""make shape: how long functions, how large classes and files are, and whether imports go round.

It also finds classes that share a name. A line of the answer is a package. Below it stands each
limit that is broken, with the place; the exit code is then 1.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from math import ceil
from pathlib import Path
from statistics import median
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("sessions", "worker", "ingest", "api", "routing", "cli")
# Tools, whose classes have names of their own too. Their size is not bounded.
TOOLS: Final = ("harness", "proof", "bench", "checks")

# Lines of a function, without its docstring: half of them fit at a glance, none needs scrolling.
MEDIAN: Final = 7
P90: Final = 18
LONGEST: Final = 40
# More than this, and a class has more than one purpose.
MOST_ATTRIBUTES: Final = 12
MOST_METHODS: Final = 20
# Lines of a file.
MOST_LINES: Final = 400

# Records and settings list what they hold, protocols what others do: neither does too much.
_EXCEPTED_BASES: Final = frozenset(
    {"NamedTuple", "TypedDict", "BaseModel", "Protocol", "Enum", "StrEnum", "IntEnum"}
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Function:
    """A function with its full name (`Class.method`) and its lines without the docstring."""

    name: str
    lines: int


@dataclass(frozen=True)
class Module:
    """One file of a package."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """What the file says."""
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """By which others import it."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return self.text.count("\n")

    @cached_property
    def functions(self) -> list[Function]:
        """All its functions, those inside of others too; not what protocols only announce."""
        return [*_functions(self.tree)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        """Its classes that are neither records, settings nor protocols."""
        found = (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))
        return [node for node in found if not _is_excepted(node)]


def read_package(package: str, root: Path = ROOT) -> list[Module]:
    """The modules of a package below `root`."""
    return [
        Module(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted((root / package).rglob("*.py"))
    ]


def _functions(node: ast.AST, prefix: str = "") -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Function) and not _is_stub(child):
            yield Function(prefix + child.name, _length(child))
        if isinstance(child, _Function | ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


def _length(function: _Function) -> int:
    return _span(function) - (
        _span(function.body[0]) if ast.get_docstring(function) is not None else 0
    )


def _span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _is_stub(function: _Function) -> bool:
    """Whether there is nothing to run: a docstring, or `...`, at most."""
    return all(
        isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
        for part in function.body
    )


def _is_excepted(node: ast.ClassDef) -> bool:
    return any(_bare_name(part) in _EXCEPTED_BASES for part in node.bases) or any(
        _bare_name(part) == "dataclass" for part in node.decorator_list
    )


def _bare_name(node: ast.expr) -> str:
    """The last name of `a.b`, `a.b[c]` or `a.b(c)`."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=inner) | ast.Call(func=inner):
            return _bare_name(inner)
        case _:
            return ""


def attributes(node: ast.ClassDef) -> set[str]:
    """What the methods of a class set on `self`."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and _bare_name(part.value) == "self"
    }


def methods(node: ast.ClassDef) -> list[str]:
    """The methods of a class, private ones too."""
    return [part.name for part in node.body if isinstance(part, _Function)]


def import_cycle(modules: Sequence[Module]) -> list[str] | None:
    """The names of modules that import each other in a circle; None if there are none.

    Imports inside of functions count; those for type checkers only do not run, and do not count.
    """
    known = {module.name for module in modules}
    graph = {
        module.name: {name for name in _imported(module.tree, known) if name != module.name}
        for module in modules
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def shared_names(modules: Iterable[Module]) -> dict[str, list[str]]:
    """The files of each name that several classes have, at the top level of different files.

    Private names do not count: nobody meets them outside of their file.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module.path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def _imported(node: ast.AST, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield from {inner if inner in known else f"{node.module}"} & known
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and _bare_name(child.test) == "TYPE_CHECKING"):
            yield from _imported(child, known)


@dataclass(frozen=True)
class Shape:
    """The measures of one package, and which limits it breaks."""

    package: str
    modules: list[Module]

    @cached_property
    def lengths(self) -> list[int]:
        """The lengths of all functions, the shortest first."""
        found = (function.lines for module in self.modules for function in module.functions)
        return sorted(found) or [0]

    @cached_property
    def median(self) -> float:
        """The length that half of the functions do not exceed."""
        return median(self.lengths)

    @cached_property
    def p90(self) -> int:
        """The length that nine of ten functions do not exceed."""
        return self.lengths[ceil(len(self.lengths) * 0.9) - 1]

    def row(self) -> str:
        """The measures as a line of the table."""
        classes = [node for module in self.modules for node in module.classes]
        return _ROW.format(
            self.package,
            len(self.lengths),
            f"{self.median:g}",
            self.p90,
            self.lengths[-1],
            max((len(attributes(node)) for node in classes), default=0),
            max((len(methods(node)) for node in classes), default=0),
            max((module.lines for module in self.modules), default=0),
        )

    def broken(self) -> Iterator[str]:
        """A sentence for each limit that is broken."""
        if self.median > MEDIAN:
            yield f"{self.package}: the median function has {self.median:g} lines, not {MEDIAN}"
        if self.p90 > P90:
            yield f"{self.package}: one function in ten has more than {P90} lines"
        for module in self.modules:
            yield from _broken_in(module)


_ROW: Final = "{:<9} {:>9} {:>7} {:>4} {:>8} {:>11} {:>8} {:>6}"
_HEAD: Final = _ROW.format(
    "package", "functions", "median", "p90", "longest", "attributes", "methods", "lines"
)


def _broken_in(module: Module) -> Iterator[str]:
    if module.lines > MOST_LINES:
        yield f"{module.path}: {module.lines} lines, not {MOST_LINES}"
    for function in module.functions:
        if function.lines > LONGEST:
            yield f"{module.path}:{function.name}: {function.lines} lines, not {LONGEST}"
    for node in module.classes:
        for what, found, most in (
            ("attributes", len(attributes(node)), MOST_ATTRIBUTES),
            ("methods", len(methods(node)), MOST_METHODS),
        ):
            if found > most:
                yield f"{module.path}:{node.name}: {found} {what}, not {most}"


def main() -> int:
    """Print the table and what is broken; 1 if anything is."""
    shapes = [Shape(package, read_package(package)) for package in PACKAGES]
    print(_HEAD, *(shape.row() for shape in shapes), sep="\n")
    broken = [sentence for shape in shapes for sentence in shape.broken()]
    modules = [module for shape in shapes for module in shape.modules]
    cycle = import_cycle(modules)
    if cycle is not None:
        broken.append(f"import cycle: {' -> '.join(cycle)}")
    modules += [module for tool in TOOLS for module in read_package(tool)]
    for name, paths in shared_names(modules).items():
        broken.append(f"{len(paths)} classes are called {name}: {', '.join(paths)}")
    print("", *broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
