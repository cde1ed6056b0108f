"""Statements as values, so that a list of them reaches SQLite's thread in one hand-over.

Each hand-over between the event loop and that thread costs about as much as writing 20 rows. And
after every statement, each row of `executemany` too, the thread must win the interpreter's lock
back from the thread that computes meanwhile. So a batch goes over in few lists, and rows go into
SQLite as many at a time as it takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count
from typing import Any, Final, NamedTuple, Protocol

from sessions.store.sqlite.library import sqlite3

Rows = list[tuple[Any, ...]]
# Rows of the largest statement: the worker's batch, in one. 17 columns of them are 17,000
# parameters, of the 32,766 that SQLite allows.
_LARGEST: Final = 1000
# Rows from which on a value that all of them share is bound once. Fewer may share one by chance,
# and each pattern of shared values is a plan of its own.
_MANY: Final = 64


class Statement(Protocol):
    """What can be run on a connection."""

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it; the rows that it gives."""
        ...


class Query(NamedTuple):
    """One statement with its parameters."""

    sql: str
    parameters: Sequence[object] = ()

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it; the rows that it gives."""
        return connection.execute(self.sql, self.parameters).fetchall()


class RepeatedStatement(NamedTuple):
    """One statement, run for each of the rows."""

    sql: str
    rows: Sequence[Sequence[Any]]

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it over all rows, in order; gives none."""
        connection.executemany(self.sql, self.rows)
        return []


@dataclass(frozen=True, slots=True)
class StatementTemplate:
    """A statement over any number of rows: the row of marks is repeated between head and tail.

    It gets more rows than there are, so that it comes in few sizes: where it is `repeatable` the
    last one again, which must change nothing more; else rows without a first column, which it must
    leave out.
    """

    head: str
    marks: str
    tail: str = ""
    repeatable: bool = False

    def of(self, rows: Sequence[Sequence[Any]]) -> list[Statement]:
        """The statement over these rows; none where there are none."""
        return [_Many(self, rows)] if rows else []


def insertion(
    table: str, columns: str, *, verb: str = "INSERT", tail: str = ""
) -> StatementTemplate:
    """The form that inserts rows of these columns (`a, b`)."""
    head = f"{verb} INTO {table} ({columns}) SELECT * FROM (VALUES "
    return StatementTemplate(head, marks(columns), f") WHERE column1 IS NOT NULL{tail}")


def marks(columns: str) -> str:
    """The parameters of one row of these columns."""
    return f"({', '.join('?' * len(columns.split(', ')))})"


class _Many(NamedTuple):
    """A form with its rows, run as few statements of a few sizes, so that their plans are kept."""

    form: StatementTemplate
    rows: Sequence[Sequence[Any]]

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it over all rows, in order; gives none."""
        # Unless rows repeat, the first column tells them from what only fills up.
        fixed, places, rows = _without_fixed(self.rows, kept=0 if self.form.repeatable else 1)
        for part in _parts(rows, repeatable=self.form.repeatable):
            parameters = [*fixed, *chain.from_iterable(part)]
            connection.execute(_sql(self.form, places, len(part)), parameters)
        return []


def _parts(rows: Sequence[Sequence[Any]], *, repeatable: bool) -> Iterator[list[Sequence[Any]]]:
    """The rows in parts of the largest size, the last one filled up to 2^n."""
    for start in range(0, len(rows), _LARGEST):
        part = [*rows[start : start + _LARGEST]]
        size = min(_LARGEST, 1 << (len(part) - 1).bit_length())
        filler = part[-1] if repeatable else (None, *part[-1][1:])
        yield part + [filler] * (size - len(part))


def _without_fixed(
    rows: Sequence[Sequence[Any]], *, kept: int
) -> tuple[list[Any], tuple[int, ...], Sequence[Sequence[Any]]]:
    """Values that are the same in all rows, where they belong, and the rows without them.

    The first columns are `kept` however they are. Binding a value costs as much as storing it, and
    for None and bytes the sqlite3 module looks for an adapter first, several times as long. It
    knows bytearray by itself. A place is the number of the fixed value, 0 for the others.
    """
    fixed: list[Any] = []
    places: list[int] = []
    others: list[Sequence[Any]] = []
    for position, column in enumerate(zip(*rows, strict=True)):
        first = column[0]
        shareable = position >= kept and (first is None or len(rows) >= _MANY)
        if shareable and first == column[-1] and column.count(first) == len(rows):
            fixed.append(first)
            places.append(len(fixed))
        else:
            others.append([*map(bytearray, column)] if type(first) is bytes else column)
            places.append(0)
    return fixed, (*places,), [*zip(*others, strict=True)] or [()] * len(rows)


@lru_cache(maxsize=256)
def _sql(form: StatementTemplate, places: tuple[int, ...], size: int) -> str:
    """The statement over so many rows. SQLite numbers each plain `?` one above the highest."""
    first = _row(form, places, count(max(places) + 1))
    others = _row(form, places, None)
    return f"{form.head}{', '.join([first, *[others] * (size - 1)])}{form.tail}"


def _row(form: StatementTemplate, places: tuple[int, ...], numbers: Iterator[int] | None) -> str:
    given = iter(places)

    def mark(_: re.Match[str]) -> str:
        number = next(given) or (next(numbers) if numbers is not None else "")
        return f"?{number}"

    return re.sub(r"\?", mark, form.marks)
