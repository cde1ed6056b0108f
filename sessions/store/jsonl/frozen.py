"""Session files as they were at one moment: links that keep what a rewrite would take away.

A file changes in two ways. Appends leave what was there; every rewrite puts another file in its
place. So a link that was made while the file was not replaced shows the committed text for good.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from sessions.store.engine.rows import columns
from sessions.store.jsonl.files import FileRow, FileState, SessionFiles, TextMoved
from sessions.store.jsonl.table import Run, files_where
from sessions.store.jsonl.texts import TextsInFiles
from sessions.store.jsonl.threads import FileThreads
from sessions.store.sqlite.rows import TextRow

_PREFIX: Final = ".snapshot-"
_OF_SESSIONS: Final = (
    f"SELECT {columns(TextRow)} FROM messages WHERE session_id IN (SELECT value FROM json_each(?))"
)


class FrozenTexts:
    """The texts of one moment. First `look`, then begin a transaction, then `freeze` in it."""

    def __init__(self, files: SessionFiles, directory: Path, threads: FileThreads) -> None:
        self._links = FrozenFiles(files, directory)
        self._frozen = SessionFiles(directory)
        self._threads = threads
        self._seen: dict[str, tuple[int, int]] = {}
        self._rows: dict[int, FileRow] = {}

    async def look(self, run: Run) -> None:
        """Note which files there are; what is the same file afterwards was not replaced."""
        rows = await _rows(run)

        def work() -> None:
            self._seen = self._links.look(rows)

        await self._threads.call(work)

    async def freeze(self, run: Run) -> bool:
        """Link the files of the moment that `run` sees; False if one was replaced meanwhile."""
        rows = await _rows(run)
        linked: dict[str, tuple[int, int]] = {}

        def work() -> None:
            linked.update(self._links.link(rows))

        await self._threads.call(work)
        self._rows = settled(rows)
        unsure = [
            number
            for number, row in rows.items()
            if row.name not in linked or linked[row.name] != self._seen.get(row.name)
        ]
        return not unsure or await self._show(run, unsure)

    async def _show(self, run: Run, sessions: Sequence[int]) -> bool:
        """Whether the links show every message of these sessions."""
        found = await run(_OF_SESSIONS, (json.dumps(sessions),))
        try:
            await self.load(run, [TextRow(*row) for row in found])
        except TextMoved:
            return False
        return True

    async def load(self, run: Run, messages: Sequence[TextRow]) -> list[str]:
        """The contents, in order."""
        return await TextsInFiles(self._frozen, self._threads, run).load(messages, self._rows)


async def _rows(run: Run) -> dict[int, FileRow]:
    return {row.session_id: row for row in await files_where(run, "1")}


class FrozenFiles:
    """Links to the session files of one directory, in a directory of their own. Blocking."""

    def __init__(self, files: SessionFiles, directory: Path) -> None:
        self._files = files
        self._frozen = SessionFiles(directory)
        # The file that is linked under each name, by device and inode.
        self._linked: dict[str, tuple[int, int]] = {}

    def look(self, rows: Mapping[int, FileRow]) -> dict[str, tuple[int, int]]:
        """Which file each name leads to at this moment; names without a file are left out."""
        found: dict[str, tuple[int, int]] = {}
        for row in rows.values():
            try:
                status = os.stat(self._files.current(row), follow_symlinks=False)
            except FileNotFoundError:
                continue
            found[row.name] = (status.st_dev, status.st_ino)
        return found

    def link(self, rows: Mapping[int, FileRow]) -> dict[str, tuple[int, int]]:
        """Link every file that is not linked yet; which file each name leads to now."""
        for row in rows.values():
            self._link(row)
        return dict(self._linked)

    def _link(self, row: FileRow) -> None:
        try:
            path = self._files.current(row)
            status = os.stat(path, follow_symlinks=False)
            if self._linked.get(row.name) == (status.st_dev, status.st_ino):
                return
            target = self._frozen.main(row)
            target.unlink(missing_ok=True)
            os.link(path, target, follow_symlinks=False)
            status = os.stat(target, follow_symlinks=False)
            self._linked[row.name] = (status.st_dev, status.st_ino)
        except FileNotFoundError:
            # Replaced or deleted at this moment; it is looked at again.
            self._linked.pop(row.name, None)


@contextmanager
def frozen_directory(directory: Path) -> Generator[Path]:
    """A directory for links, beside the files because a link cannot leave its file system."""
    remove_leftovers(directory)
    path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=directory))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Remove the links of processes that died: they would keep the text of deleted sessions."""
    for path in directory.glob(f"{_PREFIX}*"):
        number = path.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not _lives(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def settled(rows: Mapping[int, FileRow]) -> dict[int, FileRow]:
    """The rows as the links have them: each under its own name."""
    return {number: replace(row, state=FileState.DONE) for number, row in rows.items()}
