"""Bugs in how session files are written."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from sessions.store.engine.rows import MessageRow
from sessions.store.jsonl import adapter, files, texts
from sessions.store.jsonl.files import FileRow, SessionFiles
from sessions.store.jsonl.texts import WritingTexts
from sessions.store.sqlite.rows import TextRow

# Seconds between the files' sync and the COMMIT, so that a short run has a kill in there.
_BEFORE_COMMIT = 0.1


class _Uncut(SessionFiles):
    def append(self, row: FileRow, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        fd = os.open(self.current(row), flags, 0o600)
        os.write(fd, data)
        os.fdatasync(fd)
        os.close(fd)

    def recover(self, row: FileRow) -> bool:
        return True


class _Slow(WritingTexts):
    async def store(self, messages: Sequence[MessageRow], keys: Mapping[int, str]) -> list[TextRow]:
        rows = await super().store(messages, keys)
        if len(messages) > 1:
            await asyncio.sleep(_BEFORE_COMMIT)
        return rows


def _no_sync(fd: int) -> None:
    del fd


def torn_tail_kept() -> None:
    """Append to the end of the file, wherever that is."""
    texts.SessionFiles = _Uncut
    adapter.WritingTexts = _Slow


def index_before_sync() -> None:
    """Leave the files to the kernel."""
    # The one place through which the store syncs a file; it is nobody else's to call.
    files._sync = _no_sync  # pyright: ignore[reportPrivateUsage]
