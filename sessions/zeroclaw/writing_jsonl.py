"""Writes JSONL sessions as ZeroClaw does: a file for each key, a message on each line.

A file has a key only in its name, and a time only as its own. What else a session has gets lost:
ZeroClaw has no place for it in this format.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sessions.errors import ConfigError
from sessions.process.durable import sync
from sessions.store.jsonl.files import distinct_name, plain_name
from sessions.zeroclaw.chrono import nanoseconds
from sessions.zeroclaw.claims import SUFFIX
from sessions.zeroclaw.values import ForeignMessage, ForeignSession

# Bytes of lines that wait, for all files together: messages come in the order of all sessions, and
# opening a file for each would take longer than writing it.
_WAITING: Final = 16 * 1024 * 1024


class JsonlDraft:
    """Session files that are being written. See `writing.WorkspaceDraft`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # By key.
        self._files: dict[str, Path] = {}
        self._modified: dict[str, int] = {}
        self._renamed: dict[str, str] = {}
        self._waiting: defaultdict[str, list[bytes]] = defaultdict(list)
        self._size = 0

    def add_session(self, session: ForeignSession) -> None:
        """See `WorkspaceDraft`."""
        self._files[session.key] = self._made(session.key)
        self._modified[session.key] = nanoseconds(session.last_activity, session.active_text)

    def add_message(self, message: ForeignMessage) -> None:
        """See `WorkspaceDraft`."""
        fields = {"role": message.role, "content": message.content}
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._waiting[message.key].append(line)
        self._size += len(line)
        if self._size > _WAITING:
            self._flush()

    def finish(self, counts: Mapping[str, int]) -> Mapping[str, str]:
        """See `WorkspaceDraft`."""
        self._flush()
        for key, path in self._files.items():
            os.utime(path, ns=(self._modified[key], self._modified[key]))
            sync(path)
        return self._renamed

    def close(self) -> None:
        """No file is open."""

    def _made(self, key: str) -> Path:
        """An empty file for the key. Whether two names are one, the disk knows best."""
        plain = plain_name(key)
        path = None if plain is None else self._created(plain)
        if path is None:
            path = self._created(distinct_name(key))
            if path is None:
                raise ConfigError(f"session {key!r}: both of its file names are taken")
            self._renamed[key] = path.name
        return path

    def _created(self, name: str) -> Path | None:
        path = self._directory / f"{name}{SUFFIX}"
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return None
        return path

    def _flush(self) -> None:
        for key, lines in self._waiting.items():
            with open(self._files[key], "ab") as file:
                file.writelines(lines)
        self._waiting.clear()
        self._size = 0
