"""The walk follows one turn in a few short functions."""

from __future__ import annotations

import ast
import re
from typing import Final

from checks.shape import Module
from tests.docs.pages import ROOT, Pages, section

# What a reader can keep in mind, and read without scrolling.
MOST_STEPS: Final = 12
MOST_LINES: Final = 24


def steps(pages: Pages) -> list[tuple[str, str]]:
    """File and function of each numbered step."""
    told = section(pages["walk-of-a-turn.md"], "## Step by step").partition("\n### ")[0]
    numbered = re.findall(r"^(\d+)\. `([a-z_/]+\.py):([\w.]+)`", told, re.MULTILINE)
    assert [int(number) for number, _, _ in numbered] == [*range(1, len(numbered) + 1)]
    assert len(numbered) == len(re.findall(r"^\d+\.", told, re.MULTILINE))
    return [(file, function) for _, file, function in numbered]


def test_a_turn_takes_a_dozen_steps_from_the_door_to_the_row(pages: Pages) -> None:
    walked = steps(pages)
    assert 1 < len(walked) <= MOST_STEPS
    assert walked[0][0].startswith("ingest/")
    assert walked[-1][0].startswith("sessions/store/")


def test_each_step_is_a_short_function(pages: Pages) -> None:
    for file, name in steps(pages):
        module = Module(file, (ROOT / file).read_text(encoding="utf-8"))
        lengths = {function.name: function.lines for function in module.functions}
        assert name in lengths, f"{file}:{name}"
        assert lengths[name] <= MOST_LINES, f"{file}:{name} has {lengths[name]} lines"


def test_the_six_tests_of_the_walk_are_listed_in_order_with_their_lessons(pages: Pages) -> None:
    told = section(pages["walk-of-a-turn.md"], "## Six tests to read first")
    assert re.findall(r"^\| \[(test_\w+\.py)\]", told, re.MULTILINE) == [*lessons()]
    assert [name.split("_")[1] for name in lessons()] == ["1", "2", "3", "4", "5", "6"]


def test_a_test_of_the_walk_names_a_heading_where_to_read_on(pages: Pages) -> None:
    for name, lesson in lessons().items():
        named = re.findall(r'docs/([\w-]+\.md), "([^"]+)"', lesson)
        assert named, name
        for page, heading in named:
            assert f"\n## {heading}\n" in pages[page], f"{name}: {page}, {heading!r}"


def lessons() -> dict[str, str]:
    """What each test of the walk says about itself, in the order of their names."""
    found = sorted((ROOT / "tests/walk").glob("test_*.py"))
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in found}
    return {name: ast.get_docstring(tree) or "" for name, tree in trees.items()}
