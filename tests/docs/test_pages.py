"""Links lead somewhere, and the tree is the tree."""

from __future__ import annotations

import ast
import re

from tests.docs.pages import ROOT, Pages, anchors, code_files, section, tree_paths


def test_every_link_leads_somewhere(pages: Pages) -> None:
    for page, target in pages.links():
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} -> {target}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page.name} -> {target}"


def test_every_page_is_linked_from_the_readme(pages: Pages) -> None:
    for page in pages.texts:
        if page.name != "README.md":
            assert f"]({page.relative_to(ROOT).as_posix()}" in pages["README.md"], page.name


def test_every_file_of_code_stands_in_the_tree(pages: Pages) -> None:
    tree = section(pages["walk-of-a-turn.md"], "## The tree")
    told = tree_paths(tree.partition("```text\n")[2].partition("\n```")[0])
    assert code_files() - told == set()
    assert {name for name in told if not (ROOT / name).exists()} == set()


def test_no_file_stands_in_the_tree_twice(pages: Pages) -> None:
    tree = section(pages["walk-of-a-turn.md"], "## The tree")
    lines = tree.partition("```text\n")[2].partition("\n```")[0].splitlines()
    assert len(tree_paths("\n".join(lines))) == len(lines)


def test_every_function_of_the_walk_exists(pages: Pages) -> None:
    named = re.findall(r"`([a-z_/]+\.py):([\w.]+)`", pages["walk-of-a-turn.md"])
    assert len(named) >= 15
    for file, function in named:
        assert function in definitions(file), f"{file}:{function}"


def definitions(file: str) -> set[str]:
    """The names of a module's classes, functions and methods, these as `Class.method`."""
    found: set[str] = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}.{method.name}" for method in inner}
    return found


def test_the_tests_that_the_guarantees_name_exist(pages: Pages) -> None:
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", pages["guarantees.md"])
    assert len(named) >= 10
    for path in named:
        assert (ROOT / "tests" / path).exists() or (ROOT / path).exists(), path
