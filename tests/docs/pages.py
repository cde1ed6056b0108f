"""The documentation as text, and what can be found in it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).parents[2]
# Top-level packages whose files stand in the tree of the walk.
PACKAGES: Final = (
    *("cli", "ingest", "worker", "api", "routing", "sessions"),
    *("harness", "bench", "proof", "checks"),
)
_CODE_SUFFIXES: Final = frozenset({".py", ".lua", ".sql"})
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Pages:
    """The pages at the top of the checkout and everything in docs/, by path."""

    texts: dict[Path, str]

    @classmethod
    def of(cls, root: Path) -> Self:
        """The pages of a checkout."""
        paths = [*sorted(root.glob("*.md")), *sorted(root.glob("docs/**/*.md"))]
        return cls({path: path.read_text(encoding="utf-8") for path in paths})

    def __getitem__(self, name: str) -> str:
        """The page of that file name."""
        return next(text for path, text in self.texts.items() if path.name == name)

    @cached_property
    def everything(self) -> str:
        """All pages, one after the other."""
        return "\n".join(self.texts.values())

    def links(self) -> Iterator[tuple[Path, str]]:
        """Every link that stays in the repository, with the page that has it."""
        for path, text in self.texts.items():
            for target in _LINK.findall(_FENCE.sub("", text)):
                if "://" not in target:
                    yield path, target


def anchors(text: str) -> set[str]:
    """The names by which the headings of a page can be linked to."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table_names(text: str) -> set[str]:
    """What stands as `code` in the first column of the tables of a text."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next one of its level or a higher one."""
    level = heading.partition(" ")[0]
    _, found, rest = f"\n{text}".partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def tree_paths(text: str) -> set[str]:
    """The paths of an indented tree, each line a name and what it is; folders end with `/`."""
    found: set[str] = set()
    above: list[str] = []
    for line in text.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth:] = [name]
        found.add("".join(above))
    return found


def code_files() -> set[str]:
    """The files of the packages that hold anything, as git knows them, else as they lie here."""
    if (ROOT / ".git").exists():
        listed = _git_files()
    else:
        found = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
        listed = [path.relative_to(ROOT).as_posix() for path in found]
    return {name for name in listed if _is_code(ROOT / name)}


def _git_files() -> list[str]:
    answer = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.split("\0")


def _is_code(path: Path) -> bool:
    """Whether a file says more than what its folder is."""
    return path.suffix in _CODE_SUFFIXES and path.is_file() and path.read_text().count("\n") > 1
