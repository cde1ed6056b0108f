"""Writes a workspace that ZeroClaw opens as its own.

Everything is written into a hidden directory beside its place, and put on the disk. Then the files
take their names, one after the other: a kill leaves no half file where ZeroClaw looks.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

from sessions.errors import ConfigError
from sessions.process.durable import sync
from sessions.process.private import make_private_directory
from sessions.zeroclaw.finding import SESSIONS, holds_sessions
from sessions.zeroclaw.sources import writable
from sessions.zeroclaw.values import ForeignMessage, ForeignSession, Format, Written
from sessions.zeroclaw.writing_jsonl import JsonlDraft
from sessions.zeroclaw.writing_sqlite import DatabaseDraft


class WorkspaceDraft(Protocol):
    """A store of ZeroClaw that is being written into a directory of its own."""

    def add_session(self, session: ForeignSession) -> None:
        """The next session; none comes twice."""
        ...

    def add_message(self, message: ForeignMessage) -> None:
        """The next message of a session that has come, in the order of all messages."""
        ...

    def finish(self, counts: Mapping[str, int]) -> Mapping[str, str]:
        """Everything has come; `counts` has the messages of each session. Gives `renamed`."""
        ...

    def close(self) -> None:
        """Let go of what is open; again is no harm."""
        ...


_DRAFTS: Final[Mapping[Format, Callable[[Path], WorkspaceDraft]]] = {
    "sqlite": DatabaseDraft,
    "jsonl": JsonlDraft,
}


def write_workspace(
    directory: Path,
    sessions: Iterable[ForeignSession],
    messages: Iterable[ForeignMessage],
    *,
    format: Format,
) -> Written:
    """Write the sessions and their messages below the directory, which is made if it is missing.

    The order of all messages is kept, since ZeroClaw's search answers in it. Raises ConfigError if
    ZeroClaw has sessions there already or if it cannot be written, and ValueError for a session
    that comes twice or a message without its session. No file is left then.
    """
    target = directory / SESSIONS
    with writable(target):
        make_private_directory(target)
        if holds_sessions(target):
            raise ConfigError(f"{target} holds sessions already; give an empty directory")
        with _drafted(target) as draft_directory:
            with closing(_DRAFTS[format](draft_directory)) as draft:
                counts = _filled(draft, sessions, messages)
                renamed = draft.finish(counts)
            _publish(draft_directory, target)
    return Written(len(counts), counts.total(), renamed)


def _filled(
    draft: WorkspaceDraft, sessions: Iterable[ForeignSession], messages: Iterable[ForeignMessage]
) -> Counter[str]:
    """How many messages each session has, now that all is in the draft."""
    counts: Counter[str] = Counter()
    for session in sessions:
        if session.key in counts:
            raise ValueError(f"session {session.key!r} comes twice")
        counts[session.key] = 0
        draft.add_session(session)
    for message in messages:
        if message.key not in counts:
            raise ValueError(f"a message comes without its session {message.key!r}")
        counts[message.key] += 1
        draft.add_message(message)
    return counts


@contextmanager
def _drafted(target: Path) -> Generator[Path]:
    """A directory for drafts on the same disk, which is gone at the end."""
    draft = Path(tempfile.mkdtemp(prefix=".export-", dir=target))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, target: Path) -> None:
    for path in sorted(draft.iterdir()):
        path.rename(target / path.name)
    sync(target)
