"""make reference: writes docs/api-reference.md from the docstrings of the public names.

It is a Markdown page in the repository, because readers of a code host see it as it is: nobody has
to build a site. It reads the files and imports none of them. griffe2md, the nearest library, was
tried: it writes all of a package, 18,000 lines here, wider than pages may be.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from checks.shape import ROOT, Module

PAGE: Final = Path("docs/api-reference.md")
# Bytes of a signature in one line; the bound for pages less what stands before it in a list.
_WIDTH: Final = 100
_BEGINNING: Final = """\
# API reference

This page has the docstrings of what other programs and new parts use.
`make reference` writes it; change the docstrings, not this page.
[http-api.md](http-api.md) has the routes, [stream-contract.md](stream-contract.md) the events,
and [CONTRIBUTING.md](../CONTRIBUTING.md) a whole example of each kind of part.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A file whose public names are told: these, or all with None."""

    file: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of the page, a sentence below it, and what it tells of."""

    title: str
    about: str
    parts: tuple[Part, ...]


# What one who adds a part writes or is handed. Beside these the page has what `sessions` exports.
PLUGS: Final = (
    Section(
        "For a channel",
        "A new channel is a class with the members of `Channel`.",
        (
            Part("ingest/channels/base.py"),
            Part("sessions/ids.py", ("derived_id",)),
            Part("sessions/web/rejections.py", ("Unauthorized", "BrokenPayload")),
        ),
    ),
    Section(
        "For an agent",
        "A new agent is a class with the members of `Agent`.",
        (
            Part("ingest/agents/base.py"),
            Part("ingest/prompt.py", ("PromptMessage",)),
            Part("ingest/failures.py", ("AgentError",)),
        ),
    ),
    Section(
        "For a tool",
        "A new tool is a `Tool` in the table `TOOLS` of `api/tools/__init__.py`.",
        (
            Part("api/tools/__init__.py"),
            Part("api/tools/results.py", ("ToolResult", "ToolFailure")),
            Part("api/service.py", ("Caller", "Service")),
        ),
    ),
    Section(
        "For a store",
        "A new store is a `StoreAdapter`, and a `SessionReader` beside it.",
        (
            Part("sessions/store/engine/adapter.py"),
            Part("sessions/store/engine/changes.py"),
            Part("sessions/store/engine/rows.py"),
            Part("sessions/store/capabilities.py"),
        ),
    ),
)


def main() -> None:
    """Write the page."""
    (ROOT / PAGE).write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as it must be now."""
    sections = [exports(_module("sessions/__init__.py")), *PLUGS]
    contents = [f"- [{each.title}](#{_anchor(each.title)}): {each.about}" for each in sections]
    return _paragraphs(_BEGINNING, "\n".join(contents), *map(_section, sections)) + "\n"


def exports(package: Module) -> Section:
    """What a package exports, and where it is, as its imports for the type checker say."""
    parts = [
        Part(f"{node.module.replace('.', '/')}.py", tuple(alias.name for alias in node.names))
        for node in ast.walk(package.tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sessions.")
    ]
    about = "`from sessions import …`, to publish events and to read a store."
    return Section("For a program", about, tuple(parts))


def told(module: Module, names: Sequence[str] | None = None) -> str:
    """What a file says of itself, and of these of its names or of all that are public.

    They stand in the order of the file. Raises ValueError for a name that it does not define.
    """
    found = {name: (node, text) for name, node, text in _definitions(module.tree.body)}
    if missing := set(names or ()) - set(found):
        raise ValueError(f"{module.path} does not define {', '.join(sorted(missing))}")
    chosen = [each for each in found if (each in names if names else not each.startswith("_"))]
    entries = [_entry(name, *found[name]) for name in chosen]
    where = f"Defined in [{module.path}](../{module.path})."
    return _paragraphs(f"### `{module.name}`", where, _docstring(module.tree), *entries)


def _section(section: Section) -> str:
    parts = [told(_module(part.file), part.names) for part in section.parts]
    return _paragraphs(f"## {section.title}", section.about, *parts)


def _definitions(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt, str]]:
    """Name, node and docstring of classes, functions, and aliases that have a text below them."""
    for node, below in pairwise([*body, ast.Pass()]):
        match node, below:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef(), _:
                yield node.name, node, _docstring(node)
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(str(text))):
                yield name, node, text
            case _:
                pass


def _entry(name: str, node: ast.stmt, text: str) -> str:
    if not isinstance(node, ast.ClassDef):
        return _paragraphs(f"#### `{name}`", _code(_signature(node)), text)
    methods = [
        _paragraphs(_code(_signature(method)), method_text)
        for method_name, method, method_text in _definitions(node.body)
        if not method_name.startswith("_") and method_text
    ]
    return _paragraphs(f"#### `{name}`", _code(_outline(node)), text, *methods)


def _outline(node: ast.ClassDef) -> str:
    """A class with its fields or members, and how it is made."""
    bases = ", ".join(map(ast.unparse, node.bases))
    inside = [line for part in node.body for line in _shown(part).splitlines()]
    head = f"class {node.name}({bases}):" if bases else f"class {node.name}:"
    return "\n".join([head, *(f"    {line}" for line in inside)]) if inside else f"{head} ..."


def _shown(part: ast.stmt) -> str:
    match part:
        case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
            return ast.unparse(part)
        case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper():
            return ast.unparse(part)
        case ast.FunctionDef(name="__init__"):
            return _signature(part)
        case _:
            return ""


def _signature(node: ast.stmt) -> str:
    """The head of a function, over several lines if it is long; anything else as it stands."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.unparse(node)
    marks = [f"@{ast.unparse(mark)}\n" for mark in node.decorator_list]
    begin = "".join(marks) + ("async def " if isinstance(node, ast.AsyncFunctionDef) else "def ")
    end = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    parameters = _parameters(node.args)
    line = f"{begin}{node.name}({', '.join(parameters)}){end}"
    if max(map(len, line.splitlines())) <= _WIDTH:
        return line
    return f"{begin}{node.name}(\n    " + ",\n    ".join(parameters) + f",\n){end}"


def _parameters(given: ast.arguments) -> list[str]:
    """Each parameter as it is written, without `self` and `cls`, which a caller does not give."""
    plain = [*given.posonlyargs, *given.args]
    absent: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults))
    found = list(map(_parameter, plain, [*absent, *given.defaults]))
    if given.posonlyargs:
        found.insert(len(given.posonlyargs), "/")
    if given.vararg or given.kwonlyargs:
        found.append(f"*{_parameter(given.vararg, None) if given.vararg else ''}")
    found += map(_parameter, given.kwonlyargs, given.kw_defaults)
    if given.kwarg:
        found.append(f"**{_parameter(given.kwarg, None)}")
    return [each for each in found if each not in ("self", "cls")]


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    told = ast.unparse(argument)
    return told if default is None else f"{told} = {ast.unparse(default)}"


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.get_docstring(node) or ""


def _module(file: str) -> Module:
    return Module(file, (ROOT / file).read_text(encoding="utf-8"))


def _code(text: str) -> str:
    # As a stub: the tests run what is marked as Python.
    return f"```pyi\n{text}\n```"


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part)


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


if __name__ == "__main__":
    main()
