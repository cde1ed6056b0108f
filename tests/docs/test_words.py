"""The words that made readers read a sentence twice stay out of code and pages."""

from __future__ import annotations

import re
import subprocess
from typing import Final

from tests.docs.pages import ROOT

# Written in halves, so that this file does not find itself.
WORDS: Final = re.compile(
    r"\b(a{0}new|who{0}ever|men{0}d(s|ed|ing)?|be{0}fall(s|en)?)\b".format(""), re.I
)


def test_no_file_has_a_word_that_plain_english_replaces() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = [
        f"{name}:{number}: {match[0]}"
        for name in listed.stdout.splitlines()
        if name.endswith((".py", ".md", ".lua", ".toml", ".yml")) and (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1)
        if (match := WORDS.search(line))
    ]
    assert found == []
