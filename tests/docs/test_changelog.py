"""The changelog tells what each version has."""

from __future__ import annotations

import re
import tomllib

from tests.docs.pages import ROOT, Pages


def test_the_newest_release_is_the_version_and_has_a_date(pages: Pages) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    headings = re.findall(r"^## (.+)$", pages["CHANGELOG.md"], re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(project['version'])}\] - \d{{4}}-\d\d-\d\d", headings[1])
