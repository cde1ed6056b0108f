"""Writes a store as an export; see `records` for the format."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from sessions.errors import ConfigError
from sessions.process.durable import sync
from sessions.store.backend import Transferable
from sessions.store.image import StoreRows
from sessions.transfer.records import (
    End,
    Filter,
    Header,
    LetterLine,
    MessageLine,
    OutcomeLine,
    ReceiptLine,
    Record,
    SessionLine,
    StoreLine,
    SuppressedLine,
)

# The kinds of receipts that an import of an export, or of another store, leaves. They are no part
# of what a store holds: a copy of it has other ones.
IMPORTED: Final = "export"
COPIED: Final = "store"
# Fast, and within a few percent of the smallest; text shrinks to a quarter.
_LEVEL: Final = 6


class ExportWriter:
    """Writes the lines, and counts what it writes."""

    def __init__(self, file: IO[bytes], narrowed: Filter | None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self._write(Header(filter=narrowed))

    def store(self, record: StoreLine) -> None:
        """Write what only a backup has."""
        self._write(record)

    def add(self, rows: StoreRows) -> None:
        """Write a part of a store."""
        for record in _records_of(rows):
            self._write(record)
            self.counts[KIND_NAMES[type(record)]] += 1

    def end(self) -> None:
        """Write the last line."""
        self._write(End(counts=dict(self.counts), sha256=self._digest.hexdigest()))

    def _write(self, record: Record) -> None:
        line = record.line()
        self._digest.update(line)
        self._file.write(line)


KIND_NAMES: Final[dict[type[Record], str]] = {
    SessionLine: "sessions",
    MessageLine: "messages",
    OutcomeLine: "outcomes",
    SuppressedLine: "suppressed",
    LetterLine: "dead_letters",
    ReceiptLine: "receipts",
}


def _records_of(rows: StoreRows) -> Iterator[Record]:
    yield from map(SessionLine.of, rows.sessions)
    yield from map(MessageLine.of, rows.messages)
    yield from map(OutcomeLine.of, rows.events)
    yield from map(SuppressedLine.of, rows.suppressed)
    yield from map(LetterLine.of, rows.letters)
    yield from (ReceiptLine.of(one) for one in rows.receipts if one.kind not in (IMPORTED, COPIED))


async def export_store(
    backend: Transferable,
    file: IO[bytes],
    *,
    narrowed: Filter | None = None,
    whole: bool = False,
    advance: Callable[[int], None] = lambda number: None,
) -> Counter[str]:
    """Write the store as of one moment; how many records of each kind.

    `whole` adds its id and its place in the stream, which make it a backup. `advance` is told how
    many more messages are written.
    """
    selection = Selection(narrowed) if narrowed is not None else None
    async with backend.snapshot() as snapshot:
        writer = ExportWriter(file, narrowed)
        if whole and snapshot.head.store_id is not None:
            writer.store(StoreLine.of(snapshot.head))
        async for rows in snapshot.parts():
            part = selection.of(rows) if selection is not None else rows
            writer.add(part)
            advance(len(part.messages))
        writer.end()
    return writer.counts


class Selection:
    """The part of a store that a filter leaves. Sessions come first, and decide about the rest."""

    def __init__(self, narrowed: Filter) -> None:
        self._sessions = None if narrowed.sessions is None else {*narrowed.sessions}
        self._agent = narrowed.agent
        self._since = narrowed.since or 0
        self._keys: set[str] = set()

    def of(self, rows: StoreRows) -> StoreRows:
        """The rows of this part that are selected."""
        sessions = [
            row
            for row in rows.sessions
            if (self._sessions is None or row.key in self._sessions)
            and self._agent in (None, row.agent)
            and row.last_activity >= self._since
        ]
        self._keys |= {row.key for row in sessions}
        keys = self._keys
        return StoreRows(
            sessions=sessions,
            messages=[
                one
                for one in rows.messages
                if one.key in keys and one.row.created_at >= self._since
            ],
            events=[one for one in rows.events if (one.home or one.row.session) in keys],
            suppressed=[one for one in rows.suppressed if one.session in keys],
            letters=[one for one in rows.letters if one.session in keys],
            receipts=[one for one in rows.receipts if one.session in keys],
        )


@contextmanager
def written_file(path: Path) -> Generator[IO[bytes]]:
    """A file that appears at `path` as a whole at the end of the block, or not at all.

    It is compressed if the name ends with `.gz`, and for this user only. One that is there is
    replaced, the one that a link leads to; what is no file is not. Raises ConfigError if it cannot
    be written.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise ConfigError(f"{path} is no file; give the name of one, or `-` for standard output")
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        raw = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(raw, "wb") as file, _compressed(file, path) as out:
                yield out
            sync(draft)
            os.replace(draft, target)
            sync(target.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def _compressed(file: IO[bytes], path: Path) -> Generator[IO[bytes]]:
    if path.suffix != ".gz":
        yield file
        return
    # Without name and time in it, the same store gives the same bytes.
    with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as out:
        yield cast("IO[bytes]", out)
