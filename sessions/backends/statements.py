"""Statements as values, so that a list of them reaches SQLite's thread in one hand-over.

Each hand-over between the event loop and that thread costs about as much as writing 20 rows. And
after every statement, each row of `executemany` too, the thread must win the interpreter's lock
back from whoever computes meanwhile. So a batch goes over in few lists, and rows go into SQLite
as many at a time as it takes.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol

Rows = list[tuple[Any, ...]]
# Rows of the largest statement: the worker's batch, in one. 17 columns of them are 17,000
# parameters, of the 32,766 that SQLite allows.
_LARGEST: Final = 1000


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


class Each(NamedTuple):
    """One statement, run for each of the rows."""

    sql: str
    rows: Sequence[Sequence[Any]]

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it over all rows, in order; gives none."""
        connection.executemany(self.sql, self.rows)
        return []


@dataclass(frozen=True, slots=True)
class Form:
    """A statement over any number of rows: the row of marks is repeated between head and tail.

    A row may be given twice where it is `repeatable`: that changes nothing more.
    """

    head: str
    marks: str
    tail: str = ""
    repeatable: bool = False

    def of(self, rows: Sequence[Sequence[Any]]) -> list[Statement]:
        """The statement over these rows; none where there are none."""
        return [_Many(self, rows)] if rows else []


def insertion(table: str, columns: str, *, verb: str = "INSERT") -> Form:
    """The form that inserts rows of these columns (`a, b`)."""
    return Form(f"{verb} INTO {table} ({columns}) VALUES ", marks(columns))


def marks(columns: str) -> str:
    """The parameters of one row of these columns."""
    return f"({', '.join('?' * len(columns.split(', ')))})"


class _Many(NamedTuple):
    """A form with its rows, run as few statements of a few sizes, so that their plans are kept."""

    form: Form
    rows: Sequence[Sequence[Any]]

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it over all rows, in order; gives none."""
        nulls, rows = _without_nulls(self.rows)
        for part in _parts(rows, repeatable=self.form.repeatable):
            connection.execute(_sql(self.form, nulls, len(part)), [*chain.from_iterable(part)])
        return []


def _parts(rows: Sequence[Sequence[Any]], *, repeatable: bool) -> Iterator[list[Sequence[Any]]]:
    """The rows in parts of 2^n or the largest size, the last one filled up where that may be."""
    start = 0
    while left := min(_LARGEST, len(rows) - start):
        size = left if left == _LARGEST else 1 << left.bit_length() - 1
        if repeatable:
            size = min(_LARGEST, 1 << (left - 1).bit_length())
        part = [*rows[start : start + size]]
        yield part + part[-1:] * (size - len(part))
        start += len(part)


def _without_nulls(
    rows: Sequence[Sequence[Any]],
) -> tuple[tuple[bool, ...], Sequence[Sequence[Any]]]:
    """Which columns are null in every row, and the rows without them.

    The sqlite3 module looks for an adapter for every None and every bytes that it binds, which
    costs several times as much as binding a number. It knows bytearray by itself.
    """
    columns = [*zip(*rows, strict=True)]
    nulls = tuple(column[0] is None and column.count(None) == len(rows) for column in columns)
    kept = [
        [*map(bytearray, column)] if type(column[0]) is bytes else column
        for column, null in zip(columns, nulls, strict=True)
        if not null
    ]
    return nulls, [*zip(*kept, strict=True)]


@lru_cache(maxsize=256)
def _sql(form: Form, nulls: tuple[bool, ...], size: int) -> str:
    places = iter(nulls)
    marks = re.sub(r"\?", lambda _: "NULL" if next(places) else "?", form.marks)
    return f"{form.head}{', '.join([marks] * size)}{form.tail}"
