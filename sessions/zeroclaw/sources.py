"""What all sources have in common: what was read of them, and that they can be read at all."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sessions.errors import ConfigError, ForeignChanged
from sessions.store.sqlite.library import ERRORS

# Bytes of a line, and of what is set aside. The longest message of a platform has a thousandth of
# it, and one such line must fit into the memory of a small machine.
LONGEST: Final = 64 * 1024 * 1024


class Tally:
    """Counts and hashes the bytes of a file while they are read."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, part: bytes) -> None:
        """The next bytes."""
        self._hash.update(part)
        self.size += len(part)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all bytes so far."""
        return self._hash.hexdigest()


class Digested:
    """Digest and size of a source, which are known when it was read to its end."""

    def __init__(self) -> None:
        self._found: tuple[str, int] | None = None

    @property
    def digest(self) -> str:
        """See `ForeignSource.digest`."""
        return self._known()[0]

    @property
    def size(self) -> int:
        """See `ForeignSource.size`."""
        return self._known()[1]

    def finish(self, digest: str, size: int) -> None:
        """It was read to its end."""
        self._found = digest, size

    def _known(self) -> tuple[str, int]:
        if self._found is None:
            raise RuntimeError("this source was not read to its end yet")
        return self._found


@contextmanager
def readable(path: Path) -> Generator[None]:
    """Turn the errors of files and of SQLite into a ConfigError that names the path."""
    with _possible(path, "read"):
        yield


@contextmanager
def writable(path: Path) -> Generator[None]:
    """As `readable`, for what is written."""
    with _possible(path, "written"):
        yield


@contextmanager
def _possible(path: Path, done: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be {done}: {error.strerror or error}") from error
    except ERRORS as error:
        raise ConfigError(f"{path} cannot be {done}: {error}") from error


def changed(path: Path) -> ForeignChanged:
    """The error for a source that somebody wrote to while it was read."""
    return ForeignChanged(
        f"{path} changed while it was read; stop ZeroClaw, then try again", retry_after=5.0
    )
