"""How commands print: for people on a terminal, for `cut` in a pipe, as JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Control characters, those that turn the direction of writing, and halves of characters.
_COMMANDING: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

# Between two columns.
_GAP: Final = "  "
# Characters that the last column of a table keeps at least; what is longer goes on below.
_LEAST_FOLDED: Final = 20


@dataclass(frozen=True, slots=True)
class Moment:
    """A time of the API. On a terminal a table shows it to the minute, elsewhere as it is."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def short(self) -> str:
        """`2026-01-31 12:00`, in UTC as the API gives it."""
        return self.text[:16].replace("T", " ")


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
        if self.on_terminal:
            self._rich_table(titles, [[_cell(_shortened(value)) for value in row] for row in rows])
            return
        cells = [[_cell(value) for value in row] for row in rows]
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
        """Columns; if keys leave no room for the others, each key has a line of its own."""
        widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
        folded = min(widths[-1], _LEAST_FOLDED)
        if sum(widths[:-1]) + folded + len(_GAP) * (len(widths) - 1) > self.console.width:
            self._stacked(titles, cells, widths)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in titles[:-1]:
            table.add_column(title, no_wrap=True)
        table.add_column(titles[-1], overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        self.console.print(table, soft_wrap=False)

    def _stacked(
        self, titles: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]
    ) -> None:
        for number, (key, *others) in enumerate((titles, *cells)):
            columns = map(set_cell_size, others, widths[1:])
            text = f"{key}\n{_GAP}{_GAP.join(columns).rstrip()}"
            self.console.print(Text(text, style="" if number else "bold"))


def counted(number: int, noun: str) -> str:
    """The number with its noun: `1 turn`, `2 turns`, `3 entries`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def printable(text: str) -> str:
    """The text without anything that would move the cursor or change the terminal.

    Messages come from strangers: escape codes among them are shown, not obeyed.
    """
    return _COMMANDING.sub(lambda match: ascii(match[0])[1:-1], text)


def _shortened(value: object) -> object:
    return value.short if isinstance(value, Moment) else value


def _cell(value: object) -> str:
    return printable(_plain(value)).replace("\n", "\\n").replace("\t", "\\t")


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


__all__ = ["Moment", "Output", "counted", "printable"]
