"""The public names of `sessions`: each is there, is typed, and costs nothing until it is used."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import sessions
from tests.docs.pages import ROOT


@pytest.mark.parametrize("name", sessions.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(sessions, name).__name__ == name


def test_a_name_that_is_not_public_is_missing() -> None:
    with pytest.raises(AttributeError, match="'Nothing'"):
        _ = sessions.Nothing


def test_every_public_name_stands_in_the_file_for_the_type_checker() -> None:
    text = (ROOT / "tests/typing/public_api.py").read_text(encoding="utf-8")
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module == "sessions":
            found |= {name.name for name in node.names}
    assert found == set(sessions.__all__)


def test_others_may_rely_on_the_types() -> None:
    assert (ROOT / "sessions/py.typed").exists()


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, sessions; print(*{'pydantic', 'redis', 'aiosqlite'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == ""
