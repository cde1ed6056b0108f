"""Statements as values, so that a list of them reaches SQLite's thread in one hand-over.

Each hand-over between the event loop and that thread costs about as much as writing 20 rows, and
each row given to `executemany` takes the interpreter's lock from whoever computes meanwhile. So a
batch goes over in few lists, and rows go into SQLite many at a time.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol

Rows = list[tuple[Any, ...]]
# Rows of the largest statement: 17 columns of them are 4,352 parameters, of the 32,766 that
# SQLite allows. Twice as many gained nothing.
_LARGEST: Final = 256


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
    """One statement, run for each of the rows.

    For virtual tables: FTS5 writes a segment out before every statement over many rows.
    """

    sql: str
    rows: Sequence[Sequence[Any]]

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it over all rows, in order; gives none."""
        connection.executemany(self.sql, self.rows)
        return []


@dataclass(frozen=True, slots=True)
class Form:
    """A statement over any number of rows: the row of marks is repeated between head and tail."""

    head: str
    marks: str
    tail: str = ""

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
    """A form with its rows, run as a few statements of 2^n rows each: their plans are kept."""

    form: Form
    rows: Sequence[Sequence[Any]]

    def run(self, connection: sqlite3.Connection) -> Rows:
        """Run it over all rows, in order; gives none."""
        nulls, rows = _without_nulls(self.rows)
        start, count = 0, len(rows)
        while start < count:
            size = min(_LARGEST, 1 << (count - start).bit_length() - 1)
            parameters = [*chain.from_iterable(rows[start : start + size])]
            connection.execute(_sql(self.form, nulls, size), parameters)
            start += size
        return []


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
