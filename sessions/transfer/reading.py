"""Reads an export: first all of it is checked, then its rows come in parts."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from sessions.errors import SessionError
from sessions.models import STREAM_START, StreamCursor, StreamId
from sessions.store.engine.rows import unpacked
from sessions.store.image import PART, StoreRows
from sessions.transfer.exporting import KIND_NAMES
from sessions.transfer.records import (
    FORMAT,
    KINDS,
    VERSION,
    AnyRecord,
    End,
    LetterLine,
    MessageLine,
    OutcomeFields,
    OutcomeLine,
    ReceiptLine,
    SessionLine,
    StoreLine,
    SuppressedLine,
    record_of,
)

_GZIP: Final = b"\x1f\x8b"
# Bytes of lines in one part: few large messages are as much work as many small ones. No header is
# longer, though it may name many sessions.
_BYTES: Final = 16 * 1024 * 1024


class BadExport(SessionError):
    """The file is no whole export; nothing of it was taken in."""


def is_export(path: Path) -> bool:
    """Whether its first line is a record of an export, the header or, if it is cut, another.

    False if it cannot be read.
    """
    try:
        with _opened(path) as file:
            return _kind(file.readline(_BYTES)) in KINDS
    except (OSError, BadExport, zlib.error, EOFError):
        return False


@dataclass(frozen=True)
class ExportFile:
    """An export that is whole. `store` is there in a backup."""

    path: Path
    digest: str
    size: int
    counts: Counter[str]
    store: StoreLine | None
    # Behind all places in the stream that its outcomes name.
    place: StreamCursor
    is_whole: bool

    @classmethod
    def checked(cls, path: Path) -> ExportFile:
        """Read the file to its end. Raises BadExport that says what is wrong with it."""
        counts: Counter[str] = Counter()
        store: StoreLine | None = None
        place = (0, STREAM_START)
        with _readable(path) as lines:
            header = _checked_header(lines)
            for record in lines.records():
                if isinstance(record, StoreLine):
                    store = record
                elif not isinstance(record, End):
                    counts[KIND_NAMES[type(record)]] += 1
                    place = max(place, _place_of(record))
                elif record.counts != dict(counts):
                    raise BadExport(f"{path} has not the records that its last line counts")
            return cls(
                *(path, lines.digest, lines.size, counts, store),
                place=StreamCursor(*place, 0, 0, 0),
                is_whole=header.get("filter") is None,
            )

    def parts(self) -> Iterator[StoreRows]:
        """The rows, as a snapshot gives them."""
        with _readable(self.path) as lines:
            _checked_header(lines)
            part, began = StoreRows(), lines.size
            for number, record in enumerate(lines.records(), start=1):
                _add(part, record)
                if number % PART == 0 or lines.size - began > _BYTES:
                    yield part
                    part, began = StoreRows(), lines.size
            yield part


class _Lines:
    """The lines of the file, with a digest of those before the last."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._hash = hashlib.sha256()
        self.digest = ""
        self.size = 0
        self._number = 0

    def next(self) -> bytes:
        """The next line; empty at the end."""
        line = self._file.readline()
        self._number += 1
        self.size += len(line)
        if line and not line.endswith(b"\n"):
            raise BadExport(
                f"{self._path} ends in the middle of line {self._number}: copy it again"
            )
        self.digest = self._hash.hexdigest()
        self._hash.update(line)
        return line

    def records(self) -> Iterator[AnyRecord]:
        """The records behind the header, the end too."""
        while line := self.next():
            try:
                record = record_of(line)
            except ValueError as error:
                raise BadExport(f"{self._path}, line {self._number}: {error}") from error
            if isinstance(record, End) and record.sha256 != self.digest:
                raise BadExport(
                    f"{self._path} was changed: its digest is not that of its last line"
                )
            if isinstance(record, End) and self._file.read(1):
                raise BadExport(
                    f"{self._path} goes on behind its end, line {self._number}: if it holds "
                    "several exports, import them one by one"
                )
            yield record
            if isinstance(record, End):
                return
        raise BadExport(f"{self._path} has no end: it was cut after line {self._number - 1}")


@contextmanager
def _readable(path: Path) -> Generator[_Lines]:
    try:
        with _opened(path) as file:
            yield _Lines(path, file)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadExport(f"{path} cannot be read: {reason or error}") from error


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    with path.open("rb") as file:
        compressed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as text:
            yield cast("IO[bytes]", text)


def _object(line: bytes) -> dict[str, Any]:
    """The object of a line; an empty one if it is none."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _kind(line: bytes) -> object:
    return _object(line).get("kind")


def _checked_header(lines: _Lines) -> dict[str, Any]:
    header = _object(lines.next())
    if header.get("kind") != FORMAT:
        raise BadExport(
            f"this is no whole export of Turnstream: its first line has no kind {FORMAT!r}"
        )
    version = header.get("version")
    if version != VERSION:
        raise BadExport(
            f"this export has version {version}, this Turnstream reads {VERSION}: "
            "import it with the Turnstream that made it, or a newer one"
        )
    return header


def _place_of(record: AnyRecord) -> tuple[int, StreamId]:
    """The epoch and place in the stream of what the record tells of."""
    outcome = record.event if isinstance(record, MessageLine) else record
    if isinstance(outcome, OutcomeFields):
        return outcome.epoch, unpacked(*outcome.at)
    return 0, STREAM_START


def _add(part: StoreRows, record: AnyRecord) -> None:
    match record:
        case SessionLine():
            part.sessions.append(record.row())
        case MessageLine():
            part.messages.append(record.message())
        case OutcomeLine():
            part.events.append(record.keyed())
        case SuppressedLine():
            part.suppressed.append(record.suppressed())
        case LetterLine():
            part.letters.append(record.row())
        case ReceiptLine():
            part.receipts.append(record.receipt())
        case StoreLine() | End():
            pass
