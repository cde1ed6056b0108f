"""A JSONL session of ZeroClaw: its lines, one after the other, never the whole file at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from sessions.zeroclaw import chrono
from sessions.zeroclaw.lines import NotAMessage, message_of
from sessions.zeroclaw.sources import LONGEST, Tally, changed, readable
from sessions.zeroclaw.values import Fingerprint, ForeignMessage, ForeignSession, Record, SetAside

# Bytes that are read at a time of what is not kept.
_CHUNK: Final = 1024 * 1024
_KINDS: Final = (
    (stat.S_ISLNK, "it is a symbolic link"),
    (stat.S_ISDIR, "it is a directory"),
    (stat.S_ISFIFO, "it is a pipe"),
)


class _Line(NamedTuple):
    """A line without its end, cut if it is too long; `size` is all of it."""

    number: int
    data: bytes
    size: int


class JsonlFile:
    """A file that may hold a session.

    All that read it count its bytes in the given tally. They raise ConfigError if it cannot be
    read, and ForeignChanged if it is not as it was when it was found.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with readable(path):
            self._found = os.lstat(path)

    @property
    def fingerprint(self) -> Fingerprint:
        """As it was when it was found."""
        return Fingerprint(self._found.st_size, self._found.st_mtime_ns)

    @property
    def problem(self) -> str | None:
        """Why it cannot hold a session at all; None if it can."""
        mode = self._found.st_mode
        if stat.S_ISREG(mode):
            return None
        return next((text for fits, text in _KINDS if fits(mode)), "it is no plain file")

    def records(self, key: str, source: str, tally: Tally) -> Iterator[Record]:
        """The session, then a message or what is set aside for each line that is not blank."""
        moment = chrono.of_nanoseconds(self._found.st_mtime_ns)
        yield ForeignSession.bare(key, moment, moment)
        for line in self._lines(tally):
            place = f"line {line.number}"
            try:
                found = _message_of(line)
            except NotAMessage as error:
                yield SetAside(source, place, str(error), line.data, line.size)
            else:
                if found is not None:
                    yield ForeignMessage(key, *found, *moment, line.number)

    def messages(self) -> Iterator[tuple[str, str]]:
        """Role and content of each message."""
        for line in self._lines(Tally()):
            with suppress(NotAMessage):
                if (found := _message_of(line)) is not None:
                    yield found

    def whole(self, tally: Tally) -> bytes:
        """The beginning of the file, as much as may be set aside; all of it is read."""
        kept = bytearray()
        with self._opened() as file:
            while part := file.read(_CHUNK):
                tally.add(part)
                kept += part[: LONGEST - len(kept)]
        return bytes(kept)

    def _lines(self, tally: Tally) -> Iterator[_Line]:
        number = 0
        with self._opened() as file:
            while part := file.readline(LONGEST):
                number += 1
                tally.add(part)
                is_cut = len(part) == LONGEST and not part.endswith(b"\n")
                data = part.removesuffix(b"\n")
                yield _Line(number, data, len(data) + (_skip_rest(file, tally) if is_cut else 0))

    @contextmanager
    def _opened(self) -> Generator[BinaryIO]:
        # Opening it waits for nobody, as that of a pipe would, and follows no link.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with readable(self.path), open(os.open(self.path, flags), "rb") as file:
            self._check_unchanged(file)
            yield file
            self._check_unchanged(file)

    def _check_unchanged(self, file: BinaryIO) -> None:
        now, then = os.fstat(file.fileno()), self._found
        if (now.st_mode, now.st_size, now.st_mtime_ns) != (
            then.st_mode,
            then.st_size,
            then.st_mtime_ns,
        ):
            raise changed(self.path)


def _skip_rest(file: BinaryIO, tally: Tally) -> int:
    """Go to the end of a line that is too long; how many bytes of it that were."""
    skipped = 0
    while part := file.readline(_CHUNK):
        tally.add(part)
        skipped += len(part.removesuffix(b"\n"))
        if part.endswith(b"\n"):
            break
    return skipped


def _message_of(line: _Line) -> tuple[str, str] | None:
    if line.size > len(line.data):
        raise NotAMessage(f"it has {line.size:,} bytes; {LONGEST:,} are the most")
    return message_of(line.data)
