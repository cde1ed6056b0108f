"""Each defect of ZeroClaw has an answer, and each test that is named there exists."""

from __future__ import annotations

import ast
import re
from typing import Final

import pytest

from tests.docs.pages import ROOT, Pages

DEFECTS: Final = [f"D-{number}" for number in range(1, 25)]
_TEST: Final = re.compile(r"`([\w/]+\.py)::([\w:]+)`")


def answers(pages: Pages) -> dict[str, str]:
    """What the page says of each defect."""
    _, *parts = re.split(r"^## ", pages["upstream-defects.md"], flags=re.MULTILINE)
    return {part.partition(":")[0]: part for part in parts}


def test_every_defect_is_answered_once_and_in_order(pages: Pages) -> None:
    assert [*answers(pages)] == DEFECTS


@pytest.mark.parametrize("defect", DEFECTS)
def test_an_answer_is_a_test_or_a_reason(pages: Pages, defect: str) -> None:
    text = answers(pages)[defect]
    named = _TEST.findall(text)
    assert bool(named) == ("**Tested by.**" in text)
    assert bool(named) != ("**Cannot occur.**" in text)


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_tests_exist(pages: Pages, defect: str) -> None:
    for path, name in _TEST.findall(answers(pages)[defect]):
        assert name in _tests_of(path), (path, name)


def _tests_of(path: str) -> set[str]:
    """The names of the tests in a file below tests/, those in classes with the class."""
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {"::".join(names) for names in _functions(tree.body)}


def _functions(body: list[ast.stmt], *above: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            found += _functions(node.body, *above, node.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((*above, node.name))
    return found
