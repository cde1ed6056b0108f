"""A file of turns: `.jsonl` or `.jsonl.gz`, one object a line with `session`, `role`, `content`.

The file is read once from end to end, checked and indexed; after that the turns of any session can
be read by themselves. What stays in memory is an offset for each line and a key for each session.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Self, cast

from sessions import wire
from sessions.errors import InvalidEvent, SessionError
from sessions.models import Event, EventType

# Digits of a line number in an id, so that the ids' order as text is the lines'.
_DIGITS: Final = 8
MAX_LINES: Final = 10**_DIGITS - 1
# Bytes of a line. A content of 1 MiB, the largest that may be configured, takes six times that
# where all of it is written as \u escapes.
MAX_LINE: Final = 8 * 1024 * 1024
# Lines between two reports of progress.
_STEP: Final = 5000
# Bytes that are unpacked at a time.
_PIECE: Final = 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"


class BadTurnFile(SessionError):
    """The file, or one of its lines, is not what it should be."""


class Turn(NamedTuple):
    """A line of the file; `id` is made of the file's digest and the line's number."""

    id: str
    line: int
    session: str
    role: str
    content: str

    def event(self) -> Event:
        """The append that publishes the turn."""
        return Event(
            id=self.id,
            type=EventType.APPEND,
            session=self.session,
            role=self.role,
            content=self.content,
        )


class TurnFile:
    """A checked file. Made by `opened`; not used after its block."""

    def __init__(self, lines: IO[bytes], max_content: int) -> None:
        self.digest = ""
        self._lines = lines
        self._max_content = max_content
        self._starts = array("Q", [0])
        self._numbers = array("I")
        self._sessions: dict[str, array[int]] = {}

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        path: Path,
        *,
        max_content: int = wire.DEFAULT_MAX_CONTENT,
        on_progress: Callable[[int], None] = lambda lines: None,
    ) -> Generator[Self]:
        """The file for the time of the block.

        `on_progress` hears now and then how many lines have been checked. A packed file is
        unpacked into a temporary one. Raises BadTurnFile that names the first bad line.
        """
        with _read(path) as raw, _unpacked(raw, path) as lines:
            file = cls(lines, max_content)
            file._index(on_progress)
            yield file

    @property
    def turns(self) -> int:
        """How many turns there are."""
        return len(self._numbers)

    @property
    def sessions(self) -> list[str]:
        """The session keys, in the order in which they appear."""
        return list(self._sessions)

    def of(self, session: str) -> Iterator[Turn]:
        """The turns of a session, in order, read as they are asked for."""
        return map(self._turn, self._sessions[session])

    def _turn(self, place: int) -> Turn:
        start = self._starts[place]
        line = os.pread(self._lines.fileno(), self._starts[place + 1] - start, start)
        return self._made(self._numbers[place], json.loads(line))

    def _made(self, number: int, fields: dict[str, str]) -> Turn:
        return Turn(
            f"replay-{self.digest[:12]}-{number:0{_DIGITS}}",
            number,
            fields["session"],
            fields["role"],
            fields["content"],
        )

    def _index(self, on_progress: Callable[[int], None]) -> None:
        digest = hashlib.sha256()
        end = 0
        for number, line in enumerate(iter(self._next_line, b""), start=1):
            digest.update(line)
            end += len(line)
            if line.isspace():
                self._starts[-1] = end
                continue
            self._add(self._checked(number, line), number, end)
            if number % _STEP == 0:
                on_progress(number)
        self.digest = digest.hexdigest()

    def _next_line(self) -> bytes:
        return self._lines.readline(MAX_LINE + 1)

    def _add(self, session: str, number: int, end: int) -> None:
        self._sessions.setdefault(session, array("I")).append(len(self._numbers))
        self._numbers.append(number)
        self._starts.append(end)

    def _checked(self, number: int, line: bytes) -> str:
        """The session of a line that can be published; raises BadTurnFile."""
        if len(line) > MAX_LINE or number > MAX_LINES:
            raise _bad(number, f"the limits are {MAX_LINE:,} bytes a line and {MAX_LINES:,} lines")
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise _bad(number, f"is not JSON: {error}") from None
        wanted = {name: _text_of(fields, name, number) for name in ("session", "role", "content")}
        try:
            wire.parse(
                {"v": wire.VERSION, "id": "x", "type": EventType.APPEND.value, **wanted},
                max_content=self._max_content,
            )
        except InvalidEvent as error:
            raise _bad(number, error.detail) from None
        return wanted["session"]


def _text_of(fields: Any, name: str, number: int) -> str:
    value = cast("dict[str, Any]", fields).get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str):
        raise _bad(number, f'must be an object with the texts "session", "role", "content": {name}')
    return value


def _bad(number: int, problem: str) -> BadTurnFile:
    return BadTurnFile(f"line {number}: {problem}; nothing was done")


def _read(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise BadTurnFile(f"cannot read {path}: {error.strerror}") from error


@contextlib.contextmanager
def _unpacked(raw: BufferedReader, path: Path) -> Generator[IO[bytes]]:
    """The file itself if it can be read at any place, else a plain copy of its content."""
    packed = raw.peek(2).startswith(_GZIP_MAGIC)
    if raw.seekable() and not packed:
        yield raw
        return
    with tempfile.TemporaryFile() as copy:
        try:
            with gzip.open(raw) if packed else contextlib.nullcontext(raw) as content:
                shutil.copyfileobj(content, copy, _PIECE)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadTurnFile(f"{path} cannot be unpacked: {error}") from error
        copy.seek(0)
        yield copy
