"""How commands print: for people on a terminal, for `cut` in a pipe, as JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Control characters, those that turn the direction of writing, and halves of characters.
_COMMANDING: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Output:
    """The one place that prints results. Errors are raised and printed by `main`."""

    def __init__(
        self, *, json: bool = False, no_color: bool = False, stream: TextIO | None = None
    ) -> None:
        self.json = json
        # None leaves the choice to rich, which knows NO_COLOR.
        color = True if no_color else None
        self.console = Console(file=stream or sys.stdout, no_color=color, soft_wrap=True)
        self.errors = Console(stderr=True, no_color=color, soft_wrap=True)

    @property
    def on_terminal(self) -> bool:
        """Whether a person sees what is printed."""
        return self.console.is_terminal

    @property
    def may_show_secrets(self) -> bool:
        """Whether it all goes to a terminal; FORCE_COLOR, which rich believes, makes none of it."""
        return self.console.file.isatty()

    def data(self, data: object) -> None:
        """Print one JSON document."""
        text = json.dumps(data, ensure_ascii=False, indent=2 if self.on_terminal else None)
        print(text, file=self.console.file)

    def row(self, data: object) -> None:
        """Print one JSON document on a line of its own, as a part of more."""
        print(json.dumps(data, ensure_ascii=False), file=self.console.file, flush=True)

    def line(self, text: str, *, style: str = "") -> None:
        """Print a line of text that may come from anywhere."""
        self.console.print(Text(printable(text), style=style))

    def note(self, text: str) -> None:
        """Say on stderr what is going on; a program that reads our output does not see it."""
        self.errors.print(Text(printable(text)))

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows: a table on a terminal, otherwise one line each, separated by tabs."""
        cells = [[_cell(value) for value in row] for row in rows]
        if self.on_terminal:
            self._rich_table(titles, cells)
            return
        for row in (titles, *cells):
            print("\t".join(row), file=self.console.file)

    def facts(self, facts: Mapping[str, object]) -> None:
        """Print names and values, a line each."""
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            self.console.print(
                Text.assemble((f"{name:<{width}}  ", "bold"), printable(_plain(value)))
            )

    def _rich_table(self, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in titles:
            table.add_column(title, overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        self.console.print(table, soft_wrap=False)


def counted(number: int, noun: str) -> str:
    """The number with its noun: `1 turn`, `2 turns`, `3 entries`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def printable(text: str) -> str:
    """The text without anything that would move the cursor or change the terminal.

    Messages come from strangers: escape codes among them are shown, not obeyed.
    """
    return _COMMANDING.sub(lambda match: ascii(match[0])[1:-1], text)


def _cell(value: object) -> str:
    return printable(_plain(value)).replace("\n", "\\n").replace("\t", "\\t")


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


__all__ = ["Output", "counted", "printable"]
