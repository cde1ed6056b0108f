"""The hooks of pre-commit are the checks of `make check`."""

from __future__ import annotations

import re
from typing import Final

from tests.docs.pages import ROOT

HOOKS: Final = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_hooks_run_what_make_check_runs() -> None:
    recipe = MAKEFILE.partition("\ncheck: ")[2].partition("\n\n")[0].splitlines()[1:]
    assert re.findall(r"^ +entry: (.+)$", HOOKS, re.MULTILINE) == [line.strip() for line in recipe]


def test_the_hooks_download_nothing() -> None:
    assert set(re.findall(r"repo: (\S+)", HOOKS)) == {"local"}
    assert set(re.findall(r"language: (\S+)", HOOKS)) == {"system"}
